"""Which derivative a proximal map has at a kink, as documented; and where none may be lost."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import convex

# Compiling is what takes the time here, so the compiler is told not to try hard.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@quick
def _jacobian(g, x):
    return jax.jacrev(lambda x: g.prox(x, 1.0))(x)


def jacobian(g, x):
    return np.asarray(_jacobian(g, x)).reshape(x.size, x.size)


@quick
def derivative(g, x, d):
    return jax.jvp(lambda x: g.prox(x, 1.0), (x,), (d,))[1]


@quick
def prox(g, x):
    return g.prox(x, 1.0)


@quick
def slopes(g, x, v, t):
    """First and second derivative of a function of the proximal map along a line."""
    first = jax.grad(lambda t: jnp.sum(g.prox(x + t * v, 0.4) ** 3))
    return first(t), jax.grad(first)(t)


# Points where the map is not differentiable, and the derivative that the docstring names.
@pytest.mark.parametrize(
    ("g", "x", "expected"),
    [
        (convex.L1(), [1.0, -1.0], np.zeros((2, 2))),
        (convex.ElasticNet(1.0, 1.0), [1.0, -1.0], np.zeros((2, 2))),
        (convex.L2(5.0), [3.0, 4.0], np.zeros((2, 2))),
        (convex.GroupLasso([0, 0, 1], 5.0), [3.0, 4.0, -5.0], np.zeros((3, 3))),
        (convex.Huber(1.0, 1.0), [2.0, -2.0], np.eye(2) / 2),
        (convex.Box(0.0, 1.0), [0.0, 1.0], np.eye(2)),
        (convex.Box(1.0, 1.0), [0.0, 2.0], np.zeros((2, 2))),
        (convex.NonNegative(), [0.0, 0.0], np.eye(2)),
        (convex.LinfBall(), [1.0, -1.0], np.eye(2)),
        (convex.L1Ball(), [0.5, -0.5], np.eye(2)),
        (convex.L1Ball(), [2.0, 1.0], [[1.0, 0.0], [0.0, 0.0]] - np.diag([1.0, 0.0])),
        (convex.L2Ball(5.0), [3.0, 4.0], np.eye(2)),
        (convex.Simplex(), [2.0, 1.0], np.zeros((2, 2))),
        (convex.Halfspace(jnp.ones(2), 1.0), [0.5, 0.5], np.eye(2)),
        (convex.SecondOrderCone(), [5.0, 3.0, 4.0], np.eye(3)),
        (convex.SecondOrderCone(), [-5.0, 3.0, 4.0], np.zeros((3, 3))),
        (convex.SecondOrderCone(), [0.0, 0.0, 0.0], np.eye(3)),
        (
            convex.PSDCone(),
            [[0.0, 0.0], [0.0, 0.0]],
            [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]],
        ),
        (convex.Nuclear(), [[1.0, 0.0], [0.0, 1.0]], np.zeros((4, 4))),
        (convex.TotalVariation1D(), [1.0, -1.0], np.full((2, 2), 0.5)),
    ],
)
def test_documented_derivative(g, x, expected):
    with jax.enable_x64(True):
        np.testing.assert_allclose(jacobian(g, jnp.asarray(x)), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("g", "x"),
    [
        (convex.L1(0.0), [0.0, 1.0]),
        (convex.ElasticNet(0.0, 0.0), [0.0, 1.0]),
        (convex.L2(0.0), [0.0, 0.0]),
        (convex.GroupLasso([0, 0, 1], 0.0), [0.0, 0.0, 0.0]),
        (convex.Nuclear(0.0), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        (convex.Nuclear(0.0), [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        (convex.TotalVariation1D(0.0), [1.0, 2.0, 4.0]),
    ],
)
def test_without_weight_it_is_the_identity(g, x, precision):
    x = jnp.asarray(x, precision)
    tolerance = 8 * np.finfo(precision).eps
    np.testing.assert_allclose(prox(g, x), x, atol=tolerance)
    np.testing.assert_allclose(jacobian(g, x), np.eye(x.size), atol=tolerance)


def test_repeated_eigenvalues_against_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
        x = q @ np.diag([2.0, 2.0, -1.0, -1.0, -1.0]) @ q.T
        for g, at in (
            (convex.PSDCone(), x),
            (
                convex.Nuclear(0.7),
                q @ np.diag([2.0, 2.0, 0.3, 0.3, 0.0]) @ np.linalg.qr(rng.normal(size=(5, 5)))[0],
            ),
            (convex.Nuclear(0.7), np.vstack([np.eye(5), np.zeros((2, 5))])[:, :5]),
        ):
            d = rng.normal(size=at.shape)
            h = 1e-6
            difference = (prox(g, at + h * d) - prox(g, at - h * d)) / (2 * h)
            tangent = derivative(g, at, d)
            np.testing.assert_allclose(tangent, difference, atol=1e-7)


def test_redundant_rows_of_an_affine_set():
    with jax.enable_x64(True):
        A = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
        single = convex.Hyperplane(A[0], 1.0)
        double = convex.AffineSet(A, np.array([1.0, 2.0]))
        x = jnp.array([3.0, -1.0, 2.0])
        np.testing.assert_allclose(double.prox(x, 1.0), single.prox(x, 1.0), atol=1e-13)
        np.testing.assert_allclose(jacobian(double, x), jacobian(single, x), atol=1e-13)


def test_second_derivatives_at_generic_points():
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        for g, shape in (
            (convex.Nuclear(0.5), (3, 2)),
            (convex.PSDCone(), (3, 3)),
            (convex.L2(0.5), (4,)),
            (convex.SecondOrderCone(), (4,)),
        ):
            x, v = rng.normal(size=(2, *shape))
            h = 1e-5
            difference = (slopes(g, x, v, h)[0] - slopes(g, x, v, -h)[0]) / (2 * h)
            assert float(slopes(g, x, v, 0.0)[1]) == pytest.approx(float(difference), rel=1e-6, abs=1e-6)


def test_large_offsets_do_not_cancel():
    # The projection onto the simplex does not see a constant; in float32 a naive sum would lose all digits.
    x = jnp.array([0.5, 1.0, -1.0], jnp.float32)
    np.testing.assert_allclose(convex.Simplex().prox(x + 2.0**20, 1.0), [0.25, 0.75, 0.0], atol=1e-6)
