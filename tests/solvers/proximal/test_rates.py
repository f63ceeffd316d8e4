"""Rates that theorems promise, measured: bounds that hold at every step and slopes over a decade or more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.proximal.gradient_descent import GradientDescent
from frechet.solvers.proximal.proximal_gradient import ProximalGradient


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def iterates(problem, x0, solver, steps):
    """All iterates, the start included, shape (steps + 1, n); no stopping."""
    problem, x0 = problem.lifted(x0), jnp.asarray(x0)
    key = jax.random.key(0)

    def turn(state, _):
        state = solver.step(problem, state, key=key)
        return state, state.x

    return np.vstack([x0, jax.lax.scan(turn, solver.init(problem, x0, key=key), None, length=steps)[1]])


def nesterov(n):
    """Nesterov's worst quadratic, L = 4 (his with L / 4 = 1): minimiser 1 - i / (n + 1), value known."""
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    A = jnp.asarray(A)
    problem = fr.Composite(lambda x: 0.5 * x @ (A @ x) - x[0])
    solution = 1 - np.arange(1, n + 1) / (n + 1)
    return problem, solution, -0.5 * solution[0]


def gaps(problem, xs, best):
    return np.asarray(jax.vmap(problem.objective)(jnp.asarray(xs))) - best


def slope(values, first, last):
    k = np.arange(first, last)
    return np.polyfit(np.log(k), np.log(values[first:last]), 1)[0]


@pytest.mark.parametrize("step_size", [None, 0.25], ids=["backtracking", "constant"])
def test_fista_is_below_its_bound_and_as_fast_as_the_worst_case_allows(step_size):
    n, steps = 801, 400
    problem, solution, best = nesterov(n)
    gap = gaps(problem, iterates(problem, np.zeros(n), FISTA(step_size), steps), best)
    k = np.arange(1, steps + 1)
    # Backtracking accepts steps down to half of 1 / L, hence twice the constant.
    L = 4 if step_size else 8
    assert np.all(gap[1:] <= 2 * L * np.sum(solution**2) / (k + 1) ** 2)
    # No first-order method beats 3 L D^2 / (32 (k + 1)^2) on this function at 2 k + 1 = n.
    assert gap[steps] >= 3 * 4 * np.sum(solution**2) / (32 * (steps + 1) ** 2)


@pytest.mark.parametrize("solver", [ProximalGradient, GradientDescent])
def test_a_gradient_method_is_of_first_order_on_the_worst_quadratic(solver):
    n, steps = 801, 400
    problem, solution, best = nesterov(n)
    distance = np.sum(solution**2)
    gap = gaps(problem, iterates(problem, np.zeros(n), solver(0.25), steps), best)
    k = np.arange(1, steps + 1)
    assert np.all(gap[1:] <= 4 * distance / (4 * k + 2))  # the tight bound at step 1 / L


def test_acceleration_changes_the_exponent():
    i = np.arange(1, 4001)
    d = jnp.asarray(i**-3.0)
    start = 1.0 / i
    problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * x**2))
    plain = gaps(problem, iterates(problem, start, ProximalGradient(1.0), 300), 0.0)
    fast = gaps(problem, iterates(problem, start, FISTA(1.0), 300), 0.0)
    # The plain gap, the sum of i^-5 (1 - i^-3)^(2k) / 2, falls like k^-(4/3); acceleration promises k^-2.
    assert slope(plain, 30, 300) == pytest.approx(-4 / 3, abs=0.05)
    assert slope(fast, 30, 300) < -2.0


@pytest.mark.parametrize("solver", [ProximalGradient, GradientDescent])
def test_the_linear_rate_is_that_of_the_condition_number(solver):
    mu, L = 0.1, 1.0
    d = jnp.linspace(mu, L, 12)
    problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * x**2))
    x = iterates(problem, np.ones(12), solver(1 / L), 150)
    ratios = np.sum(x[1:] ** 2, 1) / np.sum(x[:-1] ** 2, 1)
    # The bound is (1 - mu / L)^2 a step, attained in the limit by the slowest coordinate.
    assert np.all(ratios <= 1 - mu / L + 1e-12)
    assert ratios[-1] == pytest.approx((1 - mu / L) ** 2, rel=1e-6)


def test_restarts_make_fista_linear_on_a_strongly_convex_problem():
    d = jnp.geomspace(1e-4, 1.0, 50)
    problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * x**2))
    gap = gaps(problem, iterates(problem, np.ones(50), FISTA(1.0), 2000), 0.0)
    # A step gains a factor of about exp(-sqrt(mu / L)) = exp(-0.01); a gradient step only exp(-2e-4).
    assert gap[2000] < 1e-3 * np.exp(-0.004 * 2000) * gap[0]


@pytest.mark.parametrize("solver", [ProximalGradient(), GradientDescent()], ids=["prox", "gradient"])
def test_backtracking_descends_at_every_step(solver):
    f = lambda x: jnp.sum(jnp.cosh(x) - jnp.cos(3 * x))  # noqa: E731
    problem = fr.Composite(f)
    values = gaps(problem, iterates(problem, np.linspace(-4, 5, 7), solver, 60), 0.0)
    assert np.all(np.diff(values) <= 1e-14 * np.abs(values[:-1]))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e8])
def test_step_sizes_find_the_scale_of_the_problem(scale):
    problem = fr.Composite(lambda x: 0.5 * scale * jnp.sum((x - 1.0) ** 2), fr.convex.L1(0.5 * scale))
    for solver in (
        FISTA(),
        ProximalGradient(),
        fr.solvers.SpectralProximalGradient(),
        fr.solvers.ProximalNewton(),
    ):
        s = fr.solve(problem, jnp.zeros(3), solver, tol=1e-9 * scale, max_steps=500)
        assert s.status.converged, type(solver).__name__
        np.testing.assert_allclose(s.x, 0.5, atol=1e-8)
