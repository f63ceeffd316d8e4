"""Newton-CG and proximal Newton: known systems, negative curvature, hard functions, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.second_order.hessian import hessian
from frechet.solvers.second_order.model_descent import model_descent
from frechet.solvers.second_order.newton_cg import NewtonCG
from frechet.solvers.second_order.proximal_newton import ProximalNewton
from frechet.solvers.second_order.truncated_cg import truncated_cg


def symmetric(eigenvalues, seed=0):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return jnp.asarray(Q @ np.diag(eigenvalues) @ Q.T)


def test_conjugate_gradients_solve_a_system_in_as_many_products_as_eigenvalues():
    with jax.enable_x64(True):
        A, g = symmetric([1.0, 1.0, 1.0, 5.0, 5.0, 20.0]), jnp.arange(1.0, 7.0)
        d, products = truncated_cg(lambda v: A @ v, g, jnp.asarray(1e-10), 50)
        np.testing.assert_allclose(d, -np.linalg.solve(A, g), rtol=1e-9)
        assert int(products) == 3


@pytest.mark.parametrize("eta", [0.5, 0.1, 1e-3])
def test_conjugate_gradients_stop_at_the_accuracy_asked_for(eta):
    with jax.enable_x64(True):
        A, g = symmetric(np.geomspace(1, 100, 30)), jnp.ones(30)
        d, products = truncated_cg(lambda v: A @ v, g, jnp.asarray(eta), 100)
        assert np.linalg.norm(A @ d + g) <= eta * np.linalg.norm(g)
        fewer, _ = truncated_cg(lambda v: A @ v, g, jnp.asarray(eta), int(products) - 1)
        assert np.linalg.norm(A @ fewer + g) > eta * np.linalg.norm(g)


@pytest.mark.parametrize(
    "eigenvalues", [[-1.0, -2.0, -3.0], [4.0, 1.0, -0.5], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
)
def test_a_direction_descends_and_is_finite_whatever_the_curvature(eigenvalues, precision):
    A, g = symmetric(eigenvalues).astype(precision), jnp.array([1.0, -2.0, 0.5], precision)
    d, _ = truncated_cg(lambda v: A @ v, g, jnp.asarray(0.1, precision), 20)
    assert np.all(np.isfinite(d)) and float(g @ d) < 0


@pytest.mark.parametrize("size", [1e-18, 1e18])
def test_float32_products_neither_overflow_nor_vanish(size):
    A, g = jnp.diag(jnp.array([1.0, 3.0], jnp.float32)) * size, jnp.array([1.0, 1.0], jnp.float32) * size
    d, _ = truncated_cg(lambda v: A @ v, g, jnp.asarray(1e-5, jnp.float32), 20)
    np.testing.assert_allclose(d, [-1.0, -1 / 3], rtol=1e-4)


def test_the_model_is_minimised_to_the_accuracy_asked_for():
    with jax.enable_x64(True):
        A, g = symmetric(np.geomspace(0.1, 10, 8), seed=1), jnp.linspace(-2, 2, 8)
        problem = fr.Composite(lambda x: 0.5 * x @ A @ x + g @ x, fr.convex.L1(0.3))
        x = jnp.full(8, 0.2)
        inner = model_descent(
            problem,
            x,
            problem.gradient(x),
            hessian(problem, x),
            lambda m: 1e-10 * m,
            step=jnp.asarray(1.0),
            shift=jnp.asarray(0.0),
        )
        # The model of a quadratic is the function itself.
        assert float(jnp.linalg.norm(problem.optimality(x + inner.d))) < 1e-8
        np.testing.assert_allclose(inner.Hd, A @ inner.d, atol=1e-12)
        assert int(inner.products) < 300


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), start=1))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def powell(x):
    a, b, c, d = x
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def wood(x):
    a, b, c, d = x
    return (
        100 * (b - a**2) ** 2
        + (1 - a) ** 2
        + 90 * (d - c**2) ** 2
        + (1 - c) ** 2
        + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2)
        + 19.8 * (b - 1) * (d - 1)
    )


# Name, function, standard start, minimiser, accuracy its curvature allows (singular at Powell's).
HARD = [
    ("beale", beale, [1.0, 1.0], [3.0, 0.5], 2e-3),
    ("powell", powell, [3.0, -1.0, 0.0, 1.0], [0.0] * 4, 0.05),
    ("wood", wood, [-3.0, -1.0, -3.0, -1.0], [1.0] * 4, 1e-3),
    ("rosenbrock", rosenbrock, [-1.2, 1.0], [1.0] * 2, 1e-2),
    ("exponential", lambda x: jnp.sum(jnp.exp(x) - 2 * x), [20.0, -10.0], [np.log(2)] * 2, 1e-3),
    ("barrier", lambda x: jnp.sum(x**2 - jnp.log(x)), [5.0, 0.01], [0.5**0.5] * 2, 1e-3),
]


@pytest.mark.parametrize("solver", [NewtonCG(), ProximalNewton()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("f", "x0", "solution", "atol"), [h[1:] for h in HARD], ids=[h[0] for h in HARD])
def test_hard_functions_from_their_standard_starts(solver, f, x0, solution, atol, precision):
    s = fr.solve(fr.Composite(f), jnp.array(x0, precision), solver, max_steps=500)
    assert s.status.converged
    np.testing.assert_allclose(s.x, np.array(solution), atol=atol)


@pytest.mark.parametrize("rule", [jax.jacrev, jax.jacfwd])
@pytest.mark.parametrize("mode", ["unroll", "one-step"])
def test_newton_steps_are_differentiated_in_both_directions(mode, rule):
    with jax.enable_x64(True):
        X = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)))
        y = jnp.asarray(np.random.default_rng(1).integers(2, size=20))

        def x(ridge):
            f = lambda w: fr.losses.Logistic(X, y)(w) + ridge * jnp.sum(w**2)  # noqa: E731
            return fr.solve(
                fr.Composite(f), jnp.zeros(3), NewtonCG(), tol=1e-9, max_steps=30, differentiate=mode
            ).x

        h = 1e-5
        np.testing.assert_allclose(rule(x)(0.1), (x(0.1 + h) - x(0.1 - h)) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("rule", [jax.jacrev, jax.jacfwd])
@pytest.mark.parametrize("mode", ["unroll", "one-step"])
def test_proximal_newton_steps_are_differentiated_in_both_directions(mode, rule):
    with jax.enable_x64(True):
        d = jnp.array([1.0, 4.0, 9.0])

        def x(weight):
            problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * (x - 2.0) ** 2), fr.convex.L1(weight))
            return fr.solve(
                problem, jnp.ones(3), ProximalNewton(), tol=1e-12, max_steps=30, differentiate=mode
            ).x

        # x = 2 - weight / d while that is positive.
        np.testing.assert_allclose(rule(x)(0.5), -1 / d, rtol=1e-6)


def test_proximal_newton_on_a_nonconvex_function_with_a_penalty_ends_at_a_stationary_point(precision):
    problem = fr.Composite(rosenbrock, fr.convex.Box(-2.0, 0.8))
    s = fr.solve(problem, jnp.full(6, -1.0, precision), ProximalNewton(), max_steps=500)
    assert s.status.converged
    x, gradient = np.asarray(s.x), np.asarray(problem.gradient(s.x))
    inside = (x > -2.0) & (x < 0.8)
    tol = 10 * jnp.finfo(precision).eps ** 0.5
    assert np.all(np.abs(gradient[inside]) <= tol) and np.all(gradient[x >= 0.8] <= tol)


def test_a_proximal_newton_step_solves_a_quadratic_at_once_up_to_its_accuracy():
    with jax.enable_x64(True):
        A = symmetric(np.geomspace(0.1, 10, 8), seed=1)
        problem = fr.Composite(lambda x: 0.5 * x @ A @ x + jnp.sum(x), fr.convex.L1(0.3))
        s = fr.solve(problem, jnp.zeros(8), ProximalNewton(), tol=1e-10)
        assert s.status.converged and int(s.steps) <= 8 and int(s.calls.value) == int(s.steps) + 1


def test_a_closure_over_a_loss_is_traced_once():
    loss = fr.losses.Logistic(jnp.eye(3), jnp.array([0, 1, 1]))
    problem = fr.Composite(lambda w: loss(w) + 0.05 * jnp.sum(w**2))
    fr.solve(problem, jnp.zeros(3), NewtonCG())
    assert fr.solve(problem, jnp.ones(3), NewtonCG()).stats.traces == 0
