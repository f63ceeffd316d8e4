"""The Fréchet distance against closed forms, SciPy's matrix root and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from frechet import metrics


def gaussian(rng, d, rank=None):
    a = rng.normal(size=(d, rank or 2 * d))
    return rng.normal(size=d), a @ a.T / d


def by_scipy(m1, c1, m2, c2):
    root = sqrtm(c1 @ c2)
    return np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * np.real(root))


def test_equal_gaussians_and_diagonal_ones(precision):
    rng = np.random.default_rng(0)
    distance = jax.jit(metrics.gaussian_frechet_distance)
    m, c = (x.astype(precision) for x in gaussian(rng, 6))
    tol = 1e-10 if precision == "float64" else 1e-4
    assert abs(distance(m, c, m, c)) < tol
    c1, c2 = (jnp.diag(jnp.array(s, precision)) for s in ([1.0, 4.0], [9.0, 16.0]))
    found = distance(jnp.zeros(2, precision), c1, jnp.ones(2, precision), c2)
    assert found.dtype == precision and found == 10.0  # (1 - 3)^2 + (2 - 4)^2 + 2


def test_agrees_with_scipy_and_is_symmetric():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        distance = jax.jit(metrics.gaussian_frechet_distance)
        for _ in range(5):
            a, b = gaussian(rng, 6), gaussian(rng, 6)
            np.testing.assert_allclose(distance(*a, *b), by_scipy(*a, *b), rtol=1e-8)
            np.testing.assert_allclose(distance(*a, *b), distance(*b, *a), rtol=1e-12)
        # Nearly singular: the product's root is complex, ours is not.
        a, b = gaussian(rng, 6, rank=3), gaussian(rng, 6, rank=2)
        found = distance(*a, *b)
        # Of two ranges, the overlap is the nuclear norm of A'B, where C1 = AA' and C2 = BB'.
        roots = (np.linalg.cholesky(c + 1e-14 * np.eye(6)) for c in (a[1], b[1]))
        overlap = np.linalg.norm(next(roots).T @ next(roots), "nuc")
        expected = np.sum((a[0] - b[0]) ** 2) + np.trace(a[1] + b[1]) - 2 * overlap
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["generic", "multiples of the identity", "equal"])
def test_gradients_are_those_of_differences(name):
    rng = np.random.default_rng(2)
    a, b = gaussian(rng, 4), gaussian(rng, 4)
    if name == "multiples of the identity":  # where eigh's own derivative is not a number
        a, b = (a[0], 2.0 * np.eye(4)), (b[0], 3.0 * np.eye(4))
    elif name == "equal":
        b = a
    symmetric = rng.normal(size=(2, 4, 4))
    direction = (
        rng.normal(size=4),
        symmetric[0] + symmetric[0].T,
        rng.normal(size=4),
        symmetric[1] + symmetric[1].T,
    )
    along = lambda t: [x + t * dx for x, dx in zip((*a, *b), direction, strict=True)]  # noqa: E731
    h = 1e-5
    expected = (by_scipy(*along(h)) - by_scipy(*along(-h))) / (2 * h)
    with jax.enable_x64(True):
        at = tuple(map(jnp.asarray, (*a, *b)))
        gradient = jax.jit(jax.grad(metrics.gaussian_frechet_distance, (0, 1, 2, 3)))(*at)
        found = sum(float(jnp.vdot(g, dx)) for g, dx in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_samples_are_fitted_with_the_unbiased_covariance():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(25, 3)) @ np.diag([1.0, 2.0, 0.5]) + 1
    with jax.enable_x64(True):
        found = jax.jit(metrics.sample_frechet_distance)(x, y)
        expected = by_scipy(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    half = metrics.sample_frechet_distance(jnp.asarray(x, jnp.bfloat16), jnp.asarray(y, jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, expected, rtol=2e-2)


def test_fewer_samples_than_dimensions_have_a_gradient():
    rng = np.random.default_rng(4)
    x, y = (jnp.asarray(rng.normal(size=(3, 6)), jnp.float32) for _ in range(2))
    gradient = jax.jit(jax.grad(metrics.sample_frechet_distance))(x, y)
    assert jnp.all(jnp.isfinite(gradient))


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"got \(2,\), \(2, 2\), \(3,\), \(3, 3\)"):
        metrics.gaussian_frechet_distance(jnp.zeros(2), jnp.eye(2), jnp.zeros(3), jnp.eye(3))
    with pytest.raises(ValueError, match=r"got \(1, 3\) and \(4, 3\)"):
        metrics.sample_frechet_distance(jnp.zeros((1, 3)), jnp.zeros((4, 3)))
