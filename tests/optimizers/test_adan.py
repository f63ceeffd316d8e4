"""Adan against its paper's formulas in NumPy: its second step, clipping, decay and half precision."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.optimizers.adan import adan, scale_by_adan
from tests.optimizers.trajectory import TOLERANCE, error, random_problem, updates_of


def reference(theta, grads, lr, b1, b2, b3, eps, wd, proximal):
    """The algorithm box, with its betas as one minus ours; `lr` is a function of the step."""
    theta, out = theta.astype(np.float64), []
    m, v, n, last = 0.0, 0.0, 0.0, grads[0].astype(np.float64)
    for t, g in enumerate(grads.astype(np.float64)):
        m = m + (1 - b1) * (g - m)
        v = v + (1 - b2) * (g - last - v)
        n = n + (1 - b3) * ((g + b2 * (g - last)) ** 2 - n)
        corrected = [a / (1 - b ** (t + 1)) for a, b in ((m, b1), (v, b2), (n, b3))]
        u = (corrected[0] + b2 * corrected[1]) / (np.sqrt(corrected[2]) + eps)
        new = (theta - lr(t) * u) / (1 + lr(t) * wd) if proximal else (1 - lr(t) * wd) * theta - lr(t) * u
        out.append(new - theta)
        theta, last = new, g
    return np.array(out)


@pytest.mark.parametrize("proximal", [True, False])
def test_agrees_with_the_paper(precision: np.dtype, proximal: bool) -> None:
    theta, grads = random_problem(precision)
    tx = adan(lambda t: 0.1 / (1 + 0.1 * t), weight_decay=0.5, proximal=proximal)
    want = reference(theta, grads, lambda t: 0.1 / (1 + 0.1 * t), 0.98, 0.92, 0.99, 1e-8, 0.5, proximal)
    assert error(updates_of(tx, grads, theta), want) < TOLERANCE[precision.name]


def test_second_step_is_not_the_one_of_optax() -> None:
    got = updates_of(scale_by_adan(), np.array([[1, -2, 0.5], [1, 1, -0.5]], np.float32))
    np.testing.assert_allclose(got, [[1, -1, 1], [1, 0.31590, -0.45398]], atol=1e-5)


def test_differences_are_of_clipped_gradients() -> None:
    grads = np.array([[3.0, 4.0], [300.0, 400.0]], np.float32)  # both clipped to (0.6, 0.8)
    tx = optax.chain(optax.clip_by_global_norm(1.0), adan(1.0))
    np.testing.assert_allclose(updates_of(tx, grads), -np.ones((2, 2)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_small_gradients_in_half_precision(dtype) -> None:
    """The square of 1e-3 times 1 - b3 is zero in float16; the step is its sign all the same."""
    grad = jnp.array([1e-3, -1e-3], dtype)
    tx = scale_by_adan()
    u, state = tx.update(grad, tx.init(grad))
    assert u.dtype == dtype and {x.dtype for x in jax.tree.leaves(state[1:])} == {jnp.dtype(dtype)}
    np.testing.assert_allclose(u.astype(float), [1, -1], rtol=1e-2)


def test_the_file_does_not_hide_the_function() -> None:
    importlib.import_module("frechet.optimizers.adan")
    assert fr.optimizers.adan is adan
