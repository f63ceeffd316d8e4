"""StableMax by its definition as a ratio; where softmax cross entropy vanishes in finite precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import losses


def by_definition(x):
    s = np.where(x >= 0, x + 1, 1 / (1 + np.abs(x)))
    return s / s.sum(-1, keepdims=True)


def test_is_the_ratio_and_its_loss_the_negative_logarithm(precision):
    rng = np.random.default_rng(0)
    x = (10 ** rng.uniform(-2, 3, (50, 6)) * rng.choice([-1, 1], (50, 6))).astype(precision)
    labels = rng.integers(0, 6, 50)
    p = by_definition(x.astype(np.float64))
    z = jnp.asarray(x)
    unit = np.finfo(precision).eps
    np.testing.assert_allclose(losses.stablemax(z), p, atol=4 * unit)
    np.testing.assert_allclose(jnp.sum(losses.stablemax(z.T, axis=0), axis=0), 1, atol=4 * unit)
    found = losses.stablemax_cross_entropy(z, jnp.asarray(labels))
    assert found.shape == (50,) and found.dtype == precision
    np.testing.assert_allclose(found, -np.log(p[np.arange(50), labels]), rtol=1e3 * unit)


def test_gradient_is_that_of_differences_at_zero_too():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 5))
    x[0], x[1, 2] = 0.0, 0.0
    labels = np.array([0, 2, 1, 4])
    loss = lambda x: -np.log(by_definition(x)[np.arange(4), labels]).sum()  # noqa: E731
    h = 1e-6
    steps = h * np.eye(20).reshape(20, 4, 5)
    expected = np.array([loss(x + d) - loss(x - d) for d in steps]).reshape(4, 5) / (2 * h)
    with jax.enable_x64(True):
        gradient = jax.grad(lambda x: losses.stablemax_cross_entropy(x, jnp.asarray(labels)).sum())(
            jnp.asarray(x)
        )
        # s'(0) = 1 from both sides: central differences err by the jump of s'' there, times h.
        np.testing.assert_allclose(gradient, expected, atol=2e-6)
        z = jnp.zeros(3)
        np.testing.assert_allclose(
            jax.jacfwd(losses.stablemax)(z), np.eye(3) / 3 - np.ones((3, 3)) / 9, atol=1e-15
        )


@pytest.mark.parametrize("dtype, gap", [("float16", 8), ("float32", 17), ("float64", 37)])
def test_softmax_collapses_at_this_lead_and_stablemax_does_not(dtype, gap):
    with jax.enable_x64(dtype == "float64"):
        z = jnp.array([[gap - 1, 0], [gap, 0]], dtype)
        labels = jnp.zeros(2, int)
        softmax = -jax.nn.log_softmax(z)[:, 0]
        assert softmax[0] > 0 and softmax[1] == 0
        assert losses.softmax_collapse_rate(z, labels) == 0.5
        assert losses.softmax_collapse_rate(z, 1 - labels) == 0  # wrong answers have not collapsed
        slope = jax.grad(lambda z: losses.stablemax_cross_entropy(z, labels).sum())(z)
        assert jnp.all(losses.stablemax_cross_entropy(z, labels) > 0) and jnp.all(slope[:, 0] < 0)


def test_a_lead_of_a_million_and_beyond_in_float32():
    for lead in (1e6, 1e12, 1e30):
        z = jnp.array([lead, 0.0, 0.0])
        value, slope = jax.value_and_grad(losses.stablemax_cross_entropy)(z, jnp.array(0))
        np.testing.assert_allclose(value, 2 / (lead + 1), rtol=1e-4)
        if lead < 1e15:  # beyond, the slope 2 / lead^2 is no number of float32
            np.testing.assert_allclose(slope[0], -2 / (lead + 1) ** 2, rtol=1e-4)
        np.testing.assert_allclose(slope[1:], 1 / (lead + 1), rtol=1e-4)
