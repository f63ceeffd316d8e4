"""Bilevel problems: hypergradients against finite differences of a lower level solved in NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet import convex
from frechet.core import tree

RNG = np.random.default_rng(0)
A = np.diag([1.0, 2.0, 0.5]) + 0.2
B = RNG.normal(size=(3, 2))
T = np.array([0.5, -1.0, 1.0])


def outer(x: Any, y: Any) -> Any:
    return 0.5 * jnp.sum((y - T) ** 2) + 0.1 * jnp.sum(x**4)


def inner(x: Any, y: Any) -> Any:
    return 0.5 * y @ A @ y - y @ (B @ jnp.tanh(x))


def of_x(lower: Any, x: np.ndarray) -> float:
    return float(0.5 * np.sum((lower(x) - T) ** 2) + 0.1 * np.sum(x**4))


def central(f: Any, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))])


def free(x: np.ndarray) -> np.ndarray:
    return np.linalg.solve(A, B @ np.tanh(x))


def on_plane(x: np.ndarray) -> np.ndarray:
    """With sum(y) = x_1, by the KKT system."""
    K = np.block([[A, np.ones((3, 1))], [np.ones((1, 3)), np.zeros((1, 1))]])
    return np.linalg.solve(K, np.concatenate([B @ np.tanh(x), x[:1]]))


def boxed(x: np.ndarray) -> np.ndarray:
    """With y_3 at its bound, as it is at the point of the test."""
    y = np.array([0.0, 0.0, -0.1])
    y[:2] = np.linalg.solve(A[:2, :2], (B @ np.tanh(x) + A[:, 2] * 0.1)[:2])
    return y


X = np.array([0.4, -0.3])
CASES = {
    "smooth": (fr.Bilevel(outer, inner), free),
    "box": (fr.Bilevel(outer, inner, inner_g=convex.Box(jnp.array([-2.0, -2.0, -0.1]), 2.0)), boxed),
    "equation": (
        fr.Bilevel(outer, inner, eq=lambda x, y: jnp.sum(y) - x[0]),
        lambda x: on_plane(x)[:3],
    ),
    # The same as an inequality that is active, its multiplier being positive.
    "inequality": (
        fr.Bilevel(outer, inner, ineq=lambda x, y: x[0] - jnp.sum(y)),
        lambda x: on_plane(x)[:3],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_measures_and_hypergradient_are_those_of_finite_differences(name):
    problem, lower = CASES[name]
    with jax.enable_x64():
        problem = problem.lifted(problem.start((jnp.asarray(X), jnp.zeros(3))))
        start = problem.start((jnp.asarray(X), jnp.asarray(lower(X) + 0.01)))
        solved, worked = eqx.filter_jit(problem.solve_lower)(start)
        assert worked
        np.testing.assert_allclose(solved.lower, lower(X), atol=1e-7)
        gradient = central(lambda x: of_x(lower, x), X)
        np.testing.assert_allclose(eqx.filter_jit(problem.hypergradient)(solved), gradient, atol=1e-6)
        measures = eqx.filter_jit(problem.measures)(start)
        assert float(measures["hyperobjective"]) == pytest.approx(of_x(lower, X), abs=1e-7)
        assert float(measures["hypergradient"]) == pytest.approx(np.linalg.norm(gradient), abs=1e-6)
        assert float(measures["lower_distance"]) == pytest.approx(0.01 * 3**0.5, abs=1e-6)
        residual = eqx.filter_jit(problem.optimality)(solved)
        assert float(tree.norm(residual._replace(upper=jnp.zeros(2)))) < 1e-6
        np.testing.assert_allclose(residual.upper, gradient, atol=1e-6)


def test_lower_solutions_that_are_no_points_are_differentiated_by_the_pseudo_inverse():
    # y is only determined along a; the least solution is a x / |a|^2, for which the gradient is this.
    a = jnp.array([1.0, 2.0])
    target = jnp.array([1.0, 0.0])
    problem = fr.Bilevel(
        lambda x, y: 0.5 * jnp.sum((y - target) ** 2), lambda x, y: 0.5 * (a @ y - x) ** 2, unique=False
    )
    least = a * 3.0 / 5.0
    found = problem.hypergradient(problem.start((3.0, least)))
    assert float(found) == pytest.approx(float((least - target) @ a / 5.0), rel=1e-5)
    assert "unique lower solution" not in problem.offers()
    # Moved along the lower solutions, f rises: only where a has no part in y - target it is least.
    along = jnp.array([2.0, -1.0]) / 5.0
    residual = problem.optimality(problem.start((3.0, least)))
    np.testing.assert_allclose(residual.lower, -5 * (target @ along) * along, atol=1e-6)
    best = problem.start((3.0, least + along * (along @ target) * 5.0))
    np.testing.assert_allclose(problem.optimality(best).lower, 0.0, atol=1e-5)


def test_equations_that_leave_lower_solutions_free_have_the_best_of_them_meant():
    # Any y with sum(y) = x solves the lower level; f is least where all are alike, for x = n / (n + 1).
    n = 3
    problem = fr.Bilevel(
        lambda x, y: 0.5 * jnp.sum(y**2) + 0.5 * (x / n - 1) ** 2,
        lambda x, y: 0.0 * jnp.sum(y),
        eq=lambda x, y: jnp.sum(y) - x,
        unique=False,
    )
    alike = problem.start((n / (n + 1.0), jnp.full(n, 1 / (n + 1.0))))
    assert float(tree.norm(problem.optimality(alike))) < 1e-6
    free = jnp.array([1.0, -1.0, 0.0])
    residual = problem.optimality(alike._replace(lower=alike.lower + free))
    np.testing.assert_allclose(residual.lower, free, atol=1e-6)
    np.testing.assert_allclose(residual.upper, 0.0, atol=1e-6)


def test_many_lower_unknowns_need_no_matrix():
    n = 300
    d = jnp.linspace(1.0, 3.0, n)
    problem = fr.Bilevel(lambda x, y: jnp.sum(y), lambda x, y: 0.5 * jnp.sum(d * y**2) - x * jnp.sum(y))
    found = problem.hypergradient(problem.start((2.0, jnp.zeros(n))))
    assert float(found) == pytest.approx(float(jnp.sum(1 / d)), rel=1e-5)


def test_terms_of_sums_average_to_the_whole():
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.normal(size=(n, 3))) for n in (4, 6))
    problem = fr.FiniteSumBilevel(
        lambda x, y, d: jnp.sum(x) * (y @ d) ** 2, lambda x, y, d: jnp.exp(x @ d[:2]) * (y @ d) ** 2, a, b
    )
    assert (problem.outer_count, problem.inner_count) == (4, 6)
    assert {"outer sample", "inner sample"} <= problem.offers().keys()
    x, y, v = jnp.array([0.3, -0.2]), jnp.array([1.0, 2.0, 3.0]), jnp.array([-1.0, 0.5, 1.0])
    for oracle, n, more in (
        (problem.outer_gradients, 4, ()),
        (problem.inner_gradients, 6, ()),
        (problem.inner_gradient, 6, ()),
        (problem.inner_hvp, 6, (v,)),
        (problem.inner_products, 6, (v,)),
    ):
        terms = jax.vmap(lambda i: oracle(x, y, *more, i[None]))(jnp.arange(n))  # noqa: B023
        mean = jax.tree.map(lambda t: jnp.mean(t, 0), terms)
        jax.tree.map(
            lambda u, w: np.testing.assert_allclose(u, w, rtol=2e-5, atol=1e-5), mean, oracle(x, y, *more)
        )
    mixed, second = problem.inner_products(x, y, v)
    np.testing.assert_allclose(second, problem.inner_hvp(x, y, v), rtol=1e-6)
    slope = lambda x: problem.inner_gradient(x, y) @ v  # noqa: E731
    np.testing.assert_allclose(mixed, jax.grad(slope)(x), rtol=1e-6)


def test_a_lower_level_without_a_solution_has_no_hyperobjective():
    problem = fr.Bilevel(lambda x, y: y**2, lambda x, y: x * y)
    problem = problem.lifted(problem.start((1.0, 0.0)))
    measures = problem.measures(problem.start((1.0, 0.0)))
    assert all(np.isnan(float(v)) for v in measures.values())


def test_bad_input_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"inner must be a callable of \(x, y\), got float"):
        fr.Bilevel(outer, 1.0)  # pyright: ignore
    with pytest.raises(TypeError, match=r"inner_g must be a frechet.convex.Function"):
        fr.Bilevel(outer, inner, inner_g=lambda y: y)  # pyright: ignore
    with pytest.raises(TypeError, match=r"x0 must be a pair \(x, y\)"):
        fr.solve(fr.Bilevel(outer, inner), jnp.zeros(3))
    with pytest.raises(TypeError, match=r"outer must return a scalar, got shape \(3,\)"):
        problem = fr.Bilevel(lambda x, y: y, inner)
        problem.outer_value(jnp.zeros(2), jnp.zeros(3))
