"""Bad parameters and arguments are named in one line; good but unusual ones work."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import convex


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: convex.L1(-1), ValueError, "weight must be at least 0, got -1"),
        (lambda: convex.L1(np.array([1.0, -2.0])), ValueError, "weight must be at least 0, got -2"),
        (
            lambda: convex.L1({"a": 1.0, "b": jnp.array([-3.0])}),
            ValueError,
            "weight must be at least 0, got -3",
        ),
        (lambda: convex.L1("0.1"), TypeError, "weight must be a number or an array, got str"),
        (lambda: convex.L2(-1.0), ValueError, "weight"),
        (lambda: convex.SquaredL2(-1.0), ValueError, "weight"),
        (lambda: convex.ElasticNet(l1=-1.0), ValueError, "l1"),
        (lambda: convex.ElasticNet(l2=-1.0), ValueError, "l2"),
        (lambda: convex.GroupLasso([0, 1], -1.0), ValueError, "weight"),
        (lambda: convex.GroupLasso([0, -1]), ValueError, "labels must be at least 0"),
        (lambda: convex.GroupLasso([0.0, 1.0]), TypeError, "labels must be integers"),
        (lambda: convex.Nuclear(-1.0), ValueError, "weight"),
        (lambda: convex.Huber(-1.0), ValueError, "weight"),
        (lambda: convex.Huber(delta=0.0), ValueError, "delta must be above zero"),
        (lambda: convex.TotalVariation1D(-1.0), ValueError, "weight"),
        (lambda: convex.Box(1.0, 0.0), ValueError, "lower must not exceed upper"),
        (lambda: convex.Box({"a": 0.0, "b": 2.0}, 1.0), ValueError, "lower must not exceed upper"),
        (lambda: convex.Simplex(0.0), ValueError, "scale must be above zero"),
        (lambda: convex.L1Ball(0.0), ValueError, "radius must be above zero"),
        (lambda: convex.L2Ball(-1.0), ValueError, "radius must be above zero"),
        (lambda: convex.LinfBall(-1.0), ValueError, "radius must be above zero"),
        (lambda: convex.Hyperplane(jnp.zeros(3)), ValueError, "a must not be zero"),
        (lambda: convex.Halfspace(0.0), ValueError, "a must not be zero"),
        (lambda: convex.AffineSet(jnp.ones((2, 3)), jnp.ones(3)), ValueError, "A and b must have shapes"),
        (lambda: convex.Scaled(-1.0, convex.L1()), ValueError, "c must be at least 0"),
        (lambda: convex.PlusQuadratic(convex.L1(), a=-1.0), ValueError, "a must be at least 0"),
        (lambda: convex.PerLeaf({"a": 1.0}), TypeError, "functions must be a pytree of convex functions"),
        (lambda: convex.Scaled(1.0, abs), TypeError, "g must be a convex function"),
        (lambda: convex.PlusQuadratic(abs), TypeError, "g must be a convex function"),
        (lambda: convex.Translated(abs, 1.0), TypeError, "g must be a convex function"),
        (lambda: convex.L1({"a": 1.0}).prox({"b": jnp.ones(2)}, 1.0), ValueError, "weight is no prefix"),
        (lambda: convex.L1(jnp.ones(3)).prox(jnp.ones(2), 1.0), ValueError, "does not fit x of shape"),
        (lambda: convex.L1(jnp.ones((2, 2))).prox(jnp.ones(2), 1.0), ValueError, "does not fit x of shape"),
        (lambda: convex.L2(jnp.ones(3)).prox(jnp.ones(3), 1.0), ValueError, "weight must be a scalar"),
        (
            lambda: convex.GroupLasso([0, 1]).prox(jnp.ones(3), 1.0),
            ValueError,
            "x has 3 entries but labels has 2",
        ),
        (
            lambda: convex.GroupLasso([0, 1], jnp.ones(3))(jnp.ones(2)),
            ValueError,
            "weight must be a scalar or",
        ),
        (lambda: convex.AffineSet(jnp.ones((1, 2)), jnp.ones(1))(jnp.ones(3)), ValueError, "A has 2 columns"),
        (lambda: convex.Nuclear()(jnp.ones(3)), ValueError, "takes matrices"),
        (lambda: convex.PSDCone()(jnp.ones((2, 3))), ValueError, "takes square matrices"),
        (lambda: convex.PSDCone().prox(jnp.ones((2, 3)), 1.0), ValueError, "takes square matrices"),
        (lambda: convex.TotalVariation1D()(jnp.ones(())), ValueError, "at least one axis"),
        (lambda: convex.PerLeaf({"a": convex.L1()})({"b": 1.0}), ValueError, "no prefix"),
        (lambda: convex.L1({"a": 1.0}).prox_coordinate(jnp.ones(()), 0, 1.0), TypeError, "not a pytree"),
    ],
)
def test_errors_name_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_traced_parameters_pass(precision):
    weights = jnp.asarray([0.1, 0.5], precision)
    x = jnp.asarray([1.0, -0.3], precision)
    found = jax.jit(jax.vmap(lambda w: convex.L1(w).prox(x, 1.0)))(weights)
    np.testing.assert_allclose(found, [[0.9, -0.2], [0.5, 0.0]], atol=1e-6)
    jax.jit(lambda b: convex.Box(b, 2 * b).prox(x, 1.0))(1.0)
    jax.jit(lambda a: convex.Hyperplane(a).prox(x, 1.0))(x)
    # A function made outside, with a weight for each member, is mapped over too.
    members = convex.L2(weights)
    found = jax.vmap(lambda g: g.prox(x, 1.0))(members)
    np.testing.assert_allclose(found[1], convex.L2(0.5).prox(x, 1.0), rtol=1e-6)


def test_traced_labels_are_refused():
    with pytest.raises(TypeError, match="labels must be known"):
        jax.jit(lambda labels: convex.GroupLasso(labels)(jnp.ones(2)))(jnp.array([0, 1]))


def test_a_new_weight_does_not_compile_again():
    traces = []

    @jax.jit
    def prox(g, x):
        traces.append(None)
        return g.prox(x, 1.0)

    for weight in (0.1, 0.2, 3):
        prox(convex.L1(weight), jnp.ones(2))
    assert len(traces) == 1


def test_infinite_bounds(precision):
    x = jnp.asarray([-1e9, 0.0, 1e9], precision)
    free = convex.Box()
    np.testing.assert_array_equal(free.prox(x, 1.0), x)
    assert float(free(x)) == 0.0
    half = convex.Box(upper=np.array([np.inf, 1.0, 1.0]))
    np.testing.assert_array_equal(half.prox(x, 1.0), [-1e9, 0.0, 1.0])
    gradient = jax.grad(lambda g: jnp.sum(g.prox(x, 1.0)))(convex.Box(-jnp.inf, 1.0))
    assert (float(gradient.lower), float(gradient.upper)) == (0.0, 1.0)
    assert bool(jnp.all(jax.grad(lambda x: half.envelope(x, 1.0))(x)[:2] == 0))


def test_indicators_forgive_rounding_only(precision):
    eps = float(np.finfo(precision).eps)
    g = convex.Simplex(1.0)
    inside = jnp.asarray([0.5, 0.5], precision)
    assert float(g(inside + 4 * eps)) == 0.0
    assert float(g(inside + 10 * eps**0.5)) == np.inf
    big = convex.Box(upper=1e6)
    assert float(big(jnp.asarray([1e6 * (1 + 2 * eps)], precision))) == 0.0
    assert float(big(jnp.asarray([1.01e6], precision))) == np.inf


def test_import_is_light():
    heavy = ("optax", "scipy.optimize", "sklearn", "optimistix")
    code = f"import sys, frechet.convex; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
