"""Fenchel-Young losses against their definition: a maximum, computed by CVXPY or by enumeration."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import losses
from frechet.derivatives import perturbed, perturbed_max


def test_sparsemax_is_the_maximum_it_says():
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(5, 3)), np.array([0, 2, 1, 3, 0]), 2 * rng.normal(size=(3, 4))
    with jax.enable_x64(True):
        found = losses.Sparsemax(X, y)
        total, gradient = 0.0, np.zeros_like(w)
        for x, label in zip(X, y, strict=True):
            p, z = cp.Variable(4), x @ w
            inner = cp.Problem(cp.Maximize(z @ p - cp.sum_squares(p) / 2), [p >= 0, cp.sum(p) == 1])
            total += inner.solve(solver=cp.CLARABEL) + 0.5 - z[label]
            gradient += np.outer(x, p.value - np.eye(4)[label])
        assert float(found(w)) == pytest.approx(total / 5, abs=1e-7)
        np.testing.assert_allclose(jax.grad(found)(w), gradient / 5, atol=1e-4)
        # The curvature bounds every difference quotient of the gradient in the scores.
        one = losses.Sparsemax(np.eye(1), y[:1])
        u, v = rng.normal(size=(2, 1, 4))
        change = np.linalg.norm(jax.grad(one)(u) - jax.grad(one)(v))
        assert change <= one.curvature * np.linalg.norm(u - v) + 1e-12


def test_sparsemax_is_zero_from_a_margin_of_one_on(precision):
    f = losses.Sparsemax(jnp.ones((1, 1), precision), jnp.array([1]))
    assert float(f(jnp.array([[0.0, 1.0, -3.0]], precision))) == 0.0
    assert float(f(jnp.array([[0.0, 0.5, -3.0]], precision))) > 0.0


def test_log_sum_exp_gives_the_logistic_loss(precision):
    rng = np.random.default_rng(1)
    z, labels = jnp.asarray(rng.normal(size=(6, 4)), precision), rng.integers(0, 4, 6)
    found = losses.fenchel_young_loss(jax.nn.logsumexp)(z, jax.nn.one_hot(labels, 4, dtype=precision))
    assert found.shape == (6,) and found.dtype == precision
    expected = losses.Multinomial(jnp.eye(6, dtype=precision), labels)(z)
    np.testing.assert_allclose(jnp.mean(found), expected, rtol=1e-5)


def test_of_a_perturbed_maximum_the_gradient_is_prediction_less_target():
    def hardmax(z):
        return jax.nn.one_hot(jnp.argmax(z), z.size, dtype=z.dtype)

    with jax.enable_x64(True):
        z, y, key = jnp.array([0.3, 0.1, -0.4]), jnp.array([0.0, 1.0, 0.0]), jax.random.key(0)
        settings = {"samples": 50, "sigma": 0.5}
        smooth = perturbed_max(hardmax, **settings)
        loss = losses.fenchel_young_loss(lambda z: smooth(z, key))
        expected = perturbed(hardmax, **settings)(z, key) - y
        np.testing.assert_allclose(jax.grad(loss)(z, y), expected, atol=1e-12)
