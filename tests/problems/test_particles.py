"""Functionals of particles against sums over all pairs, matchings against SciPy, velocities against both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import frechet as fr
from frechet.problems import EnergyDistance, SquaredWasserstein, UniformLaw, ZeroOneNetwork
from frechet.problems.matching import matching, wasserstein
from frechet.problems.particle_functionals import InteractionEnergy


def distances(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=-1)


@pytest.mark.parametrize("d", [1, 2])
def test_energy_distance_is_the_sum_over_all_pairs(d, precision):
    """Ties among particles and with the target included, where the subgradient has sign(0) = 0."""
    rng = np.random.default_rng(0)
    w, y = rng.integers(-3, 4, (7, d)).astype(precision), rng.integers(-3, 4, (9, d)).astype(precision)
    value, slope = jax.jit(jax.value_and_grad(EnergyDistance(jnp.asarray(y))))(jnp.asarray(w))
    expected = 2 * distances(w, y).mean() - distances(w, w).mean() - distances(y, y).mean()

    def directions(x, y):
        apart = x[:, None] - y[None]
        return apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-300)

    wide = w.astype(float)
    velocity = 2 * directions(wide, y).mean(axis=1) - 2 * directions(wide, wide).mean(axis=1)
    tol = 100 * np.finfo(precision).eps
    np.testing.assert_allclose(value, expected, atol=tol)
    np.testing.assert_allclose(7 * slope, velocity, atol=tol)
    assert value.dtype == slope.dtype == precision


def test_energy_distance_on_the_line_takes_a_flat_array_too():
    w, y = jnp.array([0.0, 1.0, 5.0]), jnp.array([2.0, 3.0])
    f, flat = EnergyDistance(y[:, None]), EnergyDistance(y)
    np.testing.assert_allclose(f(w[:, None]), flat(w))
    moved = jax.grad(lambda y: EnergyDistance(y)(w))(y)  # the target is differentiable
    # the points at 2 and 3 each have two particles below and one above, and one another
    np.testing.assert_allclose(moved, [2 / 6 + 2 / 4, 2 / 6 - 2 / 4], rtol=1e-6)


def test_energy_distance_to_a_uniform_law_is_the_limit_of_fine_samples():
    w = np.array([-0.7, 0.1, 0.1, 2.5])
    with jax.enable_x64(True):
        exact = EnergyDistance(UniformLaw(-1.0, 1.0))(jnp.asarray(w))
        fine = EnergyDistance(jnp.linspace(-1, 1, 20_001))(jnp.asarray(w))
        assert abs(float(exact) - float(fine)) < 2e-4


def test_zero_one_network_is_what_gaussian_inputs_see():
    rng = np.random.default_rng(0)
    w, v, x = rng.normal(size=(3, 2)), rng.normal(size=(2, 2)), rng.normal(size=(200_000, 2))
    squares = (np.mean(x @ w.T > 0, axis=1) - np.mean(x @ v.T > 0, axis=1)) ** 2
    error = 4 * np.std(squares) / len(x) ** 0.5
    assert abs(float(ZeroOneNetwork(jnp.asarray(v))(jnp.asarray(w))) - np.mean(squares)) < error


def test_interaction_energy_leaves_particles_alone_with_themselves():
    """A kernel without a derivative at zero has one here, and a lambda is lifted with what it captured."""
    rng = np.random.default_rng(0)
    w, scale = rng.normal(size=(6, 2)).astype(np.float32), jnp.asarray(0.7)
    energy = InteractionEnergy(lambda d: scale * jnp.linalg.norm(d), lambda w: jnp.sum(w**2))
    problem = fr.Particles(energy).lifted(jnp.asarray(w))
    expected = 0.7 * distances(w, w).sum() / 72 + np.mean(np.sum(w**2, axis=1))
    np.testing.assert_allclose(problem.objective(jnp.asarray(w)), expected, rtol=1e-5)
    assert jnp.all(jnp.isfinite(problem.optimality(jnp.asarray(w))))
    assert any(
        v is not None and np.shape(v) == () and float(v) == np.float32(0.7) for v in jax.tree.leaves(problem)
    )


@pytest.mark.parametrize("d", [1, 3])
def test_matching_is_that_of_scipy(d):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(8, d)), rng.normal(size=(8, d))
    costs = distances(x, y) ** 2
    assert matching(jnp.asarray(x), jnp.asarray(y)).tolist() == linear_sum_assignment(costs)[1].tolist()
    least = np.sqrt(costs[linear_sum_assignment(costs)].mean())
    np.testing.assert_allclose(wasserstein(jnp.asarray(x), jnp.asarray(y)), least, rtol=1e-5)


def test_squared_wasserstein_sends_particles_straight_to_their_points():
    rng = np.random.default_rng(0)
    w, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    problem = fr.Particles(SquaredWasserstein(jnp.asarray(y)), jnp.asarray(y, jnp.float32))
    order = linear_sum_assignment(distances(w, y) ** 2)[1]
    np.testing.assert_allclose(problem.optimality(jnp.asarray(w)), w - y[order], rtol=1e-4, atol=1e-6)
    measured = problem.measures(jnp.asarray(w))["wasserstein"]
    np.testing.assert_allclose(0.5 * measured**2, problem.objective(jnp.asarray(w)), rtol=1e-5)


MEAN = lambda w: jnp.mean(w**2)  # noqa: E731
WRONG = {
    "leading axes that differ": (
        lambda: fr.solve(fr.Particles(lambda w: jnp.sum(w["a"])), {"a": jnp.ones(2), "b": jnp.ones(3)}),
        "share their leading axis",
    ),
    "no particle": (lambda: fr.solve(fr.Particles(MEAN), jnp.ones((0, 2))), "at least one particle"),
    "a minimiser of another form": (
        lambda: fr.solve(fr.Particles(MEAN, jnp.ones((3, 2))), jnp.ones((2, 2))),
        "minimiser",
    ),
    "a functional that is none": (lambda: fr.Particles(3.0), "must be callable"),  # pyright: ignore
    "an empty interval": (lambda: UniformLaw(1.0, 1.0), "below upper"),
    "an empty sample": (lambda: EnergyDistance(jnp.ones(0)), "points"),
    "a target in another space": (lambda: EnergyDistance(jnp.ones((3, 2)))(jnp.ones((3, 1))), "shape"),
    "a law on the line for the plane": (
        lambda: EnergyDistance(UniformLaw(0.0, 1.0))(jnp.ones((3, 2))),
        "on the line",
    ),
    "a matching of other numbers": (lambda: SquaredWasserstein(jnp.ones((3, 2)))(jnp.ones((2, 2))), "points"),
    "units with three inputs": (lambda: ZeroOneNetwork(jnp.ones((2, 3))), "shape"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_names_what_is_wrong(what):
    make, words = WRONG[what]
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
