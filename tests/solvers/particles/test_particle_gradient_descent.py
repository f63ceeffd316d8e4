"""Particle gradient descent with and without noise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.problems import EnergyDistance, UniformLaw
from frechet.solvers.particles.perturbed_particle_gradient_descent import in_ball
from frechet.solvers.stochastic.proximal_sgd import Constant
from frechet.workbench.claims.iterates import states


def test_x_is_the_best_iterate_and_not_the_last():
    f = EnergyDistance(UniformLaw(0.0, 1.0))
    solver = fr.solvers.PerturbedParticleGradientDescent(Constant(0.3))
    path: Any = states(fr.Particles(f), solver, jnp.linspace(0.4, 0.6, 5), 60)
    all_values = jax.jit(jax.vmap(f))
    values = np.asarray(all_values(path.particles))
    best = np.minimum.accumulate(values)
    np.testing.assert_allclose(path.best, best, rtol=1e-5)
    np.testing.assert_allclose(all_values(path.x), best, rtol=1e-4, atol=1e-7)
    assert values[-1] > 1.5 * best[-1]  # steps of constant size never settle


def test_noise_is_uniform_in_the_ball_of_all_leaves_together():
    x = {"a": jnp.zeros(20_000), "b": jnp.zeros((20_000, 1, 2))}
    noise = in_ball(jax.random.key(0), x)
    rows = np.concatenate([noise["a"][:, None], noise["b"].reshape(-1, 2)], axis=1)
    radius = np.linalg.norm(rows, axis=1)
    assert radius.max() <= 1 + 1e-6
    # In three dimensions the cubed radius is uniform, and so is a ball's every direction.
    np.testing.assert_allclose(np.quantile(radius**3, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(3) / 5, atol=0.01)


def test_a_schedule_without_a_step_size_is_refused():
    with pytest.raises(TypeError, match="schedule"):
        fr.solvers.PerturbedParticleGradientDescent(Constant())


def test_other_solvers_of_smooth_problems_take_particles():
    problem = fr.Particles(lambda w: 0.5 * jnp.mean((w - jnp.array([1.0, -2.0])) ** 2))
    for solver in (None, fr.solvers.LBFGS()):
        solution = fr.solve(problem, jnp.arange(6.0).reshape(3, 2), solver, tol=1e-4)
        assert solution.status.converged
        np.testing.assert_allclose(solution.x, np.tile([1.0, -2.0], (3, 1)), atol=1e-4)
