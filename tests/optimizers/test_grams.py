"""Grams against its paper's formulas in NumPy, and the wrapper around other transformations."""

import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.adam_epsilon_hat import scale_by_adam_epsilon_hat
from frechet.optimizers.grams import grams, with_gradient_sign
from tests.optimizers.trajectory import TOLERANCE, error, random_problem, updates_of


def reference(theta, grads, lr, b1, b2, eps, wd):
    theta, out, m, v = theta.astype(np.float64), [], 0.0, 0.0
    for t, g in enumerate(grads.astype(np.float64), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        size = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        new = theta * (1 - lr * wd) - size * np.sign(g) * np.abs(m) / (np.sqrt(v) + eps)
        out.append(new - theta)
        theta = new
    return np.array(out)


def test_agrees_with_the_paper(precision: np.dtype) -> None:
    theta, grads = random_problem(precision)
    grads[3] = 0  # the sign of zero is zero
    want = reference(theta, grads, 0.01, 0.9, 0.999, 1e-6, 0.5)
    got = updates_of(grams(0.01, weight_decay=0.5), grads, theta)
    assert error(got, want) < TOLERANCE[precision.name]


def test_three_steps() -> None:
    """One port starts with 50.6 where 1 is right."""
    tx = with_gradient_sign(scale_by_adam_epsilon_hat(eps=1e-6))
    got = updates_of(tx, np.array([[1, -2, 0.5], [1, 1, -0.5], [1, 0, 0.25]], np.float32))
    np.testing.assert_allclose(got[0], [1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(got[1:], [[0.99998, 0.26633, -0.05263], [0.99998, 0, 0.17472]], atol=1e-5)


def test_any_base_keeps_its_state_and_its_extra_arguments() -> None:
    """Lion has one size, so that Grams around it is the sign of the gradient."""
    lion = with_gradient_sign(optax.scale_by_lion())
    _, grads = random_problem(np.float32, steps=20)
    np.testing.assert_array_equal(updates_of(lion, grads), np.sign(grads))

    needs_value = with_gradient_sign(optax.scale_by_polyak())
    grad, zero = jnp.array([3.0, -4.0]), jnp.zeros(2)
    u, _ = needs_value.update(grad, needs_value.init(zero), zero, value=25.0)
    np.testing.assert_allclose(u, [3.0, -4.0], rtol=1e-6)
