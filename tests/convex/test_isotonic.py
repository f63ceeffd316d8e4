"""Isotonic regression against scikit-learn, its optimality conditions and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression

from frechet import convex

SIZES = (1, 2, 7, 200)
l2 = jax.jit(convex.isotonic_l2, static_argnames="increasing")
kl = jax.jit(convex.isotonic_kl, static_argnames="increasing")


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    return np.round(rng.normal(size=n) + np.linspace(0, 2, n), 1), rng.uniform(0.1, 3, n)


@pytest.mark.parametrize("increasing", [True, False])
def test_agrees_with_scikit_learn(increasing, precision):
    for n in SIZES:
        y, w = (v.astype(precision) for v in data(n))
        expected = isotonic_regression(y.astype(float), sample_weight=w.astype(float), increasing=increasing)
        found = l2(y, w, increasing=increasing)
        assert found.dtype == precision
        np.testing.assert_allclose(found, expected, atol=20 * np.finfo(precision).eps)
        # A member of a batch is what it is alone.
        batch = l2(np.stack([y, y[::-1]]), np.stack([w, w[::-1]]), increasing=increasing)
        np.testing.assert_allclose(batch[0], found, atol=4 * np.finfo(precision).eps)


def test_a_large_offset_keeps_its_digits():
    y = np.float32(2**20) + np.asarray(data(200)[0], np.float32)
    np.testing.assert_allclose(l2(y), isotonic_regression(y.astype(float)), atol=0.25)


def test_kl_is_the_mean_in_logarithms(precision):
    y, w = (v.astype(precision) for v in data(30, 1))
    expected = isotonic_regression(np.exp(y - w).astype(float), sample_weight=np.exp(w).astype(float))
    np.testing.assert_allclose(np.exp(kl(y, w)), expected, rtol=100 * np.finfo(precision).eps)
    falling = isotonic_regression(np.exp(y).astype(float), increasing=False)
    np.testing.assert_allclose(np.exp(kl(y, increasing=False)), falling, rtol=100 * np.finfo(precision).eps)


def test_kl_keeps_what_lies_far_below():
    # In numbers these would be exp(-300), which float32 does not have; all but the last two are sorted.
    y = jnp.array([-300.0, -299.0, 200.0, 100.0])
    expected = [-300.0, -299.0, 200 - np.log(2), 200 - np.log(2)]
    np.testing.assert_allclose(kl(y), expected, rtol=1e-6)


@pytest.mark.parametrize("solve", [convex.isotonic_l2, convex.isotonic_kl], ids=["l2", "kl"])
def test_derivatives_agree_with_finite_differences(solve):
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        y, w = rng.normal(size=9), rng.uniform(0.5, 2, 9)
        run = jax.jit(solve)
        forward = jax.jit(jax.jacfwd(solve, (0, 1)))(y, w)
        reverse = jax.jit(jax.jacrev(solve, (0, 1)))(y, w)
        for i, J in enumerate(forward):
            np.testing.assert_allclose(J, reverse[i], atol=1e-12)
            d = rng.normal(size=9)
            at = [[v + h * d * (i == k) for k, v in enumerate((y, w))] for h in (1e-6, -1e-6)]
            np.testing.assert_allclose(J @ d, (run(*at[0]) - run(*at[1])) / 2e-6, atol=1e-8)


def test_neighbours_that_are_just_equal_are_one_block():
    with jax.enable_x64(True):
        J = jax.jacrev(convex.isotonic_l2)(jnp.array([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(J, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-15)


def test_nan_shows_and_leaves_other_members_alone(precision):
    y = np.stack([data(7)[0], data(7, 1)[0]]).astype(precision)
    clean = l2(y)
    y[0, 3] = np.nan
    found = l2(y)
    assert np.all(np.isnan(found[0]))
    np.testing.assert_array_equal(found[1], clean[1])


def test_bad_input():
    with pytest.raises(ValueError, match="at least one axis"):
        convex.isotonic_l2(1.0)
    with pytest.raises(ValueError, match="weights must be above zero, got -1"):
        convex.isotonic_l2(jnp.ones(2), jnp.array([1.0, -1.0]))
    assert convex.isotonic_l2(jnp.zeros((2, 0))).shape == (2, 0)
