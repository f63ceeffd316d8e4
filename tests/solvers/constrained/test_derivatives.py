"""Implicit derivatives of constrained solutions: slack, active and weakly active constraints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import frechet as fr
from frechet.solvers.constrained.augmented_lagrangian import AugmentedLagrangian
from frechet.solvers.constrained.interior_point import InteriorPoint
from frechet.solvers.constrained.sequential_quadratic_programming import SQP


def entropy_on_a_slope(theta, solver):
    """One equation and two inequalities, the first active, the second slack."""

    def f(x):
        return jnp.sum(x * jnp.log(x)) + theta["c"] @ x

    def ineq(x):
        return jnp.stack([theta["a"] @ x - theta["b"], x @ x - 4.0 * theta["r"]])

    problem = fr.Constrained(f, lambda x: x.sum() - theta["s"], ineq)
    start = jnp.array([0.5, 0.4, 0.3])
    return fr.solve(problem, start, solver, tol=1e-10, max_steps=300)


@pytest.mark.parametrize(
    "solver", [AugmentedLagrangian(), SQP(), InteriorPoint()], ids=lambda s: type(s).__name__
)
def test_derivatives_in_captured_data_are_finite_differences(solver):
    with jax.enable_x64(True):
        theta = {
            "c": jnp.array([0.3, -0.2, 0.1]),
            "a": jnp.array([0.0, 1.0, 0.5]),
            "b": jnp.asarray(0.4),
            "r": jnp.asarray(1.0),
            "s": jnp.asarray(1.0),
        }
        solution = entropy_on_a_slope(theta, solver)
        assert solution.status.converged
        multipliers = np.asarray(solution.x.dual_ineq)
        assert multipliers[0] > 0.05 and multipliers[1] < 1e-8

        def outputs(theta):
            x = entropy_on_a_slope(theta, solver).x
            return jnp.concatenate([x.primal, x.dual_eq[None], x.dual_ineq])

        got = jax.jit(jax.jacrev(outputs))(theta)
        flat, unravel = ravel_pytree(theta)
        at, h = jax.jit(lambda v: outputs(unravel(v))), 1e-5
        columns = [(at(flat.at[i].add(h)) - at(flat.at[i].add(-h))) / (2 * h) for i in range(flat.size)]
        expected = jax.vmap(unravel)(jnp.stack(columns, axis=1))
        for name in theta:
            np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(got["r"], 0)  # a slack constraint's data do not matter


def test_a_weakly_active_constraint_counts_as_inactive():
    """x^2 on x <= t is solved by min(t, 0); at t = 0 the derivative is that from the slack side, 0."""
    with jax.enable_x64(True):

        def solution(t):
            problem = fr.Constrained(lambda x: x @ x, ineq=lambda x: x[0] - t)
            at = fr.problems.KKTPoint(jnp.zeros(1), None, jnp.zeros(()))
            return fr.solve(problem, at, AugmentedLagrangian()).x.primal[0]

        with pytest.warns(fr.DerivativeWarning, match="weakly active"):
            assert float(jax.grad(solution)(0.0)) == 0.0
            jax.effects_barrier()

        def beside(t):
            problem = fr.Constrained(lambda x: x @ x, ineq=lambda x: x[0] - t)
            return fr.solve(problem, jnp.array([-1.0]), AugmentedLagrangian(), tol=1e-10).x.primal[0]

        np.testing.assert_allclose(jax.vmap(jax.grad(beside))(jnp.array([-0.1, 0.1])), [1, 0], atol=1e-7)
