"""Normalised gradient descent: against NumPy, at the ends of the range of floats, and on the quartic."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.normalized_gd import normalize_by_norm_power, normalized_gd


@jax.jit
def _updates(gradients, learning_rate, beta) -> Any:
    tx = normalized_gd(learning_rate, beta)
    return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], tx.init(None), gradients)[1]


@pytest.mark.parametrize("beta", [0.0, 1 / 3, 1.0])
def test_it_is_the_formula_over_a_hundred_random_gradients(precision, beta):
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-3, 3, (100, 1, 1))
    g = {"w": sizes * rng.normal(size=(100, 4, 3)), "b": sizes[..., 0] * rng.normal(size=(100, 3))}
    g = jax.tree.map(lambda v: np.asarray(v, precision), g)
    wide = jax.tree.map(lambda v: v.astype(np.float64), g)
    norms = np.sqrt(np.sum(wide["w"] ** 2, (1, 2)) + np.sum(wide["b"] ** 2, 1))
    got = _updates(g, 0.3, beta)
    for k, v in wide.items():
        shape = (100,) + (1,) * (v.ndim - 1)
        want = -0.3 * v / norms.reshape(shape) ** beta
        error = np.linalg.norm(got[k] - want, axis=-1) / np.linalg.norm(want, axis=-1)
        assert np.max(error) < {"float32": 1e-6, "float64": 1e-12}[precision.name]


def test_beta_zero_is_gradient_descent_to_the_bit(precision):
    g = jnp.asarray(np.random.default_rng(0).normal(size=(100, 7)), precision)
    sgd = optax.sgd(0.3)
    expected: Any = jax.vmap(lambda g: sgd.update(g, sgd.init(g))[0])(g)
    assert np.array_equal(_updates(g, 0.3, 0.0), expected)


def test_every_step_of_beta_one_has_the_length_of_the_learning_rate(precision):
    g = np.random.default_rng(0).normal(size=(100, 7)) * np.logspace(-5, 5, 100)[:, None]
    lengths = np.linalg.norm(np.asarray(_updates(g.astype(precision), 0.3, 1.0), np.float64), axis=1)
    assert np.max(np.abs(lengths / 0.3 - 1)) < 8 * np.finfo(precision).eps


@pytest.mark.parametrize("size", [1.2e-38, 1e-30, 1.0, 1e30, 3.4e38])
def test_gradients_of_any_size_are_normalised(size):
    g = jnp.full((1, 100), size, jnp.float32)
    assert np.allclose(_updates(g, 1.0, 1.0), -0.1, rtol=1e-6)
    assert np.array_equal(_updates(g, 1.0, 0.0), -g)


def test_half_precision_does_not_overflow():
    g = jnp.full(100, 6e4, jnp.float16)
    u = _updates(g[None], 1.0, 1.0)[0]
    assert u.dtype == jnp.float16 and np.allclose(u, -0.1, rtol=1e-3)


def test_a_stationary_point_stays_and_what_is_not_finite_shows():
    assert np.array_equal(_updates(jnp.zeros((1, 3)), 0.3, 1.0)[0], np.zeros(3))
    assert np.isnan(_updates(jnp.array([[1.0, np.inf]]), 0.3, 1.0)).any()
    assert np.isnan(_updates(jnp.array([[1.0, np.nan]]), 0.3, 1.0)).any()


def test_an_empty_tree_has_an_empty_update():
    nothing: Any = {"a": None}
    assert normalize_by_norm_power().update(nothing, optax.EmptyState())[0] == nothing
