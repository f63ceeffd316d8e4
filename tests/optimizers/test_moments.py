"""Bias corrections to the last digits, and proximal decay as the proximal operator it is."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.moments import bias_correction
from frechet.optimizers.weight_decay import proximal_weight_decay


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 0.99999])
def test_bias_correction_keeps_its_digits(precision: np.dtype, decay: float) -> None:
    count = np.array([1, 2, 10, 1000, 1_000_000])
    exact = -np.expm1(count * np.log1p(decay - 1)) if decay else np.ones(5)
    got = np.asarray(bias_correction(decay, jnp.asarray(count, jnp.int32)))
    np.testing.assert_allclose(got, exact, rtol=8 * jnp.finfo(precision).eps)


def test_bias_correction_of_a_traced_decay_matches_its_weight() -> None:
    decay = jnp.float32(0.999)
    weight = 1 - decay  # exact, and not 0.001
    np.testing.assert_allclose(bias_correction(decay, 1), weight, rtol=1e-6)


def test_proximal_decay_minimises_its_model(precision: np.dtype) -> None:
    """theta + u' minimises |x - (theta + u)|^2 / 2 + lr wd |x|^2 / 2: its gradient vanishes there."""
    theta, u, lr, wd = np.array([3.0, -2.0, 0.0]), np.array([0.5, 1.0, -1.0]), 0.3, 7.0
    tx = proximal_weight_decay(lr, wd)
    moved, _ = tx.update(jnp.asarray(u), tx.init(jnp.asarray(theta)), jnp.asarray(theta))
    x = theta + np.asarray(moved, np.float64)
    assert np.max(np.abs(x - (theta + u) + lr * wd * x)) < 50 * jnp.finfo(precision).eps


def test_proximal_decay_follows_the_schedule_of_the_step_before() -> None:
    lr = lambda t: jnp.where(t == 0, 1.0, 3.0)  # noqa: E731
    tx = optax.chain(optax.sgd(lr), proximal_weight_decay(lr, 1.0))
    theta, zero = jnp.array([8.0]), jnp.zeros(1)
    state = tx.init(theta)
    for expected in (4.0, 1.0):  # divided by 2, then by 4
        u, state = tx.update(zero, state, theta)
        theta = optax.apply_updates(theta, u)
        assert float(jnp.squeeze(jnp.asarray(theta))) == expected


def test_proximal_decay_asks_for_the_parameters() -> None:
    tx = proximal_weight_decay(0.1, 0.1)
    with pytest.raises(ValueError, match=r"update\(grads, state, params\)"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
