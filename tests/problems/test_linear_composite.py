"""Composites with a linear map: every form of K, what a solution is, derivatives, what is refused."""

import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO

import frechet as fr

RNG = np.random.default_rng(0)
K = RNG.normal(size=(3, 4))
X, Y = RNG.normal(size=(8, 4)), RNG.normal(size=8)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def fit(x):
    return 0.5 * jnp.sum((jnp.asarray(X) @ x - jnp.asarray(Y)) ** 2)


def forms():
    dense = jnp.asarray(K)
    return {
        "NumPy": K,
        "dense": dense,
        "BCOO": BCOO.fromdense(dense),
        "SciPy": scipy.sparse.csr_matrix(K),
        "Lineax": lx.MatrixLinearOperator(dense),
        "function": lambda x: dense @ x,
    }


@pytest.mark.parametrize("form", ["NumPy", "dense", "BCOO", "SciPy", "Lineax", "function"])
def test_every_form_of_the_map_gives_the_same_products(form):
    problem = fr.LinearComposite(fit, fr.convex.NonNegative(), fr.convex.L1(0.5), forms()[form])
    x, u = np.array([0.3, -1.0, 2.0, 0.1]), np.array([0.2, -0.4, 0.1])
    problem = problem.lifted(jnp.asarray(x))
    np.testing.assert_allclose(problem.forward(x), K @ x, rtol=1e-14)
    np.testing.assert_allclose(
        eqx.filter_jit(problem.adjoint)(jnp.asarray(u), jnp.asarray(x)), K.T @ u, rtol=1e-14
    )
    slope = X.T @ (X @ x - Y) + K.T @ u
    point = problem.optimality(fr.PrimalDual(jnp.asarray(x), jnp.asarray(u)))
    np.testing.assert_allclose(point.primal, x - np.maximum(x - slope, 0), rtol=1e-13)
    # The conjugate of 0.5 |.|_1 is the indicator of a box.
    np.testing.assert_allclose(point.dual, u - np.clip(u + K @ x, -0.5, 0.5), rtol=1e-13, atol=1e-15)


def test_the_oracles_of_the_smooth_part():
    problem, x, v = fr.LinearComposite(fit), np.array([0.3, -1.0, 2.0, 0.1]), np.ones(4)
    np.testing.assert_allclose(problem.value(x), 0.5 * np.sum((X @ x - Y) ** 2), rtol=1e-14)
    np.testing.assert_allclose(problem.gradient(x), X.T @ (X @ x - Y), rtol=1e-13)
    np.testing.assert_allclose(problem.hvp(x, v), X.T @ X @ v, rtol=1e-13)
    empty = fr.LinearComposite()
    assert float(empty.value(x)) == 0.0 and not np.any(empty.gradient(x))
    assert "gradient" not in empty.offers() and "identity" in empty.offers()


def test_the_map_vanishes_exactly_at_the_solution():
    x = cp.Variable(4)
    z = K @ x
    split = cp.Variable(3)
    link = z == split
    objective = 0.5 * cp.sum_squares(X @ x - Y) + 0.7 * cp.norm1(split)
    cp.Problem(cp.Minimize(objective), [link, x >= 0]).solve(
        cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12
    )
    problem = fr.LinearComposite(fit, fr.convex.NonNegative(), fr.convex.L1(0.7), K)
    assert x.value is not None and link.dual_value is not None
    for sign in (1.0, -1.0):
        point = fr.PrimalDual(jnp.asarray(x.value), jnp.asarray(sign * link.dual_value))
        residual = max(float(jnp.max(jnp.abs(v))) for v in jax.tree.leaves(problem.optimality(point)))
        if sign > 0:
            assert residual < 1e-6  # the interior point's own accuracy
        else:
            assert residual > 0.1


def test_a_start_may_be_the_primal_point_alone():
    problem = fr.LinearComposite(None, fr.convex.L1(), K=lambda x: {"d": jnp.diff(x["a"])})
    start = problem.start({"a": jnp.ones(4)})
    assert start.dual["d"].shape == (3,) and not np.any(start.dual["d"])
    assert problem.start(start) is start
    solution = fr.solve(fr.LinearComposite(fit, h=fr.convex.L1(0.7), K=K), jnp.zeros(4))
    assert isinstance(solution.x, fr.PrimalDual) and solution.status.converged


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: fr.LinearComposite(3.0), TypeError, "f must be callable or None, got float"),
        (lambda: fr.LinearComposite(g=jnp.sum), TypeError, "g must be a frechet.convex.Function"),
        (lambda: fr.LinearComposite(h=jnp.sum), TypeError, "h must be a frechet.convex.Function"),
        (lambda: fr.LinearComposite(K=jnp.ones(3)), ValueError, r"K must be a matrix of shape \(m, n\)"),
        (lambda: fr.LinearComposite(K=3.0), TypeError, "K must be a matrix, an operator"),
        (lambda: fr.LinearComposite(K=lambda x: x**2).lifted(jnp.ones(2)), TypeError, "K must be linear"),
        (lambda: fr.LinearComposite(K=lambda x: x + 1).lifted(jnp.ones(2)), TypeError, "K\\(0\\) is not 0"),
        (
            lambda: fr.LinearComposite(K=jnp.eye(2)).forward({"a": jnp.ones(2)}),
            TypeError,
            "x must be one array, got a dict",
        ),
    ],
)
def test_bad_problems_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_derivatives_with_respect_to_what_functions_captured_and_to_the_map():
    @jax.jit
    def solution(y, matrix, weight):
        f = lambda x: 0.5 * jnp.sum((jnp.asarray(X) @ x - y) ** 2)  # noqa: E731
        problem = fr.LinearComposite(f, fr.convex.NonNegative(), fr.convex.L1(weight), matrix)
        return fr.solve(problem, jnp.zeros(4), tol=1e-12).x.primal

    at = (jnp.asarray(Y), jnp.asarray(K), jnp.asarray(0.7))
    weights, h = jnp.asarray([1.0, -2.0, 0.5, 3.0]), 1e-6
    gradients = jax.grad(lambda *a: solution(*a) @ weights, argnums=(0, 1, 2))(*at)
    rng = np.random.default_rng(3)
    for i, gradient in enumerate(gradients):
        d = rng.normal(size=np.shape(at[i]))
        ahead, behind = (solution(*at[:i], at[i] + s * h * d, *at[i + 1 :]) @ weights for s in (1, -1))
        assert float(jnp.sum(gradient * d)) == pytest.approx(float((ahead - behind) / (2 * h)), abs=1e-5)
