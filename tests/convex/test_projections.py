"""Projections beyond test_functions.py: the nonconvex set, the KL ones, sizes, kinks, errors."""

import itertools

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet import convex
from frechet.convex.box_section import project_box_section
from frechet.convex.transport_polytope import project_transport

transport = jax.jit(project_transport)
kl_transport = jax.jit(convex.kl_project_transport)
kl_section = jax.jit(convex.kl_project_box_section)


def sums(m, n, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.2, 1, m), rng.uniform(0.2, 1, n)
    return a, b * a.sum() / b.sum()


def test_sparse_simplex_is_nearest_of_all_supports(precision):
    g = convex.SparseSimplex(2, 1.5)
    prox = jax.jit(lambda x: g.prox(x, 1.0))
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.normal(size=5).astype(precision)
        p = prox(x)
        assert p.dtype == precision and float(g(p)) == 0.0
        supports = [list(s) for s in itertools.combinations(range(5), 2)]
        rest = [np.sum(np.delete(x, s) ** 2) for s in supports]
        on = [np.sum((x[s] - convex.Simplex(1.5).prox(x[s], 1.0)) ** 2) for s in supports]
        assert float(np.sum((x - p) ** 2)) == pytest.approx(float(np.min(np.add(rest, on))), rel=1e-4)
    assert float(g(jnp.array([0.5, 0.5, 0.5], precision))) == np.inf
    assert np.any(np.isnan(prox(np.array([1, np.nan, 0, 0, 0], precision))))


def test_derivative_of_the_sparse_simplex():
    with jax.enable_x64(True):
        J = jax.jacrev(lambda x: convex.SparseSimplex(2).prox(x, 1.0))(jnp.array([0.6, 0.1, 0.5]))
    np.testing.assert_allclose(J, [[0.5, 0, -0.5], [0, 0, 0], [-0.5, 0, 0.5]], atol=1e-15)


# Points where the projection is not differentiable, and the derivative that the docstring names.
@pytest.mark.parametrize(
    ("g", "x", "expected"),
    [
        (convex.Polyhedron(G=jnp.ones((1, 2)), h=jnp.ones(1)), [0.5, 0.5], np.eye(2)),
        (convex.BoxSection(0.0, 1.0), [1.0, 0.0, -1.0], np.zeros((3, 3))),
        (convex.BirkhoffPolytope(), [[1.0, 0.0], [0.0, 1.0]], np.zeros((4, 4))),
        (convex.Monotone(), [1.0, 1.0], np.full((2, 2), 0.5)),
    ],
    ids=["Polyhedron", "BoxSection", "Birkhoff", "Monotone"],
)
def test_documented_derivative(g, x, expected):
    with jax.enable_x64(True):
        x = jnp.asarray(x)
        J = jax.jacrev(lambda x: g.prox(x, 1.0))(x)
        np.testing.assert_allclose(J.reshape(x.size, x.size), expected, atol=1e-9)


def test_redundant_rows_of_a_polyhedron():
    with jax.enable_x64(True):
        G, x = jnp.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]]), jnp.array([3.0, -1.0, 2.0])
        double, single = convex.Polyhedron(G=G, h=jnp.array([1.0, 2.0])), convex.Halfspace(G[0], 1.0)
        np.testing.assert_allclose(double.prox(x, 1.0), single.prox(x, 1.0), atol=1e-12)
        J, expected = (jax.jacrev(lambda x, g=g: g.prox(x, 1.0))(x) for g in (double, single))
        np.testing.assert_allclose(J, expected, atol=1e-12)


@pytest.mark.parametrize("project", [transport, kl_transport], ids=["l2", "kl"])
def test_transport_of_all_sizes_has_its_sums(project, precision):
    eps = np.finfo(precision).eps
    for m, n, spread in ((2, 2, 1.0), (20, 12, 1.0), (20, 12, 30.0)):
        a, b = (v.astype(precision) for v in sums(m, n))
        x = (spread * np.random.default_rng(1).normal(size=(m, n))).astype(precision)
        P = np.asarray(project(x, a, b))
        assert P.dtype == precision and P.min() >= 0
        # Multipliers of the size of x are known up to its rounding; columns are met by construction.
        np.testing.assert_allclose(P.sum(1), a, atol=100 * eps * (1 + spread))
        np.testing.assert_allclose(P.sum(0), b, atol=100 * eps)


def test_transport_by_its_optimality_conditions():
    with jax.enable_x64(True):
        a, b = sums(15, 10)
        x = 3 * np.random.default_rng(2).normal(size=(15, 10))
        P = np.asarray(transport(x, a, b))
        # P = max(x + alpha + beta, 0): on its support P - x is a sum of a row's and a column's number.
        alpha, beta = cp.Variable(15), cp.Variable(10)
        potentials = alpha[:, None] + beta[None, :]
        held = P > 0
        gap = cp.Problem(
            cp.Minimize(cp.max(cp.abs(cp.multiply(held, potentials - (P - x))))),
            [cp.multiply(~held, potentials + x) <= 1e-9],
        )
        assert gap.solve(solver=cp.CLARABEL) < 1e-7
        # In logarithms likewise, with no inequality.
        log = np.log(np.asarray(kl_transport(x, a, b))) - x
        assert np.ptp(log - log[:, :1] - log[:1] + log[0, 0]) < 1e-10


def test_zero_sums_are_empty_rows_and_columns(precision):
    a, b = np.array([1.0, 0.0, 2.0], precision), np.array([0.0, 3.0], precision)
    P = transport(np.random.default_rng(3).normal(size=(3, 2)).astype(precision), a, b)
    np.testing.assert_allclose(P, [[0, 1], [0, 0], [0, 2]], atol=1e-5)


def test_kl_projections_agree_with_a_generic_solver():
    rng = np.random.default_rng(4)
    log_y, a, b = rng.normal(size=(4, 3)), *sums(4, 3)
    w, upper = np.array([1.0, -0.5, 2.0, 0.0]), np.array([0.3, np.inf, 5.0, 1.0])
    u, v = cp.Variable((4, 3)), cp.Variable(4)
    limits = [v >= 0.1, v[[0, 2, 3]] <= upper[[0, 2, 3]], w @ v == 0.7]
    with jax.enable_x64(True):
        for x, y, constraints, found in (
            (u, log_y, [cp.sum(u, 1) == a, cp.sum(u, 0) == b], kl_transport(log_y, a, b)),
            (v, log_y[:, 0], limits, kl_section(log_y[:, 0], 0.1, upper, w, 0.7)),
            (v, log_y[:, 1], [cp.sum(v) == 1.5], convex.kl_project_simplex(log_y[:, 1], 1.5)),
        ):
            problem = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(x, np.exp(y)))), constraints)
            problem.solve(solver=cp.CLARABEL)
            np.testing.assert_allclose(found, x.value, atol=1e-4)
            x.value = np.asarray(found)
            assert all(np.max(c.violation()) < 1e-9 for c in constraints)
            assert problem.objective.value <= problem.value + 1e-7


@pytest.mark.parametrize(
    ("project", "arguments"),
    [
        (convex.kl_project_transport, (np.random.default_rng(5).normal(size=(4, 3)), *sums(4, 3))),
        (
            lambda y, w, c: convex.kl_project_box_section(y, 0.05, 0.6, w, c),
            (np.array([0.3, -1.0, 0.8, -9.0]), np.array([1.0, 0.7, 1.2, 0.9]), np.array(1.1)),
        ),
    ],
    ids=["transport", "section"],
)
def test_derivatives_of_kl_projections_agree_with_finite_differences(project, arguments):
    rng = np.random.default_rng(6)
    with jax.enable_x64(True):
        run, slope = jax.jit(project), jax.jit(lambda a, d: jax.jvp(project, a, d))
        direction = [rng.normal(size=np.shape(v)) for v in arguments]
        if len(arguments[0].shape) == 2:
            # Totals stay equal.
            direction[2] -= (direction[2].sum() - direction[1].sum()) / direction[2].size

        def along(h):
            return [v + h * d for v, d in zip(arguments, direction, strict=True)]

        tangent = slope(arguments, tuple(direction))[1]
        np.testing.assert_allclose(tangent, (run(*along(1e-5)) - run(*along(-1e-5))) / 2e-5, atol=1e-7)
        cotangent = rng.normal(size=tangent.shape)
        back = jax.jit(lambda a, c: jax.vjp(project, *a)[1](c))(arguments, cotangent)
        product = sum(np.sum(g * d) for g, d in zip(back, direction, strict=True))
        assert float(np.sum(cotangent * tangent)) == pytest.approx(float(product), abs=1e-9)


def test_box_section_of_infinite_bounds_and_zero_weights(precision):
    x = np.array([3.0, -1.0, 0.5, 7.0], precision)
    w = np.array([1.0, 2.0, 0.0, -1.0], precision)
    free, floor = np.full(4, np.inf, precision), np.array([-np.inf, -np.inf, 1.0, -np.inf], precision)
    found = jax.jit(project_box_section)(x, floor, free, w, precision.type(4.0))
    expected = convex.Hyperplane(w, 4.0).prox(x, 1.0).at[2].set(1.0)
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(precision).eps)
    # An empty section, unnoticed under jit, gives the end of the box that comes nearest.
    end = jax.jit(lambda x, c: convex.BoxSection(0.0, 1.0, c=c).prox(x, 1.0))(x, 9.0)
    np.testing.assert_array_equal(end, np.ones(4))


def test_pytrees(precision):
    x = {"a": jnp.array([2.0, 0.25], precision), "b": jnp.array(0.0, precision)}
    found = convex.BoxSection(0.0, {"a": 0.5, "b": 1.0}).prox(x, 1.0)
    np.testing.assert_allclose(found["a"], [0.5, 0.375], rtol=1e-5)
    assert float(found["b"]) == pytest.approx(0.125) and found["b"].dtype == precision


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: convex.SparseSimplex(0), "k must be at least 1"),
        (lambda: convex.BoxSection(1.0, 0.0).prox(jnp.ones(2), 1.0), "lower must not exceed upper"),
        (lambda: convex.BoxSection(c=5.0).prox(jnp.ones(2), 1.0), "no point of the box has <w, x> = 5"),
        (lambda: convex.BoxSection(w=jnp.ones(3)).prox(jnp.ones(2), 1.0), "w of shape .* does not fit"),
        (lambda: convex.Polyhedron(), "a polyhedron needs A and b, or G and h"),
        (lambda: convex.Polyhedron(A=jnp.ones((1, 2))), "A and b go together"),
        (lambda: convex.Polyhedron(G=jnp.ones((1, 2)), h=jnp.ones(2)), "G and h must have shapes"),
        (lambda: convex.Polyhedron(G=jnp.ones((1, 2)), h=jnp.ones(1))(jnp.ones(3)), "G has 2 columns"),
        (
            lambda: convex.Polyhedron(G=jnp.array([[1.0], [-1.0]]), h=jnp.array([0.0, -1.0])).prox(
                jnp.ones(1), 1.0
            ),
            "the polyhedron is empty",
        ),
        (lambda: convex.TransportPolytope(jnp.ones(2), jnp.ones(3)), "row sums add up to 2 and column sums"),
        (lambda: convex.TransportPolytope(-jnp.ones(2), jnp.ones(2)), "a must be at least 0"),
        (lambda: convex.TransportPolytope(jnp.ones((2, 2)), jnp.ones(2)), "a must be a vector"),
        (lambda: convex.TransportPolytope(jnp.ones(2), jnp.ones(2))(jnp.ones((3, 2))), "the sums are those"),
        (lambda: convex.BirkhoffPolytope()(jnp.ones((3, 2))), "takes square matrices"),
        (lambda: convex.kl_project_birkhoff(jnp.ones((3, 2))), "square"),
        (lambda: convex.kl_project_transport(jnp.ones((3, 2)), jnp.ones(2), jnp.ones(2)), "log_y has shape"),
        (lambda: convex.kl_project_box_section(jnp.ones(2), -1.0, 1.0), "lower must be at least 0"),
        (lambda: convex.kl_project_box_section(jnp.ones(2), 0.0, 1.0, c=3.0), "no point of the box"),
    ],
)
def test_errors_name_what_is_wrong(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
