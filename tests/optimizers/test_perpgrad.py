"""Perpendicular gradients and AdamW on them, by the formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.perpgrad import perpendicular_gradient, perpgrad, weight_alignment
from tests.optimizers.trajectory import updates_at

SHAPES = {"kernel": (6, 4), "conv": (3, 2, 2), "bias": (5,)}


def inputs(dtype, steps=100):
    rng = np.random.default_rng(0)
    return ({k: rng.normal(size=(steps, *s)).astype(dtype) for k, s in SHAPES.items()} for _ in range(2))


def perpendicular(g, w, renormalise):
    p = g - np.vdot(w, g) / (np.vdot(w, w) + 1e-30) * w
    return p * (np.linalg.norm(g) / (np.linalg.norm(p) + 1e-30)) if renormalise else p


@pytest.mark.parametrize("renormalise", [True, False])
def test_agrees_with_the_formula_over_100_steps(renormalise, precision):
    G, W = inputs(precision)
    found = updates_at(perpendicular_gradient(renormalise), G, W)
    for k in SHAPES:
        g, w, u = (x[k].astype(np.float64) for x in (G, W, jax.tree.map(np.asarray, found)))
        expected = np.array([perpendicular(a, b, renormalise) for a, b in zip(g, w, strict=True)])
        unit = np.finfo(precision).eps
        assert found[k].dtype == precision
        np.testing.assert_allclose(u, expected, atol=8 * unit * np.abs(expected).max(), rtol=0)
        inner = np.abs((u * w).reshape(100, -1).sum(1))
        size = np.linalg.norm(u.reshape(100, -1), axis=1) * np.linalg.norm(w.reshape(100, -1), axis=1)
        assert np.all(inner < 4 * unit * size)  # under 1e-12 in float64
        if renormalise:
            norms = [np.linalg.norm(x.reshape(100, -1), axis=1) for x in (u, g)]
            np.testing.assert_allclose(*norms, rtol=4 * unit)


def test_perpgrad_is_adamw_on_them(precision):
    """The reference computes in the same precision: the bias correction of float32 is part of AdamW."""
    G, W = inputs(precision)
    lr, b1, b2, eps, decay = (precision.type(x) for x in (0.01, 0.9, 0.99, 1e-25, 0.1))
    found = updates_at(perpgrad(weight_decay=0.1), G, W)
    for k in SHAPES:
        m = v = np.zeros(SHAPES[k], precision)
        expected = []
        for t, (g, w) in enumerate(zip(G[k], W[k], strict=True), 1):
            p = perpendicular(g.astype(np.float64), w, True).astype(precision)
            m, v = b1 * m + (1 - b1) * p, b2 * v + (1 - b2) * p**2
            direction = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
            expected.append(-lr * (direction + decay * w))
        error = np.abs(found[k] - np.array(expected)).max() / np.abs(expected).max()
        assert error < (1e-12 if precision == "float64" else 1e-6)


def test_the_edges_of_the_projection():
    tx = perpendicular_gradient()
    update = jax.jit(lambda g, w: tx.update(g, tx.init(w), w)[0])
    g = {
        "zero": jnp.array([3.0, 4.0]),
        "one": jnp.array(2.0),
        "still": jnp.zeros(2),
        "none": jnp.zeros((0, 2)),
    }
    w = {"zero": jnp.zeros(2), "one": jnp.array(0.3), "still": jnp.ones(2), "none": jnp.zeros((0, 2))}
    u = update(g, w)
    np.testing.assert_allclose(u["zero"], g["zero"], rtol=1e-6)  # w = 0 leaves the gradient unchanged
    assert u["one"] == 0 and not np.any(u["still"]) and u["none"].shape == (0, 2)
    with pytest.raises(ValueError, match="need the parameters"):
        tx.update(g, tx.init(w))


@pytest.mark.parametrize("size", [1e-10, 1e-21, 1e-30])
def test_gradients_whose_squares_underflow_take_no_huge_step(size):
    g, w = size * np.array([[1.0, -2.0]], np.float32), np.array([[1.0, 1.0]], np.float32)
    updates = updates_at(perpgrad(0.01), g, w)
    assert 0 < jnp.max(jnp.abs(updates)) <= 0.01 * (1 + 1e-4)


def test_half_precision_is_projected_in_float32():
    rng = np.random.default_rng(1)
    g, w = (jnp.asarray(rng.normal(size=1000), jnp.bfloat16) for _ in range(2))
    g = g + w
    u = jnp.asarray(perpendicular_gradient().update(g, optax.EmptyState(), w)[0])
    assert u.dtype == jnp.bfloat16
    expected = perpendicular(np.asarray(g, np.float64), np.asarray(w, np.float64), True)
    np.testing.assert_allclose(np.asarray(u, np.float64), expected, rtol=2**-8)


def test_is_the_identity_for_a_scale_invariant_loss():
    rng = np.random.default_rng(2)
    w, target = (jnp.asarray(rng.normal(size=12), jnp.float32) for _ in range(2))
    g = jax.grad(lambda w: jnp.sum((w / jnp.linalg.norm(w) - target) ** 2))(w)
    u = jnp.asarray(perpendicular_gradient().update(g, optax.EmptyState(), w)[0])
    np.testing.assert_allclose(u, g, atol=1e-6 * float(jnp.linalg.norm(g)))


def test_alignment_is_the_cosine_of_descent_and_weights():
    rng = np.random.default_rng(3)
    w, g = rng.normal(size=(2, 7))
    cosine = -w @ g / np.linalg.norm(w) / np.linalg.norm(g)
    found = weight_alignment(
        {"a": jnp.asarray(w), "b": jnp.ones(2)}, {"a": jnp.asarray(1e-25 * g), "b": jnp.zeros(2)}
    )
    np.testing.assert_allclose(found["a"], cosine, rtol=1e-5)
    assert found["b"] == 0
