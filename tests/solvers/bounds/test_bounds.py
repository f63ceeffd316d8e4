"""Solvers with bounds against SciPy and closed forms; no evaluation lies outside the box."""

import functools
import itertools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.bounds.compact_bfgs import CompactBFGS
from frechet.solvers.bounds.lbfgsb import LBFGSB
from frechet.solvers.bounds.projected_newton_cg import ProjectedNewtonCG

METHODS = [LBFGSB(), ProjectedNewtonCG()]
PROJECTED = [*METHODS, fr.solvers.ProximalGradient(), fr.solvers.SpectralProximalGradient()]
name = lambda s: type(s).__name__  # noqa: E731
inf = np.inf


# ------------------------------------------------------------------ inside the box


class Watched(eqx.Module):
    """A valley that bends out of the box; NaN outside, and each evaluation notes whether it lies there."""

    seen: ClassVar[list] = []

    center: jax.Array
    lower: jax.Array
    upper: jax.Array

    def __call__(self, x):
        outside = jnp.any((x < self.lower) | (x > self.upper))
        jax.debug.callback(lambda v: Watched.seen.append(bool(v)), outside)
        d = x - self.center
        value = 10 * jnp.sum((d[1:] - d[:-1] ** 2) ** 2) + jnp.sum(d**2) + jnp.sum(d) ** 4
        return jnp.where(outside, jnp.nan, value)


CASES, SIZE = 4, 3


@functools.cache
def _solved(solver):
    def one(center, lower, upper, x0):
        problem = fr.Bounded(Watched(center, lower, upper), lower, upper)
        solution = fr.solve(problem, x0, solver, max_steps=60)
        return solution.x, problem.value(solution.x), solution.status.code

    return jax.jit(jax.vmap(one))


numbers = st.floats(-2, 2, width=32)
ends = st.tuples(
    st.one_of(numbers, st.just(-inf)), st.one_of(st.floats(0, 2, width=32), st.just(0.0), st.just(inf))
)
members = st.lists(st.tuples(numbers, ends, numbers), min_size=CASES * SIZE, max_size=CASES * SIZE)


@pytest.mark.parametrize("solver", PROJECTED, ids=name)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members)
def test_no_evaluation_lies_outside_the_box(solver, drawn):
    """Boxes with equal, one-sided and infinite bounds, starts anywhere; four solves at once."""
    with jax.enable_x64(True):
        center, ends, x0 = (np.array(v, float) for v in zip(*drawn, strict=True))
        lower, room = ends.T
        upper = np.where(np.isfinite(lower), lower, 0) + room
        center, lower, upper, x0 = (v.reshape(CASES, SIZE) for v in (center, lower, upper, x0))
        Watched.seen.clear()
        x, value, status = jax.block_until_ready(_solved(solver)(center, lower, upper, x0))
        jax.effects_barrier()
        assert len(Watched.seen) >= 2 * CASES and not any(Watched.seen)
        assert np.all((x >= lower) & (x <= upper)) and np.all(np.isfinite(value))
        assert not np.any(status == Ending.NONFINITE)


# ------------------------------------------------------------------ classics, against SciPy


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def wood(x):
    a, b, c, d = x
    return (
        100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
        + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1)
    )  # fmt: skip


def sines(x):
    return jnp.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1


def logarithms(x):
    return jnp.sum(jnp.log(x - 2) ** 2 + jnp.log(10 - x) ** 2) - jnp.prod(x) ** 0.2


def obstacle(x):
    """A string on pegs: a quadratic with half its bounds active."""
    return 0.5 * jnp.sum(jnp.diff(x, prepend=0, append=0) ** 2) * 30 - jnp.sum(x) / 30


def quartic_well(x):
    weights = jnp.arange(1.0, x.size + 1).astype(x.dtype)
    return jnp.sum(weights * (x**4 - 8 * x**2 + x)) / 10 + jnp.sum(x) ** 2 / 5


CLASSICS = {
    "rosenbrock, corner": (rosenbrock, [-1.2, 1.0], -2.0, [0.5, 2.0]),
    "rosenbrock, one-sided": (rosenbrock, [-2.0, 1.0], [-inf, 1.5], inf),
    "rosenbrock, eight": (rosenbrock, [-1.2] * 8, -1.5, [0.8, inf] * 4),
    "wood": (wood, [-3.0, -1.0, -3.0, -1.0], -10.0, 10.0),
    "sines": (sines, [0.0, 0.0], [-1.5, -3.0], [4.0, 3.0]),
    "logarithms": (logarithms, [9.0] * 10, 2.001, 9.999),
    "obstacle": (obstacle, [0.0] * 30, 0.0, [0.1, 0.002] * 15),
    "wells": (quartic_well, list(np.linspace(-2.5, 2.4, 12)), [-1.0, -inf] * 6, [inf, 1.7] * 6),
    "active at the start": (rosenbrock, [0.5, 0.5, 0.5], 0.5, [2.0, 0.5, 3.0]),
}


@functools.cache
def against_scipy():
    """Objectives, evaluations to the common target, and statuses, a row a classic."""
    rows = {}
    with jax.enable_x64(True):
        for title, (f, x0, lower, upper) in CLASSICS.items():
            x0 = jnp.asarray(x0, float)
            lower, upper = (jnp.broadcast_to(jnp.asarray(b, float), x0.shape) for b in (lower, upper))
            values = []

            def fun(x, f=jax.jit(jax.value_and_grad(f)), values=values):
                value, gradient = f(x)
                values.append(float(value))
                return values[-1], np.asarray(gradient)

            result = scipy.optimize.minimize(
                fun,
                x0,
                jac=True,
                method="L-BFGS-B",
                bounds=scipy.optimize.Bounds(np.asarray(lower), np.asarray(upper)),
                options={"ftol": 1e-15, "gtol": 1e-9, "maxcor": 10},
            )
            problem = fr.Bounded(f, lower, upper)
            solution = fr.solve(problem, x0)
            ours = float(problem.value(solution.x))
            rows[title] = (ours, float(result.fun), int(solution.calls.value), len(values), solution.status)
    return rows


@pytest.mark.parametrize("title", CLASSICS)
def test_objective_is_that_of_scipys_lbfgsb(title):
    ours, theirs, _, _, status = against_scipy()[title]
    assert status.converged, str(status)
    assert abs(ours - theirs) <= 1e-8 * max(1, abs(theirs))


def test_evaluations_are_at_most_one_and_a_half_times_scipys_in_the_median():
    assert np.median([ours / theirs for _, _, ours, theirs, _ in against_scipy().values()]) <= 1.5


# ------------------------------------------------------------------ both precisions, odd boxes, pytrees


@pytest.mark.parametrize("solver", METHODS, ids=name)
def test_rosenbrock_in_both_precisions(solver, precision):
    start = jnp.array([-1.2, 1.0], precision)
    tops = jnp.array([[0.5, inf], [inf, 0.3], [inf, inf], [-1.2, inf]], precision)
    one = lambda u: fr.solve(fr.Bounded(rosenbrock, upper=u), jnp.minimum(start, u), solver)  # noqa: E731
    solution = jax.jit(jax.vmap(one))(tops)
    assert bool(jnp.all(solution.status.converged)), str(solution.status)
    # With x_2 free the valley x_2 = x_1^2 ends at the bound; with x_2 held, the cubic's root.
    a = np.roots([400, 0, 2 - 400 * 0.3, -2])
    a = float(np.real(a[np.argmax(np.real(a))]))
    expected = [[0.5, 0.25], [a, 0.3], [1, 1], [-1.2, 1.44]]
    # The Hessian's least eigenvalue in the valley is about 0.4.
    np.testing.assert_allclose(solution.x, expected, atol=5 * np.finfo(precision).eps ** 0.5 / 0.2)


@pytest.mark.parametrize("solver", METHODS, ids=name)
def test_a_region_of_nan_inside_the_box_is_avoided(solver, precision):
    def barrier(x):
        return jnp.sum((x - 3) ** 2 - jnp.log(1 - x))

    problem = fr.Bounded(barrier, 0.0, 5.0)
    solution = fr.solve(problem, jnp.zeros(3, precision), solver)
    assert solution.status.converged, str(solution.status)
    # 2 (x - 3) + 1 / (1 - x) = 0
    np.testing.assert_allclose(solution.x, 2 - np.sqrt(1.5), rtol=4 * np.finfo(precision).eps ** 0.5)


@pytest.mark.parametrize("solver", METHODS, ids=name)
def test_equal_bounds_and_pytrees(solver, precision):
    x0 = {"a": jnp.ones((2, 2), precision), "b": (jnp.zeros((), precision), [jnp.ones(3, precision)])}
    f = lambda x: jnp.sum((x["a"] - 3) ** 2) + (x["b"][0] + x["a"][0, 0]) ** 2 + jnp.sum(x["b"][1][0] ** 4)  # noqa: E731
    lower = {"a": 1.0, "b": (-inf, [jnp.array([0.5, -1.0, 2.0], precision)])}
    upper = {"a": jnp.array([2.0, inf], precision), "b": (0.0, [jnp.array([0.5, 1.0, 2.0], precision)])}
    solution = fr.solve(fr.Bounded(f, lower, upper), x0, solver)
    assert solution.status.converged and jax.tree.structure(solution.x) == jax.tree.structure(x0)
    tol = 4 * np.finfo(precision).eps ** 0.5
    np.testing.assert_allclose(solution.x["a"], [[2, 3], [2, 3]], rtol=tol)
    np.testing.assert_allclose(solution.x["b"][0], -2, rtol=tol)
    held = solution.x["b"][1][0]
    assert float(held[0]) == 0.5 and float(held[2]) == 2.0
    pinned = fr.solve(fr.Bounded(f, x0, x0), jax.tree.map(lambda v: v + 1, x0), solver)
    assert pinned.status.converged and int(pinned.steps) == 0
    for u, v in zip(jax.tree.leaves(pinned.x), jax.tree.leaves(x0), strict=True):
        np.testing.assert_array_equal(u, v)


@pytest.mark.parametrize("solver", METHODS, ids=name)
def test_derivatives_in_the_bounds_and_the_data(solver):
    """A coordinate on its bound moves with the bound, the others with the data and with it."""
    with jax.enable_x64(True):
        H = jnp.array([[3.0, 1.0, 0.5], [1.0, 2.0, 0.3], [0.5, 0.3, 4.0]])

        def of(b, u):
            return fr.solve(fr.Bounded(lambda x: 0.5 * x @ H @ x - b @ x, -10.0, u), jnp.zeros(3), solver).x

        b, u = jnp.array([1.0, 3.0, 2.0]), jnp.array([5.0, 0.7, 5.0])
        x, free = of(b, u), np.array([0, 2])
        inverse = np.linalg.inv(np.asarray(H)[np.ix_(free, free)])
        np.testing.assert_allclose(x[1], 0.7)
        expected_b, expected_u = np.zeros((3, 3)), np.zeros((3, 3))
        expected_b[np.ix_(free, free)] = inverse
        expected_u[free, 1], expected_u[1, 1] = -inverse @ np.asarray(H)[free, 1], 1
        in_b, in_u = jax.jacrev(of, argnums=(0, 1))(b, u)
        np.testing.assert_allclose(in_b, expected_b, atol=1e-7)
        np.testing.assert_allclose(in_u, expected_u, atol=1e-7)
        np.testing.assert_allclose(jax.jacfwd(of, argnums=1)(b, u), expected_u, atol=1e-7)


# ------------------------------------------------------------------ the parts of L-BFGS-B


def _pairs(rng, n, pairs, empty):
    A = rng.normal(size=(n, n))
    H = A @ A.T + np.eye(n)
    s = rng.normal(size=(pairs, n)) * np.logspace(-3, 0, pairs)[:, None]
    y = s @ H
    rho = 1 / np.sum(s * y, axis=1)
    s[:empty], y[:empty], rho[:empty] = 0, 0, 0
    return s, y, rho


def _dense(s, y, rho):
    """The BFGS matrix by its recursion."""
    y_last, s_last = y[-1], s[-1]
    B = (y_last @ y_last) / (s_last @ y_last) * np.eye(s.shape[1])
    for u, v in zip(s[rho > 0], y[rho > 0], strict=True):
        B = B - np.outer(B @ u, B @ u) / (u @ B @ u) + np.outer(v, v) / (u @ v)
    return B


@pytest.mark.parametrize("empty", [0, 2])
def test_compact_matrix_is_the_recursion(empty):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        s, y, rho = _pairs(rng, 8, 5, empty)
        model, B = CompactBFGS.of(*map(jnp.asarray, (s, y, rho))), _dense(s, y, rho)
        v = rng.normal(size=8)
        np.testing.assert_allclose(model.product(v), B @ v, rtol=1e-8)
        free = np.array([True, False] * 4)
        step = np.zeros(8)
        step[free] = -np.linalg.solve(B[np.ix_(free, free)], v[free])
        np.testing.assert_allclose(model.newton_step(v, free), step, rtol=1e-8)


def test_cauchy_point_is_the_first_minimiser_along_the_path():
    """Against a fine walk along the projected path, with coordinates on bounds and without any."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        find = jax.jit(lambda m, *a: m.cauchy_point(*a))
        for trial in range(20):
            s, y, rho = _pairs(rng, 6, 4, trial % 2)
            model, B = CompactBFGS.of(*map(jnp.asarray, (s, y, rho))), _dense(s, y, rho)
            x, g = rng.normal(size=6), rng.normal(size=6) * 10.0 ** (trial % 3)
            lower, upper = x - rng.exponential(size=6) * 0.1, x + rng.exponential(size=6) * 0.1
            lower[:2], upper[0], lower[3] = -inf, inf, x[3]
            lower[5] = upper[5] = x[5]
            point, bent, free = find(model, x, g, lower, upper)
            meets = np.where(g < 0, upper - x, x - lower) / np.abs(g)
            path = lambda t: np.clip(x - t * g, lower, upper)  # noqa: B023, E731
            of = lambda t: g @ (path(t) - x) + 0.5 * (path(t) - x) @ B @ (path(t) - x)  # noqa: B023, E731
            knots = np.unique(np.concatenate([[0], meets[np.isfinite(meets)]]))
            ts = np.unique(np.concatenate([np.linspace(a, b, 400) for a, b in itertools.pairwise(knots)]))
            ts = np.concatenate([ts, knots[-1] + np.logspace(-6, 1, 4000)])
            q = np.array([of(t) for t in ts])
            first = int(np.argmax(np.diff(q) > 0)) if np.any(np.diff(q) > 0) else len(q) - 1
            at = np.asarray(point)
            value = g @ (at - x) + 0.5 * (at - x) @ B @ (at - x)
            assert value <= q[first] + 1e-12 * abs(q[first])
            gap = ts[min(first + 1, len(ts) - 1)] - ts[max(first - 1, 0)]
            assert np.max(np.abs(at - path(ts[first]))) <= gap * np.max(np.abs(g)) + 1e-12
            np.testing.assert_allclose(bent, B @ (at - x), rtol=1e-7, atol=1e-9 * np.max(np.abs(g)))
            assert not free[5] and np.all((at[free] > lower[free]) & (at[free] < upper[free]))


def test_the_state_shows_the_pairs():
    """What Pathfinder builds its covariance from: the newest pair last, rho their inverse products."""
    with jax.enable_x64(True):
        problem = fr.Composite(rosenbrock).lifted(jnp.zeros(2))
        solver, key = LBFGSB(history=3), jax.random.key(0)
        step = jax.jit(lambda s: solver.step(problem, s, key=key))
        state = solver.init(problem, jnp.array([-1.2, 1.0]), key=key)
        moves, changes = [], []
        for _ in range(5):
            new = step(state)
            moves.append(new.x - state.x)
            changes.append(new.gradient - state.gradient)
            state = new
        np.testing.assert_allclose(state.s, moves[-3:], rtol=1e-12)
        np.testing.assert_allclose(state.y, changes[-3:], rtol=1e-12)
        np.testing.assert_allclose(state.rho, 1 / np.sum(state.s * state.y, axis=1), rtol=1e-12)


def test_without_bounds_it_is_lbfgs():
    """A quadratic in 50 unknowns to SciPy's solution, in no more than its evaluations by half."""
    with jax.enable_x64(True):
        d = jnp.logspace(0, 4, 50)
        f = lambda x: 0.5 * jnp.sum(d * (x - 1) ** 2)  # noqa: E731
        solution = fr.solve(fr.Composite(f), jnp.zeros(50), LBFGSB())
        curvatures = np.asarray(d)
        result = scipy.optimize.minimize(
            lambda x: (0.5 * curvatures @ (x - 1) ** 2, curvatures * (x - 1)), np.zeros(50), jac=True,
            method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-8},
        )  # fmt: skip
        assert solution.status.converged
        np.testing.assert_allclose(solution.x, 1, atol=2e-8)
        assert int(solution.calls.value) <= 1.5 * result.nfev


def test_errors():
    with pytest.raises(ValueError, match="history must be at least 1, got 0"):
        LBFGSB(history=0)
    with pytest.raises(ValueError, match="lower must not exceed upper"):
        fr.Bounded(rosenbrock, 1.0, 0.0)
    for solver in METHODS:
        with pytest.raises(TypeError, match="needs bounds, which this Composite does not offer"):
            fr.solve(fr.Composite(rosenbrock, fr.convex.L1(1.0)), jnp.ones(2), solver)
