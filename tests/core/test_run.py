"""The host's loop: budgets, trace, checkpoints, interruption."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State


class Noisy(Solver):
    """Gradient steps with noise from the key, so that keys matter."""

    stochastic = True
    rate: float = 0.05

    def init(self, problem, x0, *, key):
        return State(x0, Calls())

    def step(self, problem, state, *, key):
        noise = 1e-3 * jax.random.normal(key, state.x.shape, state.x.dtype)
        x = state.x - self.rate * (problem.gradient(state.x) + noise)
        return State(x, state.calls.add(gradient=1))


class Quiet(Noisy):
    """The same without noise."""

    stochastic = False

    def step(self, problem, state, *, key):
        return State(state.x - self.rate * problem.gradient(state.x), state.calls.add(gradient=1))


def bowl():
    return fr.Composite(lambda x: 0.5 * jnp.sum((x - jnp.arange(3.0)) ** 2))


def go(steps=100, solver=None, **kwargs):
    return fr.run(bowl(), jnp.zeros(3), solver or Noisy(), budget=fr.Budget(steps=steps, tol=0.0), **kwargs)


def test_agrees_with_solve_bit_for_bit():
    key = jax.random.key(3)
    run = go(key=key).solution
    pure = fr.solve(bowl(), jnp.zeros(3), Noisy(), tol=0.0, max_steps=100, key=key)
    np.testing.assert_array_equal(run.x, pure.x)
    assert run.steps == pure.steps == 100 and run.status.name == pure.status.name == "max_steps"
    np.testing.assert_allclose(run.residual, pure.residual, rtol=1e-6)


def test_the_trace_has_a_row_a_check():
    columns = go(1000).trace.columns()
    assert columns["step"][0] == 0 and columns["step"][-1] == 1000
    assert np.all(np.diff(columns["step"]) > 0) and np.all(np.diff(columns["seconds"]) > 0)
    np.testing.assert_array_equal(columns["calls_gradient"], columns["step"])
    # Gaps grow with the run, so that a long run is not watched to death.
    assert len(columns["step"]) < 70
    np.testing.assert_allclose(columns["objective"][0], 2.5)
    np.testing.assert_allclose(columns["residual"][0], np.sqrt(5), rtol=1e-6)


@pytest.mark.parametrize(
    "budget, ending",
    [
        (fr.Budget(steps=33, tol=0.0), "max_steps"),
        (fr.Budget(calls={"gradient": 40}, tol=0.0), "budget"),
        (fr.Budget(seconds=0.0, tol=0.0), "budget"),
        (fr.Budget(tol=1e-3), "converged"),
        (fr.Budget(tol=1e-3, steps=5), "max_steps"),
        (fr.Budget(steps=0), "max_steps"),
    ],
)
def test_budgets(budget, ending):
    solution, trace = fr.run(bowl(), jnp.zeros(3), Quiet(), budget=budget)
    assert solution.status.name == ending
    assert trace.rows[-1]["step"] == solution.steps
    if budget.steps is not None:
        assert solution.steps == budget.steps
    if "gradient" in budget.calls:
        assert 40 <= solution.calls.gradient < 50
    if ending == "converged":
        assert solution.residual <= 1e-3


def test_resume_is_the_straight_run_bit_for_bit(tmp_path):
    file = tmp_path / "run.npz"
    go(37, checkpoint=file)
    resumed = go(200, checkpoint=file)
    straight = go(200)
    np.testing.assert_array_equal(resumed.solution.x, straight.solution.x)
    assert resumed.solution.steps == 200
    seconds = resumed.trace.columns()["seconds"]
    assert np.all(np.diff(seconds) > 0)
    assert resumed.trace.rows[0]["step"] == 0 and 37 in resumed.trace.columns()["step"]


def test_a_finished_run_resumes_to_itself(tmp_path):
    file = tmp_path / "run.npz"
    first = fr.run(bowl(), jnp.zeros(3), Quiet(), budget=fr.Budget(tol=1e-3), checkpoint=file)
    again = fr.run(bowl(), jnp.zeros(3), Quiet(), budget=fr.Budget(tol=1e-3), checkpoint=file)
    assert again.solution.status.name == "converged"
    assert again.trace.rows == first.trace.rows
    further = fr.run(bowl(), jnp.zeros(3), Quiet(), budget=fr.Budget(tol=1e-5), checkpoint=file)
    assert further.solution.residual <= 1e-5 and further.solution.steps > first.solution.steps


def test_kill_9_and_resume_is_the_straight_run(tmp_path):
    script = textwrap.dedent("""
        import sys, os, signal
        sys.path.insert(0, sys.argv[1])
        from test_run import go
        count = 0
        def kill(row, x):
            if row["step"] >= 300:
                os.kill(os.getpid(), signal.SIGKILL)
        go(2000, checkpoint=sys.argv[2], checkpoint_seconds=0.0, callbacks=[kill])
    """)
    file = tmp_path / "run.npz"
    here = os.path.dirname(__file__)
    died = subprocess.run([sys.executable, "-c", script, here, str(file)], capture_output=True)
    assert died.returncode == -9 and file.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    resumed = go(2000, checkpoint=file)
    np.testing.assert_array_equal(resumed.solution.x, go(2000).solution.x)
    assert len(resumed.trace) > 10


@pytest.mark.parametrize("other", ["key", "data", "start", "solver"])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, other):
    file = tmp_path / "run.npz"
    go(10, checkpoint=file)
    problem, x0, solver, key = bowl(), jnp.zeros(3), Noisy(), jax.random.key(0)
    if other == "key":
        key = jax.random.key(1)
    if other == "data":
        problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - jnp.ones(3)) ** 2))
    if other == "start":
        x0 = jnp.ones(3)
    if other == "solver":
        solver = Noisy(rate=0.01)
    with pytest.raises(ValueError, match="is of another problem, start, solver or key"):
        fr.run(problem, x0, solver, key=key, checkpoint=file, budget=fr.Budget(steps=20))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    file = tmp_path / "run.npz"
    go(10, checkpoint=file)
    file.write_bytes(damage or file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        go(20, checkpoint=file)


def test_a_failed_write_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "run.npz"
    go(10, checkpoint=file)
    before = file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        go(20, checkpoint=file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_ctrl_c_returns_what_there_is(tmp_path):
    def press(row, x):
        if row["step"] >= 50:
            raise KeyboardInterrupt

    file = tmp_path / "run.npz"
    solution, trace = go(10_000, callbacks=[press], checkpoint=file)
    assert solution.status.name == "interrupted"
    assert solution.steps == trace.rows[-1]["step"] == 50
    np.testing.assert_array_equal(go(500, checkpoint=file).solution.x, go(500).solution.x)


def test_a_callback_sees_rows_and_can_stop():
    seen = []

    def watch(row, x):
        seen.append((row["step"], float(jnp.sum(x))))
        return row["step"] >= 30

    solution, _ = go(callbacks=[watch])
    assert solution.status.name == "interrupted" and solution.steps == 30
    assert [s for s, _ in seen] == [0, 10, 20, 30] and seen[0][1] == 0.0 < seen[-1][1]


def test_nan_ends_nonfinite_with_the_last_good_iterate():
    solution, trace = go(10_000, solver=Quiet(rate=1e3))
    assert solution.status.name == "nonfinite"
    assert np.all(np.isfinite(solution.x)) and len(trace) > 1


def test_a_first_step_that_is_not_finite_ends_the_run():
    solution, trace = go(10_000, solver=Quiet(rate=np.inf))
    assert solution.status.name == "nonfinite" and solution.steps == 0
    assert [row["step"] for row in trace.rows] == [0]


def test_measures_of_the_problem_are_columns():
    class Watched(fr.Composite):
        def measures(self, x):
            return {"largest": jnp.max(jnp.abs(x))}

    problem = Watched(lambda x: 0.5 * jnp.sum((x - 2) ** 2))
    columns = fr.run(problem, jnp.zeros(2), Quiet(), budget=fr.Budget(tol=1e-4)).trace.columns()
    np.testing.assert_allclose(columns["measure_largest"][[0, -1]], [0.0, 2.0], atol=1e-3)


def test_the_progress_bar_shows_the_residual(monkeypatch, capsys):
    import frechet.core.run as module

    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then takes the captured stream for a terminal
    monkeypatch.setattr(module.time, "monotonic", iter(np.arange(0.0, 1e6, 3.0)).__next__)
    go(200, progress=True)
    assert "residual" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"seconds": float("nan")}, "seconds must be at least 0"),
        ({"calls": {"gradients": 3}}, "unknown oracle"),
    ],
)
def test_a_bad_budget_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        fr.Budget(**bad)
