"""Soft sorting and ranking against NumPy's Sinkhorn, hard sorting and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import metrics

X = np.random.default_rng(0).normal(size=7)
WEIGHTS = np.array([0.45, 0.1, 0.45])


def plan(x, b, epsilon):
    """The entropic plan between squashed entries and a grid, by scalings."""
    z = 1 / (1 + np.exp(-(x - x.mean()) / x.std()))
    K, v = np.exp(-((z[:, None] - np.linspace(0, 1, len(b))) ** 2) / epsilon), np.ones(len(b))
    for _ in range(3000):
        u = 1 / len(x) / (K @ v)
        v = b / (K.T @ u)
    return u[:, None] * K * v


def test_results_are_means_under_the_plan(precision):
    x, uniform = jnp.asarray(X, precision), np.ones(7) / 7
    tol = 1e-8 if precision == "float64" else 1e-2
    P = plan(X, uniform, 0.05)
    np.testing.assert_allclose(metrics.soft_sort(x, epsilon=0.05), X @ P * 7, atol=tol)
    np.testing.assert_allclose(metrics.soft_rank(x, epsilon=0.05), P @ np.arange(7) * 7, atol=tol)
    P = plan(X, WEIGHTS, 0.05)
    found = metrics.soft_sort(x, jnp.asarray(WEIGHTS, precision), epsilon=0.05)
    np.testing.assert_allclose(found, X @ P / WEIGHTS, atol=tol)
    assert found.dtype == precision


def test_it_hardens_as_epsilon_falls_and_is_differentiable():
    with jax.enable_x64(True):
        x = jnp.asarray([0.3, -0.8, 1.9, 1.1, -1.7, 0.8, -0.2])
        d, h = np.random.default_rng(1).normal(size=7), 1e-5

        def both(x, epsilon):
            kind = {"epsilon": epsilon, "tol": 1e-9}
            return jnp.stack([metrics.soft_sort(x, **kind), metrics.soft_rank(x, **kind)])

        both = jax.jit(both)
        hard = jnp.stack([jnp.sort(x), jnp.argsort(jnp.argsort(x)).astype(float)])
        errors = [float(jnp.max(jnp.abs(both(x, e) - hard))) for e in (0.1, 0.02, 0.004)]
        assert errors[0] > 2 * errors[1] > 4 * errors[2]
        slope = jax.jvp(lambda x: both(x, 0.02), (x,), (d,))[1]
        differences = (both(x + h * d, 0.02) - both(x - h * d, 0.02)) / (2 * h)
        np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-6)


def test_equal_entries_share_their_ranks():
    np.testing.assert_allclose(metrics.soft_rank(jnp.ones(3)), 1.0, atol=1e-5)


def test_a_table_is_refused():
    with pytest.raises(ValueError, match="x is a vector of at least two entries"):
        metrics.soft_sort(jnp.ones((3, 2)))
