"""Training methods compared: trials, what they choose, the runs that follow, and what is resumed."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from frechet.core.space import Choice, LogUniform, Uniform
from frechet.problems.training import Target
from frechet.workbench.comparing import compare, engines, report
from frechet.workbench.comparing.baselines import baselines
from frechet.workbench.comparing.choosing import best
from frechet.workbench.comparing.loading import optimizers
from frechet.workbench.comparing.plan import Plan, ProblemCard
from frechet.workbench.comparing.planning import make_plan
from frechet.workbench.comparing.profile import Goal, cost, goals
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.reference import best_run, reference
from frechet.workbench.comparing.runner import execute
from frechet.workbench.comparing.tuning import configurations
from frechet.workbench.errors import UserError

from .conftest import make_record, make_spec, make_training_record

LESSON = str(Path(__file__).with_name("lesson.py"))


def planned(problem: str, solvers: list[str] | None, **changes) -> Plan:
    settings = {"budget": "40steps", "seeds": 2, "tol": 1e-6, "precision": None, **changes}
    return make_plan([f"{LESSON}:{problem}"], solvers, **settings)


class Inline:
    """An engine in this process that may be stopped after some runs."""

    description = "this process"
    left = math.inf

    def run(self, units):
        while units:
            for task in units.popleft():
                if self.left <= 0:
                    raise KeyboardInterrupt
                self.left -= 1
                yield execute(task)


@pytest.fixture
def engine(monkeypatch, no_figure):
    made = Inline()
    monkeypatch.setattr(engines, "start", lambda *_, **__: made)
    return made


def train(out: Path, **changes):
    settings = {"budget": "40steps", "seeds": 2, "trials": 3, "out": out, "progress": False, **changes}
    return compare(f"{LESSON}:model", ["adam", f"{LESSON}:plain"], **settings)


def stamps(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (out / "runs").glob("*.parquet")}


def test_tunes_runs_resumes_and_reports(tmp_path, engine):
    found = train(tmp_path)
    assert not found.failed and not found.missing and found.plan.precision == "float32"
    trials, runs = found.trials, {s: found.of("lesson.py:model", s) for s in ("adam", "plain")}
    assert [t.spec.trial for t in trials] == [0, 1, 2] and {t.spec.solver for t in trials} == {"adam"}
    assert {t.spec.seed for t in trials} == {1000} and trials[0].spec.settings["learning_rate"] == 1e-3
    # Chosen by the mean of the last quarter of the checks, computed here again.
    losses = [np.mean(np.split(t.columns["measure_held_out_loss"], [-(len(t.columns["step"]) // 4)])[1])
              for t in trials]  # fmt: skip
    assert all(r.spec.settings == trials[int(np.argmin(losses))].spec.settings for r in runs["adam"])
    assert all(r.spec.settings == {} and r.spec.trial is None for r in runs["plain"])
    assert [r.spec.seed for r in runs["adam"]] == [0, 1]
    # A start a seed, the same for both solvers, and another one for the trials; trials share theirs.
    starts = {s: [r.columns["objective"][0] for r in rs] for s, rs in runs.items()}
    assert (
        starts["adam"] == starts["plain"] and len({*starts["adam"], trials[0].columns["objective"][0]}) == 3
    )
    assert len({t.columns["objective"][0] for t in trials}) == 1
    # Other settings are no other program.
    assert [t.compile_seconds for t in trials[1:]] == [0.0, 0.0] and trials[0].compile_seconds > 0
    for record in found.records:
        assert "residual" not in record.columns and math.isnan(record.residual) and record.x.size == 0
        assert record.parameter_bytes == 3 * 4 and record.steps == 40 and record.step_seconds > 0
    # Two averages and a counter; plain descent keeps nothing.
    assert runs["adam"][0].state_bytes == 2 * 3 * 4 + 4 and runs["plain"][0].state_bytes == 0
    assert "--trials 3" in found.command and "--precision float32" in found.command

    before = stamps(tmp_path)
    again = train(tmp_path)
    assert again.repeated == 7 == len(before) and stamps(tmp_path) == before
    told = report(tmp_path)
    assert [r.spec.hash for r in told.records + told.trials] == [r.spec.hash for r in found.records + trials]
    more = train(tmp_path, trials=4)
    kept = {n: when for n, when in stamps(tmp_path).items() if n in before}
    assert kept == before and len(more.trials) == 4 and more.repeated >= 5


def test_stopped_among_the_trials_repeats_nothing(tmp_path, engine):
    engine.left = 2
    first = train(tmp_path)
    assert first.interrupted and first.missing == 5 and first.page.is_file()
    kept = stamps(tmp_path)
    engine.left = math.inf
    second = train(tmp_path)
    assert not second.missing and second.repeated == len(kept) == 2
    assert {n: stamps(tmp_path)[n] for n in kept} == kept


def test_diverged_trials_are_not_chosen(tmp_path, engine):
    found = compare(f"{LESSON}:model", f"{LESSON}:wild", budget="40steps", seeds=1, trials=4, out=tmp_path,
                    progress=False)  # fmt: skip
    assert [t.diverged for t in found.trials] == [False, True, False, True]
    assert found.records[0].spec.settings in [t.spec.settings for t in found.trials if not t.diverged]
    told = found.outcome(found.plan.problems[0], "wild")
    assert (told.tried, told.diverged, told.state_bytes, told.step) == (4, 2, 0, 1.0)
    assert "2/4" in (tmp_path / "report.md").read_text()


def test_a_model_without_a_target_or_tuning(tmp_path, engine):
    found = compare(f"{LESSON}:aimless", f"{LESSON}:plain", budget="40steps", seeds=1, trials=0, out=tmp_path,
                    progress=False)  # fmt: skip
    (run,), at = found.records, found.references["lesson.py:aimless"]
    first, least = run.columns["objective"][0], run.columns["objective"].min()
    assert at.target is not None and at.target.value == pytest.approx(least + 0.05 * (first - least))
    page = (tmp_path / "report.html").read_text()
    assert 'id="sensitivity"' not in page and "nothing was tuned" in page and "but for a twentieth" in page


def test_solvable_problems_are_tuned_when_asked(tmp_path, engine):
    """By steps to the tolerance; a solver without a search space beside it keeps its settings."""
    found = compare(f"{LESSON}:ridge", f"{LESSON}:wild,FISTA", budget="400steps", seeds=1, trials=3, tol=1e-4,
                    out=tmp_path, progress=False)  # fmt: skip
    steps = [t.steps if t.status == "converged" else math.inf for t in found.trials]
    (tuned,) = found.of("lesson.py:ridge", "wild")
    assert len(steps) == 3 and tuned.spec.settings == found.trials[int(np.argmin(steps))].spec.settings
    assert found.plan.precision == "float64" and "polishing" in found.references["lesson.py:ridge"].source
    assert not planned("ridge", ["adam"]).trials, "nothing is tuned there unasked"


def test_the_cast_of_a_training_problem_is_every_optimizer():
    plan = planned("model", None)
    asked = {r.solver for r in plan.runs} | {s.solver for s in plan.skipped}
    assert asked == set(optimizers()) > set(baselines()) | {"adan"}
    tried = {(t.solver, t.trial) for t in plan.trials}
    assert {n for s, n in tried if s == "adan"} == set(range(8))
    card = next(s for s in plan.solvers if s.name == "adan")
    assert card.settings["b2"] == "0.92" and card.space["learning_rate"] == "0.0001 to 0.1, log-uniform"
    assert card.source.startswith("Xie")


def test_a_changed_factory_or_space_is_another_solver(tmp_path):
    text = (
        "import optax\nfrom frechet.core.space import LogUniform\n"
        "from frechet.optimizers.registry import optimizer\n"
        "@optimizer(space={'learning_rate': LogUniform(1e-3, 1.0)})\n"
        "def own(learning_rate=0.1): return optax.sgd(learning_rate)\n"
    )
    (tmp_path / "own.py").write_text(text)
    keys = [planned("model", [f"{tmp_path}/own.py:own"]).runs[0].solver_key for _ in range(2)]
    (tmp_path / "own.py").write_text(text.replace("1.0)", "2.0)"))
    assert keys[0] == keys[1] != planned("model", [f"{tmp_path}/own.py:own"]).runs[0].solver_key


@pytest.mark.parametrize(
    ("problem", "solver", "changes", "complaint"),
    [
        ("model", "adann", {}, r"no solver is called 'adann'; did you mean adan\?"),
        (
            "model",
            f"{LESSON}:needy",
            {},
            r"or a function that makes an optax transformation \(.*learning_rate",
        ),
        ("model", f"{LESSON}:model", {}, r"it should be a frechet Solver class or instance, or a function"),
        ("model", "FISTA", {}, r"no solver fits: FISTA takes a Composite, not a Training"),
        ("model", f"{LESSON}:choosy", {}, r"its wrapped may be .*; choices should be numbers, strings"),
        ("model", "adam", {"trials": -1}, r"trials is -1; it should be a whole number, 0 for none"),
        ("model", "adam", {"trials": 2.5}, r"trials is 2.5"),
        ("wrong_target", "adam", {}, r"the target is on 'acuracy', which is none of objective, accuracy"),
    ],
)
def test_mistakes_are_one_line(problem, solver, changes, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        planned(problem, [solver], **changes)
    assert "\n" not in str(caught.value)


SPACE = {"learning_rate": LogUniform(1e-4, 1e-1), "b1": Choice(0.8, 0.9), "mix": Uniform(0.0, 1.0)}


def test_configurations_begin_with_the_defaults_and_fill_the_space():
    drawn = configurations(SPACE, {"learning_rate": 1e-3, "b1": 0.9, "mix": None, "eps": 1e-8}, 65)
    assert drawn[0] == {"learning_rate": 1e-3, "b1": 0.9} and len(drawn) == 65
    assert configurations(SPACE, {}, 9)[1:] == drawn[1:9], "more trials begin with those of fewer"
    rates = np.log10([d["learning_rate"] for d in drawn[1:]])
    # 64 points of a base-2 sequence: one in every 64th of the range.
    assert sorted(np.floor((rates + 4) / 3 * 64)) == list(range(64))
    assert {d["b1"] for d in drawn[1:9]} == {0.8, 0.9} and all(0 <= d["mix"] <= 1 for d in drawn[1:])
    assert configurations(SPACE, {}, 0) == []


CARD = ProblemCard("p", "P", "", "Training", "k", 3, "float32", {}, None, testable=False, trained=True,
                   watched="measure_accuracy", target=Target("accuracy", 0.9, at_least=True))  # fmt: skip


def test_the_best_trial_is_by_the_settled_measure():
    def trial(number: int, accuracy, status: str = "max_steps") -> Record:
        spec = make_spec(trial=number, seed=1000)
        record = make_training_record(spec, 0.9)
        record.columns["measure_accuracy"] = np.array(accuracy, float)
        record.status = status
        return record

    peak = trial(0, [0.1, 0.99, 0.5, 0.2, 0.2, 0.2, 0.3, 0.3])
    steady = trial(1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    equal = trial(2, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.75])
    blown = trial(3, [0.9] * 8, status="nonfinite")
    lost = Record.failure(make_spec(trial=4), "no")
    assert steady.settled("measure_accuracy") == pytest.approx(0.75)
    assert best([lost, blown, equal, steady, peak], CARD) is steady
    less = dataclasses.replace(CARD, target=Target("accuracy", 0.1))
    assert best([lost, blown, equal, steady, peak], less) is peak
    assert best([blown, lost], CARD) is blown, "something has to run"


def test_a_target_takes_the_place_of_the_residual():
    record = make_training_record(make_spec(), 0.9)
    at = reference(CARD, [record], None)
    accuracy, steps = record.columns["measure_accuracy"], record.columns["step"]
    assert cost(record, Goal("target"), "step", at) == steps[np.argmax(accuracy >= 0.9)]
    assert cost(record, Goal("residual", 1e-6), "step", at) == cost(record, Goal("target"), "step", at)
    assert best_run(CARD, [record]) is None, "nothing to polish"
    assert at.value == record.columns["objective"].min() and "seed 0" in at.source
    aimless = reference(dataclasses.replace(CARD, target=None), [record], None)
    first, least = record.columns["objective"][0], record.columns["objective"].min()
    assert aimless.target == Target("objective", least + 0.05 * (first - least))
    solved = reference(
        dataclasses.replace(CARD, testable=True, target=None), [make_record(make_spec())], None
    )
    assert goals(1e-6, [at])[0].label == "target accuracy ≥ 0.9"
    assert goals(1e-6, [solved])[0].label == "residual ≤ 1e-6"
    assert goals(1e-6, [solved, at])[0].label == "residual ≤ 1e-6 or target accuracy ≥ 0.9"
    assert goals(1e-6, [at, aimless])[0].label == "target"
