"""The search for weak Wolfe conditions, where there are kinks and where there is nothing to find."""

import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.solvers.line_search.bfgs import BFGS
from frechet.solvers.line_search.weak_wolfe import WeakWolfe


def test_bfgs_gets_to_a_kink(precision):
    # Piecewise linear around its minimum at the origin: every other search stalls before it.
    A = jnp.asarray(np.random.default_rng(0).normal(size=(30, 5)), precision)
    problem = fr.Composite(lambda x: jnp.max(jnp.abs(A @ x)))
    x = fr.solve(problem, jnp.ones(5, precision), BFGS(search=WeakWolfe()), tol=0.0, max_steps=300).x
    assert float(problem.objective(x)) <= (1e-9 if precision == jnp.float64 else 1e-3)


def test_conditions_hold():
    problem = fr.Composite(lambda x: jnp.sum(jnp.abs(x) ** 1.5))
    x = jnp.array([2.0, -1.0])
    value, gradient = problem.value_and_gradient(x)
    for first in (1e-3, 1.0, 100.0):
        found = WeakWolfe()(problem, x, value, gradient, -gradient, jnp.asarray(first))
        slope = -float(gradient @ gradient)
        assert float(found.value) <= float(value) + 1e-4 * float(found.step) * slope
        assert -float(found.gradient @ gradient) >= 0.9 * slope
        assert not found.failed


def test_no_step_where_none_lowers():
    problem = fr.Composite(lambda x: jnp.sum(jnp.abs(x)))
    x, ones = jnp.zeros(2), jnp.ones(2)
    found = WeakWolfe()(problem, x, problem.value(x), -ones, ones, jnp.asarray(1.0))
    assert bool(found.failed) and float(found.step) <= 1e-6 and float(found.value) <= 1e-6
