"""Models of maps: convexity by midpoints, gradients by symmetry, affine maps by the covariances they make."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.models import (
    ICGN,
    ICNN,
    AffineMap,
    ConvexPotentials,
    CycleFit,
    DeepICGN,
    GradientMap,
    Residual,
    curl,
    gaussian_map,
)

A = np.array([[2.0, 0.5], [0.5, 1.0]])
POINTS = np.random.default_rng(0).normal(size=(2, 50, 2))


def wild(model, scale):
    """With other weights, far from where they start."""
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    rng = np.random.default_rng(1)
    drawn = [jnp.asarray(scale * rng.normal(size=v.shape), v.dtype) for v in leaves]
    return eqx.combine(structure.unflatten(drawn), model)


def test_the_network_is_convex_for_all_weights(precision):
    phi = jax.jit(jax.vmap(wild(ICNN(2, 8, 3, key=jax.random.key(0)), 3.0)))
    x, y = jnp.asarray(POINTS, precision)
    below = (phi(x) + phi(y)) / 2 - phi((x + y) / 2)
    assert below.dtype == precision
    assert jnp.min(below) > 0  # L is regular: strictly convex


@pytest.mark.parametrize(
    "model",
    [
        lambda s: GradientMap(ICNN(2, start=s, key=jax.random.key(0))),
        lambda s: ICGN(2, start=s, key=jax.random.key(0)),
    ],
)
def test_maps_start_near_the_affine_one(model):
    start = AffineMap(A, jnp.array([1.0, -1.0]))
    x = jnp.asarray(POINTS[0])
    off = jax.vmap(model(start))(x) - jax.vmap(start)(x)
    far = jnp.linalg.norm(jax.vmap(start)(x) - x)
    assert 0 < jnp.linalg.norm(off) < 0.15 * far


def test_affine_map_between_samples_carries_their_covariances(precision):
    x, y = jnp.asarray(POINTS @ np.diag([1.0, 3.0]) + [[[0.0, 1.0]], [[2.0, 0.0]]], precision)
    T = AffineMap.between(x, jnp.asarray(y @ A.astype(precision)))
    image = np.asarray(jax.vmap(T)(x))
    target = np.asarray(y) @ A
    eps = np.finfo(precision).eps
    np.testing.assert_allclose(image.mean(0), target.mean(0), atol=100 * eps)
    np.testing.assert_allclose(np.cov(image.T), np.cov(target.T), rtol=1e3 * eps, atol=1e3 * eps)
    np.testing.assert_allclose(T.A, T.A.T, atol=eps)
    assert np.linalg.eigvalsh(T.A)[0] > 0


def test_curl_is_the_antisymmetric_part_exactly_and_on_average():
    B = np.random.default_rng(2).normal(size=(3, 3))
    right = np.sum((B - B.T) ** 2)
    fun = lambda x: jnp.asarray(B) @ x  # noqa: E731
    np.testing.assert_allclose(curl(fun, jnp.ones(3)), right, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 2000)
    draws = np.asarray(jax.vmap(lambda key: curl(fun, jnp.ones(3), key=key))(keys))
    assert abs(draws.mean() - right) < 4 * draws.std() / np.sqrt(len(draws))


def test_random_nodes_are_unbiased():
    closed = ICGN(2, 6, key=jax.random.key(0))
    g = DeepICGN(closed.hidden, 2, nodes=50, alpha=1.0)
    x = jnp.array([3.0, -2.0])
    draws = np.asarray(jax.vmap(lambda key: g(x, key=key))(jax.random.split(jax.random.key(1), 400)))
    error = draws.mean(0) - np.asarray(closed(x))
    assert np.all(np.abs(error) < 4 * draws.std(0) / np.sqrt(len(draws)))


def test_cycle_loss_is_least_at_the_optimal_potentials():
    """On exact Gaussian moments: potentials of quadratics, whose dual value is a trace."""
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # of covariance I
    y = jnp.asarray(x @ A)

    def value(S, back):
        quadratic = lambda M: lambda z: z @ M @ z / 2  # noqa: E731
        return CycleFit(1.0)(ConvexPotentials(quadratic(S), quadratic(back)), jnp.asarray(x), y)

    S, inverse = jnp.asarray(A), jnp.asarray(np.linalg.inv(A))
    np.testing.assert_allclose(value(S, inverse), np.trace(A), rtol=1e-5)  # E <x, Ax>
    for slope in jax.grad(value, (0, 1))(S, inverse):
        np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_a_residual_starts_at_what_it_corrects():
    T = Residual(lambda x: 0 * x, AffineMap(A))
    np.testing.assert_allclose(T(jnp.ones(2)), [2.5, 1.5])
    np.testing.assert_allclose(Residual(jnp.sin)(jnp.zeros(2)), 0)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"A is of shape \(d, d\) and b of \(d,\), got \(2, 2\) and \(3,\)"):
        AffineMap(jnp.eye(2), jnp.ones(3))
    with pytest.raises(ValueError, match="weight"):
        CycleFit(0.0)


def test_gaussian_map_of_commuting_covariances():
    T = gaussian_map(
        jnp.zeros(2), jnp.diag(jnp.array([1.0, 4.0])), jnp.ones(2), jnp.diag(jnp.array([9.0, 1.0]))
    )
    np.testing.assert_allclose(T.A, np.diag([3.0, 0.5]), atol=1e-6)
    np.testing.assert_allclose(T.b, 1)
