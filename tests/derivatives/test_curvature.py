"""Products with the Hessian and what is made of them, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.derivatives import (
    directional_sharpness,
    hessian,
    hvp,
    lanczos,
    one_one_norm,
    stochastic_lanczos,
)

KEY = jax.random.key(0)


def symmetric(eigenvalues, seed=0):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return (Q * eigenvalues) @ Q.T


def split(flat):
    """Entries as a pytree of a matrix, a vector and a scalar."""
    return {"W": flat[:6].reshape(2, 3), "b": (flat[6:-1], flat[-1])}


def joined(x):
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(x)])


def test_products_of_a_pytree_are_the_dense_hessian_s(precision):
    rng = np.random.default_rng(1)
    A = rng.normal(size=(5, 10))
    x, v = rng.normal(size=(2, 10))
    p = 1 / (1 + np.exp(-A @ x))
    want = A.T @ (p * (1 - p) * (A @ v))
    A, x, v = (jnp.asarray(u, precision) for u in (A, x, v))
    f = lambda x: jnp.sum(jnp.logaddexp(0, A @ joined(x)))  # noqa: E731
    tolerance = 20 * np.finfo(precision).eps
    for got in (hvp(f, split(x), split(v)), hessian(f, split(x))(split(v))):
        assert jax.tree.structure(got) == jax.tree.structure(split(x))
        assert joined(got).dtype == precision
        np.testing.assert_allclose(joined(got), want, rtol=tolerance, atol=tolerance)


def test_lanczos_of_a_pytree_is_orthonormal_and_similar_to_the_matrix(precision):
    # Ten decades of eigenvalues, most of them close to each other: without reorthogonalisation ghosts appear.
    eigenvalues = np.concatenate([[1e4, 1e3], np.linspace(1e-6, 1, 8)])
    H = jnp.asarray(symmetric(eigenvalues), precision)
    start = split(jnp.asarray(np.random.default_rng(2).normal(size=10), precision))
    diagonal, off_diagonal, basis = lanczos(lambda v: split(H @ joined(v)), start, 30)
    V = np.concatenate([np.reshape(v, (10, -1)) for v in jax.tree.leaves(basis)], axis=1)
    T = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    eps = np.finfo(precision).eps
    np.testing.assert_allclose(V @ V.T, np.eye(10), atol=20 * eps)
    np.testing.assert_allclose(np.linalg.eigvalsh(T), np.sort(eigenvalues), atol=1e4 * 20 * eps)


def test_lanczos_ends_where_the_krylov_space_does():
    d = jnp.array([1.0, 1.0, 1.0, 3.0, 3.0])
    T = lanczos(lambda v: d * v, jnp.ones(5), 5)
    np.testing.assert_allclose(T.off_diagonal[1:], 0, atol=1e-6)
    np.testing.assert_array_equal(T.basis[3:], 0)
    nodes, weights = stochastic_lanczos(lambda v: d * v, d, KEY, steps=5)
    np.testing.assert_allclose(nodes[weights > 1e-6], [1, 3], rtol=1e-5)
    np.testing.assert_allclose(weights[weights > 1e-6], [0.6, 0.4], rtol=1e-5)


def test_nothing_to_multiply_gives_finite_numbers():
    zero = lambda v: jax.tree.map(jnp.zeros_like, v)  # noqa: E731
    like = {"W": jnp.ones((2, 2)), "s": jnp.ones(())}
    nodes, weights = stochastic_lanczos(zero, like, KEY, steps=3, probes=2)
    np.testing.assert_array_equal(nodes, 0)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert directional_sharpness(lambda x: jnp.sum(x**2), jnp.ones(3), jnp.zeros(3)) == 0


def test_half_precision_is_accumulated_in_single():
    d = jnp.linspace(1, 2, 4096).astype(jnp.bfloat16)
    T = lanczos(lambda v: d * v, jnp.ones_like(d), 4)
    assert T.diagonal.dtype == T.basis.dtype == jnp.float32
    # Summed in bfloat16 the mean of 4096 numbers is off by tens of per cent.
    np.testing.assert_allclose(T.diagonal[0], 1.5, rtol=1e-2)
    norm = one_one_norm(lambda v: d * v, d, KEY, probes=101)
    assert norm.dtype == jnp.float32
    np.testing.assert_allclose(norm, 1.5 * 4096, rtol=0.1)


def test_sharpness_of_a_quadratic_is_the_rayleigh_quotient_of_any_length(precision):
    rng = np.random.default_rng(3)
    A = symmetric(np.logspace(-2, 2, 10))
    u = rng.normal(size=10)
    want = u @ A @ u / (u @ u)
    quadratic = lambda x: 0.5 * joined(x) @ jnp.asarray(A, precision) @ joined(x)  # noqa: E731
    x = split(jnp.asarray(rng.normal(size=10), precision))
    tolerance = {"float32": 1e-5, "float64": 1e-13}[precision.name]
    for scale in (1.0, 1e-15, -1e15):
        got = directional_sharpness(quadratic, x, split(jnp.asarray(scale * u, precision)))
        np.testing.assert_allclose(got, want, rtol=tolerance)


def test_one_one_norm_of_a_pytree():
    H = symmetric(np.logspace(0, 2, 10))
    product = lambda v: split(jnp.asarray(H, jnp.float32) @ joined(v))  # noqa: E731
    got = one_one_norm(product, split(jnp.zeros(10)), KEY, probes=20_000)
    # The median of k half-Cauchy numbers has the relative standard deviation pi / 2 / sqrt(k) = 1.1 %.
    np.testing.assert_allclose(got, np.abs(H).sum(), rtol=0.04)


@pytest.mark.parametrize(
    "call",
    [
        lambda: lanczos(lambda v: v, jnp.ones(2), 0),
        lambda: lanczos(lambda v: v, {}, 3),
        lambda: stochastic_lanczos(lambda v: v, jnp.ones(2), KEY, probes=0),
        lambda: one_one_norm(lambda v: v, jnp.ones(2), KEY, probes=0),
    ],
)
def test_wrong_numbers_are_named(call):
    with pytest.raises(ValueError, match=r"got"):
        call()
