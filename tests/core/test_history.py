"""The trace that a compiled solve keeps, against the same solve stopped at each check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.proximal.gradient_descent import GradientDescent

SOLVER = GradientDescent(step_size=0.1)
CURVATURE = np.array([0.05, 1.0, 4.0])


def problem(a=1.0):
    return fr.Composite(lambda x: 0.5 * jnp.sum(CURVATURE.astype(x.dtype) * (x - a) ** 2))


def by_hand(steps, dtype, a=1.0):
    """Objective and residual of gradient descent from zero, in NumPy."""
    x = a * (1 - (1 - 0.1 * CURVATURE) ** np.asarray(steps)[:, None])
    return 0.5 * np.sum(CURVATURE * (x - a) ** 2, axis=1), np.linalg.norm(CURVATURE * (x - a), axis=1)


def start(dtype):
    return jnp.zeros(3, dtype)


def test_rows_are_what_each_check_saw(precision):
    solution = fr.solve(problem(), start(precision), SOLVER, tol=0.0, max_steps=75, history=20)
    h = solution.history
    steps = np.asarray(h.step)
    assert steps[:9].tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 75] and np.all(steps[9:] == -1)
    assert h.objective.dtype == h.residual.dtype == precision
    objective, residual = by_hand(steps[:9], precision)
    rtol = 1e3 * np.finfo(precision).eps
    np.testing.assert_allclose(h.objective[:9], objective, rtol=rtol)
    np.testing.assert_allclose(h.residual[:9], residual, rtol=rtol)
    assert np.all(np.isnan(h.objective[9:])) and np.all(np.isnan(h.residual[9:]))
    assert h.residual[8] == solution.residual


@pytest.mark.parametrize("rows", [2, 5, 8])
@pytest.mark.parametrize("steps", [0, 40, 200, 1230])
def test_a_long_run_is_thinned_evenly_and_ends_with_its_end(rows, steps):
    with jax.enable_x64(True):
        solution = fr.solve(problem(), jnp.zeros(3), SOLVER, tol=0.0, max_steps=steps, history=rows)
    h = solution.history
    used = np.asarray(h.step)[np.asarray(h.step) >= 0]
    assert used[-1] == steps and np.all(np.diff(used) > 0)
    assert steps == 0 or used[0] == 0
    assert len(used) >= min(rows, steps // 10 + 1) // 2
    if len(used) > 3:
        gaps = np.diff(used[:-1])
        assert np.all(gaps == gaps[0])
    np.testing.assert_allclose(h.residual[: len(used)], by_hand(used, float)[1], rtol=1e-12)


def test_watching_changes_nothing_and_is_off_by_default():
    arguments = (problem(), jnp.zeros(3), SOLVER)
    off, on = fr.solve(*arguments), fr.solve(*arguments, history=7)
    assert off.history is None
    for u, v in zip(jax.tree.leaves((off.x, off.state)), jax.tree.leaves((on.x, on.state)), strict=True):
        assert np.array_equal(u, v)


@pytest.mark.parametrize("rule", ["implicit", "unroll"])
def test_under_jit_vmap_and_grad(rule):
    with jax.enable_x64(True):
        targets = jnp.array([1.0, 0.5, -2.0])

        def total(a):
            s = fr.solve(
                problem(a), jnp.zeros(3), SOLVER, tol=1e-9, max_steps=5000, history=6, differentiate=rule
            )
            return jnp.sum(s.x), s.history

        (_, h), slope = jax.jit(jax.vmap(jax.value_and_grad(total, has_aux=True)))(targets)
    assert h.step.shape == h.objective.shape == h.residual.shape == (3, 6)
    np.testing.assert_allclose(slope, 3.0, rtol=1e-6)
    for i, a in enumerate(targets):
        used = np.asarray(h.step[i]) >= 0
        expected = by_hand(np.asarray(h.step[i])[used], float, float(a))
        np.testing.assert_allclose(h.objective[i][used], expected[0], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(h.residual[i][used], expected[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 0, -3, 2.5])
def test_a_table_of_no_size_is_refused(rows):
    with pytest.raises(ValueError, match="history is how many rows"):
        fr.solve(problem(), jnp.zeros(3), SOLVER, history=rows)
