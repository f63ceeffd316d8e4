"""What unadjusted samplers draw from: on Gaussians their stationary variances are closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.sampling.forward_backward_ula import FBULA
from frechet.solvers.sampling.myula import MYULA
from frechet.solvers.sampling.proximal_langevin import ProximalLangevin
from frechet.solvers.sampling.skrock import SKROCK
from frechet.solvers.sampling.ula import ULA
from tests.solvers.sampling.stationary import ended, gaussian, second_moments

PRECISIONS = np.array([1.0, 10.0, 100.0])
WEIGHT, GAMMA, SMOOTHING = 5.0, 0.008, 0.002


def ula(slope, gamma=GAMMA):
    """The Euler step along a linear slope."""
    return 1 / (slope * (1 - gamma * slope / 2))


def proximal_langevin():
    factor = (1 - GAMMA * PRECISIONS) / (1 + GAMMA * WEIGHT)
    return 2 * GAMMA / (1 - factor**2)


def forward_backward():
    p = (1 - SMOOTHING * PRECISIONS) / (1 + SMOOTHING * WEIGHT)
    return ula((1 - SMOOTHING * PRECISIONS) * (1 - p) / SMOOTHING)


def chebyshev(slope, gamma, s=5, damping=0.05):
    """By Chebyshev polynomials of the first and second kind at complex angles, not by the recursion."""
    at = 1 + damping / s**2
    angle = lambda x: np.arccos(np.asarray(x, complex))  # noqa: E731
    T = lambda n, x: np.cos(n * angle(x)).real  # noqa: E731
    U = lambda n, x: (np.sin((n + 1) * angle(x)) / np.sin(angle(x))).real  # noqa: E731
    scale = T(s, at) / (s * U(s - 1, at))
    z = gamma * slope
    kept = T(s, at - scale * z) / T(s, at)
    noise = U(s - 1, at - scale * z) / U(s - 1, at) * (1 - scale * z / 2)
    return 2 * gamma * noise**2 / (1 - kept**2)


MOREAU = PRECISIONS + WEIGHT / (1 + SMOOTHING * WEIGHT)
LAWS = {
    "ULA": (ULA(GAMMA), 0.0, ula(PRECISIONS)),
    "MYULA": (MYULA(GAMMA, SMOOTHING), WEIGHT, ula(MOREAU)),
    "ProximalLangevin": (ProximalLangevin(GAMMA), WEIGHT, proximal_langevin()),
    "FBULA": (FBULA(GAMMA, SMOOTHING), WEIGHT, forward_backward()),
    "SKROCK": (SKROCK(0.02, SMOOTHING), WEIGHT, chebyshev(MOREAU, 0.02)),
}


@pytest.mark.parametrize("name", LAWS)
def test_variances_on_a_gaussian_of_condition_number_100(name):
    sampler, weight, variance = LAWS[name]
    penalty = fr.convex.SquaredL2(weight) if weight else fr.convex.Zero()
    start = np.random.default_rng(0).normal(size=(1000, 3)) * np.sqrt(variance)
    with jax.enable_x64(True):
        density = fr.Density(gaussian(PRECISIONS), penalty).lifted(jnp.asarray(start))
        x = ended(density, sampler, jnp.asarray(start), 400).x
    found, error = second_moments(x)
    np.testing.assert_array_less(np.abs(found - variance), 4 * error)
    # A bias of a few percent would show in the stiff directions, where the true variance is far off.
    assert np.all(error[1:] < 0.012 * variance[1:])
    true = 1 / (PRECISIONS + weight)
    assert abs(variance[2] / true[2] - 1) > 0.02


def test_myula_spreads_a_laplace_density_by_as_much_as_was_measured():
    """Coordinate 10 of rates 1..10 at these steps: the mean modulus is 1.248 times the true one."""
    rates = np.arange(1.0, 11.0)
    start = np.random.default_rng(0).laplace(size=(1000, 10)) / rates

    def modulus(x):
        return jnp.abs(x) * rates

    with jax.enable_x64(True):
        density = fr.Density(lambda x: 0 * jnp.sum(x), fr.convex.L1(rates)).lifted(jnp.asarray(start))
        sampler = MYULA(5e-3, 1e-2)

        @jax.jit
        def averaged(start):
            state = ended(density, sampler, start, 200)

            def turn(carry, k):
                state, total = carry
                state = sampler.step(density, state, key=k)
                return (state, total + modulus(state.x.position)), None

            keys = jax.random.split(jax.random.key(2), 600)
            return jax.lax.scan(turn, (state, jnp.zeros_like(start)), keys)[0][1] / 600

        ratios = np.asarray(averaged(jnp.asarray(start)))
    mean, error = ratios.mean(0), ratios.std(0) / np.sqrt(1000)
    assert abs(mean[9] - 1.248) < 4 * error[9] + 0.003  # measured to three digits, with 4,000 chains
    assert error[9] < 0.005
    assert abs(mean[0] - 1) < 4 * error[0] + 0.03


def test_a_step_left_out_is_from_the_largest_curvature_and_a_flat_part_counts_as_one():
    density = fr.Density(gaussian(jnp.asarray(PRECISIONS)))
    state = ULA().init(density, density.chains(jnp.ones(3), 6), key=jax.random.key(0))
    np.testing.assert_allclose(state.memory, 100, rtol=1e-4)
    assert int(state.calls.hvp) == 4 * 3  # three products at each of four starts
    flat = fr.Density(lambda x: 0 * jnp.sum(x), fr.convex.L1(1.0))
    state = MYULA().init(flat, flat.chains(jnp.ones(3), 2), key=jax.random.key(0))
    np.testing.assert_array_equal(state.memory, 1)
    given = MYULA(0.1, 0.2).init(flat, flat.chains(jnp.ones(3), 2), key=jax.random.key(0))
    assert given.memory is None and int(given.calls.hvp) == 0


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="stages must be 2 or more, got 1"):
        SKROCK(stages=1)
    with pytest.raises(ValueError, match="step sizes and smoothing"):
        ULA(-0.1)
