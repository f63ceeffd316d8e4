"""Samplers without bias keep Gaussians, Laplace densities and uniform ones on boxes as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import frechet as fr
from frechet.solvers.sampling.mala import MALA
from frechet.solvers.sampling.metropolis_mirror_langevin import MetropolisMirrorLangevin
from frechet.solvers.sampling.myula import MYMALA
from frechet.solvers.sampling.proximal_sampler import ProximalSampler
from tests.solvers.sampling.stationary import ended, second_moments

PRECISIONS = np.array([1.0, 10.0, 100.0])
RATES = np.array([1.0, 5.0, 10.0])
TRUE = {"gaussian": 1 / PRECISIONS, "laplace": 2 / RATES**2, "uniform": np.array([0.25, 4.0]) / 3}


def start(n=1000):
    rng = np.random.default_rng(0)
    return {
        "gaussian": rng.normal(size=(n, 3)) / np.sqrt(PRECISIONS),
        "laplace": rng.laplace(size=(n, 3)) / RATES,
        "uniform": rng.uniform(-1, 1, (n, 2)) * np.array([0.5, 2.0]),
    }


def potential(x):
    return 0.5 * jnp.sum(PRECISIONS * x["gaussian"] ** 2)


def check(found, error, names, precise):
    for name in names:
        np.testing.assert_array_less(np.abs(found[name] - TRUE[name]), 4 * error[name], err_msg=name)
    stiff = found["gaussian"][2]
    assert error["gaussian"][2] < precise * stiff


def accepted(state):
    """The share of moves."""
    pace = getattr(state.memory, "pace", state.memory)
    return np.asarray(pace.accepted / pace.moves)


@pytest.mark.parametrize(
    ("sampler", "n"), [(MYMALA(), 1000), (ProximalSampler(), 250)], ids=["MYMALA", "ProximalSampler"]
)
def test_three_densities_at_once(sampler, n):
    bound = np.array([0.5, 2.0])
    with jax.enable_x64(True):
        g = fr.convex.PerLeaf(
            {
                "gaussian": fr.convex.Zero(),
                "laplace": fr.convex.L1(RATES),
                "uniform": fr.convex.Box(-bound, bound),
            }
        )
        at = jax.tree.map(jnp.asarray, start(n))
        density = fr.Density(potential, g).lifted(at)
        state = ended(density, sampler, at, 300)
    found, error = second_moments(state.x)
    check(found, error, TRUE, 0.03)
    share = accepted(state)
    assert 0.45 < share.mean() < 0.75  # the step size follows it


def test_mala_has_no_bias_where_ula_has():
    with jax.enable_x64(True):
        at = {"gaussian": jnp.asarray(start()["gaussian"])}
        density = fr.Density(potential).lifted(at)
        state = ended(density, MALA(), at, 400)
        found, error = second_moments(state.x)
        check(found, error, ["gaussian"], 0.015)
        assert abs(accepted(state).mean() - 0.574) < 0.05


def test_the_mirror_chain_finds_its_step_size_and_keeps_a_truncated_gaussian():
    """Starts drawn by inversion; the second moment of the standard Gaussian on [-1, 1] in closed form."""
    low, high = stats.norm.cdf([-1.0, 1.0])
    at = stats.norm.ppf(np.random.default_rng(0).uniform(low, high, (1000, 3)))
    wanted = 1 - 2 * stats.norm.pdf(1.0) / (high - low)
    with jax.enable_x64(True):
        sampler = MetropolisMirrorLangevin(fr.convex.LogBarrier(-1.0, 1.0))
        density = fr.Density(lambda x: 0.5 * jnp.sum(x**2), fr.convex.Box(-1.0, 1.0)).lifted(jnp.asarray(at))
        state = ended(density, sampler, jnp.asarray(at), 400)
    found, error = second_moments(state.x)
    np.testing.assert_array_less(np.abs(found - wanted), 4 * error)
    assert np.all(error < 0.015 * wanted)
    assert abs(accepted(state).mean() - 0.574) < 0.05


def test_a_chain_outside_of_the_set_finds_its_way_in_and_stays():
    with jax.enable_x64(True):
        density = fr.Density(lambda x: 0 * jnp.sum(x), fr.convex.Box(-1.0, 1.0)).lifted(jnp.zeros((1, 2)))
        state = ended(density, MYMALA(), jnp.full((50, 2), 5.0), 300)
    assert np.max(np.abs(state.x.position)) <= 1
    assert np.all(np.isfinite(state.memory.potential))
