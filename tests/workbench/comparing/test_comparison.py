"""The main job end to end on the user's file: finished, killed, crashed, interrupted, repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from frechet.workbench.comparing import compare, engines, report
from frechet.workbench.comparing.plan import RunSpec
from frechet.workbench.comparing.runner import Task, execute
from frechet.workbench.comparing.store import decode
from frechet.workbench.errors import UserError

from .conftest import make_spec


class Inline:
    """An engine in this process: what is not about processes is tested without waiting for them."""

    description = "this process"

    def run(self, units):
        while units:
            for task in units.popleft():
                yield execute(task)


@pytest.fixture
def inline(monkeypatch, no_figure):
    monkeypatch.setattr(engines, "start", lambda *_, **__: Inline())


def small(toy: str, out: Path, **changes):
    settings = {"budget": "400steps", "seeds": 2, "tol": 1e-6, "out": out, "progress": False, **changes}
    problems, solvers = (
        settings.pop("problems", [f"{toy}:lasso"]),
        settings.pop("solvers", [f"{toy}:Descent"]),
    )
    return compare(problems, solvers, **settings)


def stamps(out: Path) -> dict[str, int]:
    """When every stored run was written."""
    return {p.name: p.stat().st_mtime_ns for p in (out / "runs").glob("*.parquet")}


def test_runs_reports_and_resumes(toy, tmp_path, inline):
    out = tmp_path / "out"
    first = small(toy, out)
    assert not first.failed and not first.missing and not first.interrupted and first.repeated == 0
    assert [r.spec for r in first.records] == first.plan.runs
    assert all((out / f).stat().st_size > 1000 for f in ("report.html", "report.md"))
    for record in first.records:
        objective = record.columns["objective"]
        assert len(objective) > 2 and objective[-1] < objective[0]
        assert record.compile_seconds > 0 or record.spec.seed > 0
        assert record.columns["calls_gradient"][-1] == record.columns["step"][-1] == record.steps
    descent = next(r for r in first.records if r.spec.solver == "Descent")
    assert descent.status == "converged" and descent.residual <= 1e-6
    reference = first.references["toy.py:lasso"]
    assert reference.value <= min(r.objective for r in first.records)
    assert "polishing to a residual of" in reference.source

    before = stamps(out)
    again = small(toy, out)
    assert again.repeated == len(again.plan.runs) and stamps(out) == before
    more = small(toy, out, solvers=[f"{toy}:Descent", f"{toy}:Noisy"], seeds=3)
    assert more.repeated == 4 and len(more.records) == 9
    assert all(stamps(out)[name] == when for name, when in before.items())
    with pytest.raises(UserError, match="holds another comparison"):
        small(toy, out, tol=1e-5)

    (out / "report.html").unlink()
    told = report(out)
    assert told.page.is_file() and len(told.records) == 9
    assert [r.spec.hash for r in told.records] == [r.spec.hash for r in more.records]
    assert told.references == more.references and stamps(out).keys() >= before.keys()


def test_polish_agrees_with_an_independent_solver(toy, tmp_path, inline):
    """The lasso's optimum by scikit-learn's coordinate descent, which minimises the same objective."""
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 6)), rng.standard_normal(30)
    w = Lasso(alpha=0.05, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(A, b).coef_
    optimum = 0.5 * np.mean((A @ w - b) ** 2) + 0.05 * np.abs(w).sum()
    for precision in ("float64", "float32"):
        found = small(toy, tmp_path / precision, seeds=1, precision=precision, tol=1e-4)
        value = found.references["toy.py:lasso"].value
        # In float32 the data are rounded to float32 only in the runs; the polish makes the problem anew.
        assert value == pytest.approx(optimum, abs=1e-13)
        assert {r.columns["objective"].dtype for r in found.records} == {np.dtype(float)}


def test_crashing_raising_and_unfit_solvers_do_not_stop_the_rest(toy, tmp_path):
    solvers = [f"{toy}:{s}" for s in ("Descent", "Crasher", "Raiser", "RootsOnly")]
    found = small(toy, tmp_path, solvers=solvers, seeds=1)
    reasons = {r.spec.solver: r.reason for r in found.failed}
    assert reasons.keys() == {"Crasher", "Raiser"}
    assert "died by SIGSEGV" in reasons["Crasher"]
    assert reasons["Raiser"].startswith("RuntimeError: a factorisation that (at toy.py:")
    assert {r.spec.solver for r in found.records if not r.failed} == {"Descent", "Slow"}
    page = (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.png").stat().st_size > 1000
    assert "died by SIGSEGV" in page and "takes a Root, not a Composite" in page
    # A failed run is not a finished one: it is tried again, the others are not.
    again = small(toy, tmp_path, solvers=solvers, seeds=1, workers=1)
    assert again.repeated == 2 and len(again.failed) == 2


def test_every_run_failing_still_reports(toy, tmp_path, inline):
    found = small(toy, tmp_path, solvers=[f"{toy}:Raiser"], seeds=1)
    assert len(found.failed) == 1 and found.page.is_file()
    assert found.sentence() == "No solver reached a residual ≤ 1e-6 within the budget."


def test_an_unseeded_problem_is_found_out(toy, tmp_path, inline):
    found = small(toy, tmp_path, problems=[f"{toy}:unseeded"], seeds=1)
    assert all("another problem each time it is made" in r.reason for r in found.failed)
    assert len(found.failed) == len(found.records)


def test_damaged_run_is_repeated_and_told(toy, tmp_path, inline):
    small(toy, tmp_path)
    victim = sorted((tmp_path / "runs").glob("*.parquet"))
    spec = next(p for p in victim if decode(p.read_bytes()).spec.solver == "Slow")
    spec.write_bytes(spec.read_bytes()[:200])
    before = stamps(tmp_path)
    again = small(toy, tmp_path)
    assert again.repeated == 3 and len(again.records) == 4 and not again.failed
    assert any("was damaged" in m and "Slow on toy.py:lasso" in m for m in again.messages)
    changed = {n for n, when in stamps(tmp_path).items() if before.get(n) != when}
    assert spec.name in changed and len(changed) == 1
    assert "was damaged" in (tmp_path / "report.html").read_text()


_COMPARE = """
import sys
from frechet.workbench.comparing import compare
toy, out = sys.argv[1:]
found = compare([f"{toy}:lasso", f"{toy}:ridge"], [f"{toy}:Sleeper"], budget="50steps", seeds=2, out=out)
print("repeated", found.repeated, "failed", len(found.failed), "missing", found.missing, found.interrupted)
"""


def started(toy: str, out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _COMPARE, toy, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TOY_SLEEP": "0.2"},
    )


def wait_for(condition, process: subprocess.Popen, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def finished(out: Path) -> int:
    return len(list((out / "runs").glob("*.parquet"))) if (out / "runs").is_dir() else 0


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


MOMENTS = {
    "before the first run": lambda out: (out / "comparison.json").is_file(),
    "among the runs": lambda out: finished(out) >= 5,
    "at the end": lambda out: finished(out) >= 15,
}


def test_kill_at_three_moments_loses_and_repeats_nothing(toy, tmp_path):
    """Each start goes on from where the last was killed; 2 problems, 4 solvers, 2 seeds."""
    out, written = tmp_path / "out", {}
    for moment, reached in MOMENTS.items():
        process = started(toy, out)
        wait_for(lambda: reached(out), process)  # noqa: B023 - called before the next turn
        workers = children(process.pid)
        process.kill()
        process.communicate()
        now = stamps(out) if (out / "runs").is_dir() else {}
        assert {n: now.get(n) for n in written} == written, f"a finished run was repeated {moment}"
        assert all(not decode((out / "runs" / n).read_bytes()).failed for n in now)
        written = now
        end = time.monotonic() + 20
        while any(Path(f"/proc/{w}").exists() for w in workers) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{w}").exists() for w in workers), "a worker outlived its parent"
    process = started(toy, out)
    told, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints
    specs = [RunSpec(**r) for r in json.loads((out / "comparison.json").read_text())["plan"]["runs"]]
    assert len(specs) == 16
    repeated = int(told.split()[1])
    assert repeated == len({s.hash for s in specs} & {n.removesuffix(".parquet") for n in written}) >= 15
    assert told.split(maxsplit=2)[2].strip() == "failed 0 missing 0 False"
    now = stamps(out)
    assert {n: now[n] for n in written} == written
    assert not list(out.rglob("*.tmp")) and not list(out.rglob("*.damaged"))
    page = (out / "report.html").read_text()
    assert "Stopped early" not in page and all(f"Sleeper{i}" in page for i in range(4))


def test_interrupt_stops_cleanly_and_keeps_what_is_finished(toy, tmp_path):
    out = tmp_path / "out"
    process = started(toy, out)
    wait_for(lambda: finished(out) >= 3, process)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in complaints, complaints
    assert told.strip().endswith("True") and not any(Path(f"/proc/{w}").exists() for w in workers)
    assert "Stopped early" in (out / "report.html").read_text()
    kept = stamps(out)
    again = report(out)
    assert again.missing == 16 - len(kept) and stamps(out) == kept


def test_output_folder_is_refused_before_anything_runs(toy, tmp_path, inline):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        small(toy, tmp_path)
    with pytest.raises(UserError, match="holds no comparison"):
        report(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt"]


def test_unknown_engine_and_options(toy, tmp_path):
    for options, complaint in [
        ({"engine": "loc"}, r"no engine is called 'loc'; did you mean local\?"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": 100_000}, "sharing them would spoil the timings"),
        ({"address": "auto"}, "local engine takes no address"),
    ]:
        with pytest.raises(UserError, match=complaint):
            small(toy, tmp_path / "out", **options)


def test_runner_never_raises():
    record = execute(Task(make_spec(problem_reference="/nowhere.py:p", solver_reference="x")))
    assert record.failed and "no such file" in record.reason


def without_timing(record) -> dict:
    return {k: v.tolist() for k, v in record.columns.items() if k != "seconds"}


def test_ray_gives_the_records_of_the_local_engine(toy, tmp_path, monkeypatch):
    # Workers of both engines compile as they do for a user; Ray's would not see what the tests tell XLA.
    monkeypatch.delenv("XLA_FLAGS")
    sound = [f"{toy}:Descent", f"{toy}:Noisy"]
    local = small(toy, tmp_path / "local", solvers=sound)
    over_ray = small(toy, tmp_path / "ray", solvers=[*sound, f"{toy}:Crasher"], engine="ray")
    assert "Ray worker" in over_ray.engine and not local.failed
    finished = [r for r in over_ray.records if not r.failed]
    for a, b in zip(local.records, finished, strict=True):
        assert (a.spec, a.status, a.steps) == (b.spec, b.status, b.steps)
        assert without_timing(a) == without_timing(b)
        np.testing.assert_array_equal(a.x, b.x)
    assert {r.spec.solver for r in over_ray.failed} == {"Crasher"}, [r.reason for r in over_ray.failed]
    assert all("Ray worker was lost" in r.reason for r in over_ray.failed)
    assert over_ray.references["toy.py:lasso"].value == local.references["toy.py:lasso"].value
    noisy = [r.objective for r in local.records if r.spec.solver == "Noisy"]
    assert len(set(noisy)) == len(noisy), "a seed changes a stochastic solver's run"
