"""The exact solver of total variation denoising on long signals, by its certificate of optimality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.convex import TotalVariation1D


def walk(n, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(size=n))


@pytest.mark.parametrize("weight", [0.0, 0.1, 3.0, 100.0, 1e6])
def test_certificate_on_a_long_signal(weight, precision):
    # u is the minimiser iff z = cumsum(x - u) has |z_i| <= w_i, z_n = 0 and z_i = -w_i sign(jump_i).
    x = walk(2000).astype(precision)
    w = weight * (1 + np.sin(np.arange(1999.0)))
    u = np.asarray(TotalVariation1D(jnp.asarray(w, precision)).prox(x, 1.0), np.float64)
    z = np.cumsum(x - u)
    tolerance = 200 * np.finfo(precision).eps * np.sum(np.abs(x - x.mean()))
    assert abs(z[-1]) <= tolerance
    assert np.all(np.abs(z[:-1]) <= w + tolerance)
    jump = np.sign(np.diff(u)) * (np.abs(np.diff(u)) > 200 * np.finfo(precision).eps * np.abs(x).max())
    assert np.all(np.abs(z[:-1] + w * jump)[jump != 0] <= tolerance)


def test_derivative_averages_over_segments():
    with jax.enable_x64(True):
        x = jnp.asarray(walk(60))
        g = TotalVariation1D(2.0)
        u = np.asarray(g.prox(x, 1.0))
        segments = np.split(np.arange(60), np.flatnonzero(np.diff(u)) + 1)
        assert 3 < len(segments) < 30
        expected = np.zeros((60, 60))
        for s in segments:
            expected[np.ix_(s, s)] = 1 / len(s)
        jacobian = jax.jit(jax.jacfwd(lambda x: g.prox(x, 1.0)))(x)
        np.testing.assert_allclose(jacobian, expected, atol=1e-14)


@pytest.mark.parametrize("x", [np.zeros(5), np.ones(1), np.arange(6.0), np.array([1.0, 1.0, 1.0, 0.0, 0.0])])
def test_ties_and_short_signals(x, precision):
    u = TotalVariation1D(0.5).prox(jnp.asarray(x, precision), 1.0)
    assert u.shape == x.shape
    assert float(jnp.sum(u)) == pytest.approx(x.sum(), abs=1e-5)
    constant = TotalVariation1D(1e3).prox(jnp.asarray(x, precision), 1.0)
    np.testing.assert_allclose(constant, np.full_like(x, x.mean()), atol=1e-5)


def test_no_copy_of_the_breakpoints_in_the_loop():
    # Linear time needs in-place updates: a copy of all 2 n + 2 slots in a loop body makes it quadratic.
    n = 997
    prox = jax.jit(lambda x: TotalVariation1D(1.0).prox(x, 1.0))
    computations = prox.lower(jnp.zeros(n)).compile().as_text().split("\n\n")
    slots = [part for part in computations if f"[{2 * n + 2}]" in part and not part.startswith("ENTRY")]
    assert slots
    lines = [line for part in slots for line in part.splitlines() if f"[{2 * n + 2}]" in line]
    assert not [line for line in lines if " copy(" in line]
