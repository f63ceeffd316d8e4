"""Pytrees as arguments and as parameters, and the combinators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from frechet import convex

X = {"a": np.array([[1.5, -0.2], [0.0, 3.0]]), "b": (np.array(-2.0), np.array([0.4]))}


def tree(dtype):
    return jax.tree.map(lambda v: jnp.asarray(v, dtype), X)


def flat(x):
    return ravel_pytree(x)[0]


def assert_same(x, y):
    assert jax.tree.structure(x) == jax.tree.structure(y)
    for u, v in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        assert u.dtype == v.dtype and u.shape == v.shape
        np.testing.assert_allclose(u, v, rtol=4 * np.finfo(u.dtype).eps, atol=4 * np.finfo(u.dtype).eps)


@pytest.mark.parametrize(
    "g",
    [
        convex.Zero(),
        convex.L1(0.5),
        convex.SquaredL2(0.5),
        convex.ElasticNet(0.5, 0.5),
        convex.Huber(0.5, 0.5),
        convex.Box(-0.1, 0.7),
        convex.NonNegative(),
        convex.LinfBall(0.7),
        convex.L2(0.5),
        convex.GroupLasso([0, 1, 1, 0, 1, 2], 0.5),
        convex.Simplex(2.0),
        convex.L1Ball(2.0),
        convex.L2Ball(2.0),
        convex.SecondOrderCone(),
        convex.AffineSet(np.arange(6.0)[None], np.ones(1)),
        convex.Hyperplane(2.0, 1.0),
        convex.Halfspace(2.0, 1.0),
        convex.Scaled(2.0, convex.L2(0.5)),
        convex.PlusQuadratic(convex.L2(0.5), 0.3, 0.1),
        convex.Translated(convex.L2(0.5), 0.3),
    ],
    ids=lambda g: type(g).__name__,
)
def test_a_tree_is_its_raveled_vector(g, precision):
    x = tree(precision)
    _, unravel = ravel_pytree(x)
    assert_same(g.prox(x, 0.7), unravel(g.prox(flat(x), 0.7)))
    assert_same(g.residual(x, x), unravel(g.residual(flat(x), flat(x))))
    assert_same(g.envelope_gradient(x, 0.7), unravel(g.envelope_gradient(flat(x), 0.7)))
    assert_same(g.conjugate_prox(x, 0.7), unravel(g.conjugate_prox(flat(x), 0.7)))
    p = g.prox(x, 0.7)
    assert g(p).dtype == precision
    tolerance = 8 * np.finfo(precision).eps
    np.testing.assert_allclose(g(p), g(flat(p)), rtol=tolerance)
    np.testing.assert_allclose(g.envelope(x, 0.7), g.envelope(flat(x), 0.7), rtol=tolerance)


def test_weights_by_prefix(precision):
    x = tree(precision)
    g = convex.L1({"a": np.array([1.0, 2.0]), "b": 0.5})
    p = g.prox(x, 0.5)
    np.testing.assert_allclose(p["a"], [[1.0, 0.0], [0.0, 2.0]], atol=1e-6)
    np.testing.assert_allclose(p["b"][0], -1.75)
    assert float(g(x)) == pytest.approx(1.5 + 0.4 + 6.0 + 1.0 + 0.2)
    weight = jax.grad(lambda w: convex.L1(w)(x))({"a": jnp.ones(2), "b": 0.5})
    np.testing.assert_allclose(weight["a"], [1.5, 3.2], rtol=1e-6)
    assert float(weight["b"]) == pytest.approx(2.4)


def test_step_by_prefix(precision):
    x = tree(precision)
    p = convex.L1(1.0).prox(x, {"a": 0.5, "b": 1.0})
    assert_same(p["a"], convex.L1(1.0).prox(x["a"], 0.5))
    assert_same(p["b"], convex.L1(1.0).prox(x["b"], 1.0))
    for g in (
        convex.Scaled(2.0, convex.L1()),
        convex.PlusQuadratic(convex.L1(), 0.3),
        convex.Translated(convex.L1(), 1.0),
    ):
        p = g.prox(x, {"a": 0.5, "b": 1.0})
        assert_same(p["a"], g.prox(x["a"], 0.5))
        assert_same(p["b"], g.prox(x["b"], 1.0))


def test_mixed_precision_leaves_keep_their_dtypes():
    with jax.enable_x64(True):
        x = {"single": jnp.ones(3, jnp.float32), "double": jnp.ones(2, jnp.float64)}
        for g in (
            convex.L1(0.3),
            convex.L2(0.3),
            convex.Simplex(),
            convex.L1Ball(),
            convex.Hyperplane(1.0, 1.0),
        ):
            p = g.prox(x, 0.5)
            assert (p["single"].dtype, p["double"].dtype) == (jnp.float32, jnp.float64)


def test_numbers_and_integers_become_floats(precision):
    assert convex.L1().prox(3, 1).dtype == precision
    assert float(convex.L1().prox(np.array([3, -5]), 1)[1]) == -4.0
    assert float(convex.L2()([3, 4])) == 5.0


def test_per_leaf_takes_each_part_to_its_function(precision):
    x = tree(precision)
    g = convex.PerLeaf({"a": convex.Nuclear(0.5), "b": convex.L2(0.5)})
    assert_same(
        g.prox(x, 0.7), {"a": convex.Nuclear(0.5).prox(x["a"], 0.7), "b": convex.L2(0.5).prox(x["b"], 0.7)}
    )
    np.testing.assert_allclose(g(x), convex.Nuclear(0.5)(x["a"]) + convex.L2(0.5)(x["b"]), rtol=1e-6)
    assert jax.tree.structure(g.residual(x, x)) == jax.tree.structure(x)
    tiny = jax.tree.map(lambda v: jnp.full_like(v, 1e-30), x)
    zero = convex.PerLeaf({"a": convex.L1(), "b": convex.Zero()}).residual(x, tiny)
    assert float(zero["b"][0]) == pytest.approx(1e-30)  # Zero's own residual, without cancellation


def test_batches_of_matrices(precision):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4)), precision)
    prox, value = jax.jit(lambda g, x: g.prox(x, 0.7)), jax.jit(lambda g, x: g(x))
    weights = (0.1, 0.5, 1.0)
    for many, ones in (
        (convex.Nuclear(np.array(weights)), [convex.Nuclear(w) for w in weights]),
        (convex.PSDCone(), 3 * [convex.PSDCone()]),
    ):
        each = jnp.stack([prox(one, v) for one, v in zip(ones, x, strict=True)])
        np.testing.assert_allclose(prox(many, x), each, atol=20 * np.finfo(precision).eps)
        total = sum(float(value(one, p)) for one, p in zip(ones, each, strict=True))
        assert float(value(many, each)) == pytest.approx(total, rel=1e-5)


def test_scaled_by_zero():
    x = jnp.array([1.0, -2.0])
    assert float(convex.Scaled(0.0, convex.L1())(x)) == 0.0
    np.testing.assert_array_equal(convex.Scaled(0.0, convex.L1()).prox(x, 1.0), x)
    assert float(convex.Scaled(0.0, convex.NonNegative())(x)) == np.inf


def test_huber_is_the_envelope_of_l1(precision):
    x = jnp.linspace(-3, 3, 7, dtype=precision)
    envelope = convex.L1(1.5).envelope(x, 1.0)
    np.testing.assert_allclose(convex.Huber(1.0, 1.5)(x), envelope, rtol=8 * np.finfo(precision).eps)


@pytest.mark.parametrize(
    ("norm", "ball"),
    [
        (convex.L1(0.8), convex.LinfBall(0.8)),
        (convex.L2(0.8), convex.L2Ball(0.8)),
        (convex.Huber(1.0, 0.8), convex.PlusQuadratic(convex.LinfBall(0.8), a=1.0)),
        (convex.NonNegative(), convex.Translated(convex.Box(upper=0.0), 0.0)),
    ],
)
def test_conjugate_pairs(norm, ball):
    x = jnp.array([3.0, -0.2, 0.0, -1.0])
    np.testing.assert_allclose(norm.conjugate_prox(x, 0.7), ball.prox(x, 0.7), atol=1e-6)
    np.testing.assert_allclose(ball.conjugate_prox(x, 0.7), norm.prox(x, 0.7), atol=1e-6)
