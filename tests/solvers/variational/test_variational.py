"""Solvers of Gaussian variational inference, where step sizes are hard to choose."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.workbench.claims.iterates import states

SOLVERS = (fr.solvers.ForwardBackwardGVI, fr.solvers.BuresWassersteinGD, fr.solvers.NaturalGradientVI)


@pytest.mark.parametrize("kind", SOLVERS)
def test_free_energy_never_rises_from_far_away(kind):
    """The potential of the logarithm of a gamma variable is flat on one side and steep on the other."""

    def path(b, mean, variance):
        problem = fr.GaussianVariational(lambda theta: jnp.sum(jnp.exp(theta) - b * theta))
        return states(problem, kind(), (mean[None], variance[None, None]), 1200)

    with jax.enable_x64(True):
        b = np.array([0.1, 0.5, 1000.0, 1000.0])
        found: Any = jax.vmap(path)(
            *(jnp.asarray(v) for v in (b, [5.0, -5.0, -5.0, 0.0], [0.1, 4.0, 4.0, 1.0]))
        )
        energy = np.asarray(found.free_energy)
        assert np.all(np.diff(energy, axis=1) <= 1e-12 * (1 + np.abs(energy[:, 1:]) * b[:, None]))
        np.testing.assert_allclose(found.x.mean[:, -1, 0], np.log(b) - 0.5 / b, atol=1e-5)
        np.testing.assert_allclose(found.x.covariance[:, -1, 0, 0] * b, 1, rtol=1e-5)


def test_covariances_stay_above_the_step_size():
    """Even of steps ten times too long, which make a gradient step's covariance meaningless."""
    target = fr.problems.GaussianPotential(jnp.ones(2), jnp.diag(jnp.array([0.1, 2.0])))
    problem, size = fr.GaussianVariational(target), 5.0
    path: Any = states(problem, fr.solvers.ForwardBackwardGVI(size), jnp.zeros(2), 5)
    assert np.linalg.eigvalsh(path.x.covariance).min() >= size * (1 - 1e-5)


def test_draws_without_hessians_lead_to_the_same_gaussian():
    target = fr.problems.GaussianPotential(jnp.array([1.0, -1.0]), jnp.array([[1.0, 0.3], [0.3, 0.7]]))
    solver = fr.solvers.StochasticForwardBackwardGVI(0.02, batch_size=4, hessian_free=True)
    x = fr.solve(fr.GaussianVariational(target), jnp.zeros(2), solver, max_steps=4000).x
    np.testing.assert_allclose(x.mean, [1.0, -1.0], atol=0.1)
    np.testing.assert_allclose(x.covariance, np.linalg.inv(target.precision), atol=0.15)


def test_draws_without_hessians_need_a_step_size():
    with pytest.raises(ValueError, match="step_size"):
        fr.solvers.StochasticForwardBackwardGVI(hessian_free=True)


def test_a_batch_of_starts_is_solved_at_once():
    """Under vmap, where the check of the start's covariance cannot look at it."""
    problem = fr.GaussianVariational(fr.problems.GaussianPotential(jnp.zeros(1), jnp.array([[2.0]])))
    starts = jnp.array([[0.5], [3.0]])
    found = jax.vmap(lambda m: fr.solve(problem, m, tol=1e-4).x)(starts)
    np.testing.assert_allclose(found.covariance[:, 0, 0], 0.5, rtol=1e-3)


def test_converges_where_nodes_err():
    """Four dimensions by 64 nodes: the rule is far off, and solutions of its own problem are still found."""
    rng = np.random.default_rng(0)
    rows = jnp.asarray(3 * rng.normal(size=(8, 4)), jnp.float32)
    potential = lambda theta: jnp.sum(jnp.logaddexp(0, rows @ theta)) + 0.5 * theta @ theta  # noqa: E731
    problem = fr.GaussianVariational(potential, fr.problems.quasi_monte_carlo(4, 64))
    assert fr.solve(problem, jnp.zeros(4), tol=3e-3).status.converged
