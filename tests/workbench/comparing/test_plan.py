"""What is planned: budgets, user's files, which solvers fit, and names that mean the same everywhere."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import frechet as fr
from frechet.workbench.comparing import fingerprint
from frechet.workbench.comparing.budget import parse_budget, show_budget
from frechet.workbench.comparing.loading import load_solvers
from frechet.workbench.comparing.plan import Plan
from frechet.workbench.comparing.planning import make_plan
from frechet.workbench.errors import UserError

from .conftest import make_spec


def planned(problems, solvers, **changes) -> Plan:
    settings = {"budget": "10s", "seeds": 2, "tol": 1e-6, "precision": "float64", **changes}
    return make_plan(problems, solvers, **settings)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10s", {"seconds": 10.0}),
        (2.5, {"seconds": 2.5}),
        ("1.5min", {"seconds": 90.0}),
        ("1h", {"seconds": 3600.0}),
        ("500 steps", {"steps": 500}),
        ("1step", {"steps": 1}),
        ("1000 gradient", {"gradient": 1000}),
        ("1000gradients, 3s", {"gradient": 1000, "seconds": 3.0}),
        ("40 linear min", {"linear_min": 40}),
        ("1e3 hvp", {"hvp": 1000}),
    ],
)
def test_budget(text, meant):
    assert parse_budget(text) == meant
    assert parse_budget(show_budget(meant)) == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ten seconds", "write a number and a unit"),
        ("10", "write a number and a unit"),
        ("0s", "not a positive number"),
        ("-3s", "write a number and a unit"),
        ("1.2.3s", "not a positive number"),
        ("2.5steps", "whole numbers"),
        ("10 gradeint", "did you mean gradient?"),
        ("", "write a number and a unit"),
        (True, "write a number and a unit"),
        (float("nan"), "write a number and a unit"),
    ],
)
def test_bad_budget(text, complaint):
    with pytest.raises(UserError, match=complaint.replace("?", r"\?")):
        parse_budget(text)


def test_hash_names_what_is_run_and_nothing_else():
    spec = make_spec()
    assert spec.hash == dataclasses.replace(spec, problem_reference="/elsewhere/p.py:p").hash
    assert spec.hash == dataclasses.replace(spec, start_objective=3.0).hash
    changed = [
        {"problem": "q"},
        {"problem_key": "q"},
        {"solver": "q"},
        {"solver_key": "q"},
        {"seed": 1},
        {"budget": {"seconds": 2.0}},
        {"budget": {"steps": 1}},
        {"tol": 1e-7},
        {"tol": None},
        {"precision": "float32"},
        {"version": "0.2.0"},
        {"settings": {"learning_rate": 0.1}},
        {"trial": 0},
    ]
    hashes = {dataclasses.replace(spec, **c).hash for c in changed}
    assert len(hashes | {spec.hash}) == len(changed) + 1


_HASHES = """
import sys
from frechet.workbench.comparing.planning import make_plan
toy = sys.argv[1]
plan = make_plan([toy + ":lasso", toy + ":ridge"], [toy + ":Descent", toy + ":Noisy"], budget="1s", seeds=1,
                 tol=1e-6, precision="float64")
print(*[r.hash for r in plan.runs])
"""


def test_hashes_are_the_same_in_every_process(toy, tmp_path):
    seen = set()
    for seed, folder in (("1", tmp_path), ("2", "/")):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", _HASHES, toy],
            capture_output=True,
            text=True,
            cwd=folder,
            env=env,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1 and len(set(seen.pop().split())) == 6


def test_fingerprint_sees_content_not_place():
    x0 = jnp.zeros(3)

    def build(scale, data):
        return fr.Composite(lambda x: scale * jnp.sum((x - data) ** 2))

    def elsewhere(scale, data):
        def loss(x):
            return scale * jnp.sum((x - data) ** 2)

        return fr.Composite(loss)

    key = fingerprint.of_problem(build(2.0, jnp.ones(3)), x0)
    assert key == fingerprint.of_problem(elsewhere(2.0, jnp.ones(3)), jnp.zeros(3))
    different = [
        fingerprint.of_problem(build(3.0, jnp.ones(3)), x0),
        fingerprint.of_problem(build(2.0, jnp.full(3, 2.0)), x0),
        fingerprint.of_problem(build(2.0, jnp.ones(3)), jnp.ones(3)),
        fingerprint.of_problem(fr.Composite(build(2.0, jnp.ones(3)).f, fr.convex.L1(0.1)), x0),
        fingerprint.of_problem(fr.Composite(build(2.0, jnp.ones(3)).f, fr.convex.L1(0.2)), x0),
    ]
    assert len({key, *different}) == 6
    with jax.enable_x64(True):
        assert key != fingerprint.of_problem(build(2.0, jnp.ones(3)), jnp.zeros(3))


def test_solver_fingerprint_sees_settings_and_source(tmp_path):
    text = "import frechet as fr\nclass Own(fr.Solver):\n    step_size: float = 0.1\n"
    (tmp_path / "own.py").write_text(text)

    def key(name: str) -> str:
        return fingerprint.of_solver(load_solvers([f"{tmp_path}/own.py:{name}"])[name][1])

    before = key("Own")
    assert before == key("Own")
    (tmp_path / "own.py").write_text(text + "fast = Own(0.2)\n")
    assert key("fast") != key("Own") != before


def test_solvers_that_do_not_fit_are_listed_with_the_reason(toy):
    plan = planned([f"{toy}:lasso", f"{toy}:ridge"], [f"{toy}:Descent", f"{toy}:RootsOnly"])
    assert {(s.problem, s.solver) for s in plan.skipped} == {
        ("toy.py:lasso", "RootsOnly"),
        ("toy.py:ridge", "RootsOnly"),
    }
    assert all("takes a Root, not a Composite" in s.reason for s in plan.skipped)
    assert sorted({r.solver for r in plan.runs}) == ["Descent", "Slow"]
    assert len(plan.runs) == 2 * 2 * 2
    descent = next(s for s in plan.solvers if s.name == "Descent")
    assert descent.settings == {"step_size": "0.1"}
    assert descent.source == "Beck, First-Order Methods in Optimization, 2017, chapter 10"
    assert descent.summary == "Proximal gradient descent with a fixed step."


def test_every_registered_solver_is_asked(toy):
    from frechet.solvers.registry import all_presets

    plan = planned([f"{toy}:lasso"], None)
    asked = {r.solver for r in plan.runs} | {s.solver for s in plan.skipped}
    assert asked == set(all_presets())


def test_plan_survives_json(toy):
    import json

    plan = planned([f"{toy}:lasso"], [f"{toy}:Descent"])
    again = Plan.fromdict(json.loads(json.dumps(plan.asdict())))
    assert again == plan
    assert [r.hash for r in again.runs] == [r.hash for r in plan.runs]


@pytest.mark.parametrize(
    ("problem", "complaint"),
    [
        ("/nowhere/my.py:problem", r"/nowhere/my.py: no such file"),
        ("laso", r"no problem is called 'laso'; did you mean lasso\?"),
        ("my.py", r"name the function too, as in my.py:problem"),
        ("TOY:laso", r"toy.py has no function 'laso'; did you mean lasso\?"),
        ("TOY:constant", r"toy.py:constant is a int; it should be a function"),
        ("TOY:not_a_problem", r"returns int; it should return \(problem, x0\), a Problem or a Case"),
        ("TOY:no_start", r"returns a Composite without a start; return \(problem, x0\)"),
        ("TOY:broken", r"toy.py:broken failed: ValueError: no data here \(line \d+\)"),
        ("TOY:Descent", r"returns Descent; it should return"),
    ],
)
def test_wrong_problem(toy, problem, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        planned([problem.replace("TOY", toy)], [f"{toy}:Descent"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("solver", "complaint"),
    [
        ("FISTAA", r"no solver is called 'FISTAA'; did you mean FISTA\?"),
        ("TOY:Descend", r"toy.py has no solver 'Descend'; did you mean Descent\?"),
        ("TOY:lasso", r"toy.py:lasso is a function; it should be a frechet Solver class or instance"),
        ("no_such_package:Solver", r"no_such_package does not import: ModuleNotFoundError"),
    ],
)
def test_wrong_solver(toy, solver, complaint):
    with pytest.raises(UserError, match=complaint):
        planned([f"{toy}:lasso"], [solver.replace("TOY", toy)])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import no_such_thing", r"my.py does not import: ModuleNotFoundError: .*no_such_thing.*\(line 1\)"),
        ("x = (1,\ny = 2", r"my.py does not import: SyntaxError: .*\(line \d\)"),
        ("raise SystemExit(3)", r"my.py does not import: SystemExit: 3"),
        ("def problem(a): pass", r"my.py:problem failed: TypeError: .*missing 1 required positional"),
        ("def problem(): return 1, 2, 3", r"returns \(int, int, int\)"),
        ("import numpy as np, frechet as fr\ndef problem(): return fr.Composite(lambda x: x), np.zeros(3)",
         r"cannot be evaluated at x0: TypeError: the objective must return a scalar, got shape \(3,\)"),
    ],
)  # fmt: skip
def test_wrong_file(tmp_path, toy, text, complaint):
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        planned([f"{tmp_path}/my.py:problem"], [f"{toy}:Descent"])
    assert "\n" not in str(caught.value)


def test_file_may_import_its_neighbours_and_return_a_case(tmp_path, toy):
    (tmp_path / "my_data_beside.py").write_text("number = 4")
    (tmp_path / "my.py").write_text(
        "import jax.numpy as jnp, frechet as fr\n"
        "import my_data_beside\n"
        "from frechet.workbench.suite import Case\n"
        "def problem():\n"
        "    return Case(fr.Composite(lambda x: jnp.sum((x - 1.0) ** 2)), jnp.zeros(my_data_beside.number),\n"
        "                title='Four ones', optimum=0.0)\n"
    )
    before = list(sys.path)
    plan = planned([f"{tmp_path}/my.py:problem"], [f"{toy}:Descent"])
    card = plan.problems[0]
    assert (card.title, card.variables, card.optimum) == ("Four ones", 4, 0.0)
    assert sys.path == before


def test_changed_file_is_another_problem(tmp_path, toy):
    text = "import frechet as fr\ndef p(): return fr.Composite(lambda x: (x[0] - 1) ** 2), [1.0, 2.0]\n"
    (tmp_path / "my.py").write_text(text)
    before = planned([f"{tmp_path}/my.py:p"], [f"{toy}:Descent"]).runs[0].hash
    (tmp_path / "my.py").write_text(text + "# touched\n")
    assert planned([f"{tmp_path}/my.py:p"], [f"{toy}:Descent"]).runs[0].hash != before


def test_precision_is_the_one_asked_for(toy):
    for precision in ("float32", "float64"):
        card = planned([f"{toy}:lasso"], [f"{toy}:Descent"], precision=precision).problems[0]
        assert card.dtype == precision


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 1.5}, "seeds is 1.5"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"precision": "half"}, "it should be float32 or float64"),
    ],
)
def test_wrong_conditions(toy, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        planned([f"{toy}:lasso"], [f"{toy}:Descent"], **changes)


def test_nothing_to_do(toy):
    with pytest.raises(UserError, match="no problem given"):
        planned([], None)
    with pytest.raises(UserError, match="no solver given"):
        planned([f"{toy}:lasso"], [])
    with pytest.raises(UserError, match="no solver fits: RootsOnly takes a Root"):
        planned([f"{toy}:lasso"], [f"{toy}:RootsOnly"])
    with pytest.raises(UserError, match="two problems are called toy"):
        planned([f"{toy}:lasso", _copy(toy)], [f"{toy}:Descent"])


def _copy(toy: str) -> str:
    """The same file in another folder."""
    import pathlib
    import tempfile

    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "toy.py").write_bytes(pathlib.Path(toy).read_bytes())
    return f"{folder}/toy.py:lasso"
