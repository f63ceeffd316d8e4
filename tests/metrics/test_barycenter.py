"""Entropic barycenters against Gaussians' closed form, NumPy's iteration and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import metrics, transport

T = np.linspace(0, 1, 40)
WEIGHTS = np.array([0.4, 0.6])


def bump(mean, deviation):
    v = np.exp(-((T - mean) ** 2) / (2 * deviation**2))
    return v / v.sum()


HISTOGRAMS = np.stack([bump(0.35, 0.06), bump(0.65, 0.06)])
C = (T[:, None] - T) ** 2


def test_it_blurs_gaussians_as_the_closed_form_does(precision):
    h, w = jnp.asarray(HISTOGRAMS, precision), jnp.asarray(WEIGHTS, precision)
    found = metrics.barycenter(jnp.asarray(C, precision), h, w, epsilon=0.005, relative=False)
    q = np.asarray(found.histogram, float)
    assert found.status.converged and found.histogram.dtype == precision
    tol = 1e-6 if precision == "float64" else 1e-4  # what the grid cuts off the tails
    assert abs(q @ T - 0.53) < tol
    assert abs(q @ (T - q @ T) ** 2 - (0.06**2 + 0.005 / 2)) < tol


def test_it_is_the_limit_of_iterated_projections_on_grids_too():
    rng = np.random.default_rng(0)
    a = rng.dirichlet(np.ones(20), size=3)
    a[0, :7] = 0
    a[0] /= a[0].sum()
    with jax.enable_x64(True):
        grid = transport.Grid.squared((4, 5))
        K = np.exp(-np.asarray(grid.matrix()) / 0.05)
        found = metrics.barycenter(grid, jnp.asarray(a), epsilon=0.05, relative=False, tol=1e-12)
    v = np.ones((3, 20))
    for _ in range(2000):
        arrived = (a / (v @ K.T)) @ K
        q = np.exp(np.log(arrived).mean(0))
        v = q / arrived
    np.testing.assert_allclose(found.histogram, q, atol=1e-12)


def test_derivatives_are_those_of_differences():
    rng, h = np.random.default_rng(1), 1e-5
    directions = rng.normal(size=2) / 10, HISTOGRAMS * rng.normal(size=HISTOGRAMS.shape) / 10

    @jax.jit
    def along(t):
        w, a = (v + t * d for v, d in zip((WEIGHTS, HISTOGRAMS), directions, strict=True))
        a = a / a.sum(1, keepdims=True)
        q = metrics.barycenter(jnp.asarray(C), a, w / w.sum(), epsilon=0.01, relative=False, tol=1e-11)
        return jnp.stack([q.histogram @ T, q.histogram @ T**2])

    with jax.enable_x64(True):
        slope = jax.jvp(along, (0.0,), (1.0,))[1]
        np.testing.assert_allclose(slope, (along(h) - along(-h)) / (2 * h), rtol=1e-7)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"histograms have shape \(k, 40\) for this cost, got \(40,\)"):
        metrics.barycenter(jnp.asarray(C), jnp.ones(40))
    with pytest.raises(ValueError, match="divide each by its sum"):
        metrics.barycenter(jnp.asarray(C), jnp.ones((2, 40)))
    with pytest.raises(ValueError, match=r"weights have shape \(3,\) for 2 histograms"):
        metrics.barycenter(jnp.asarray(C), jnp.asarray(HISTOGRAMS), jnp.ones(3))
