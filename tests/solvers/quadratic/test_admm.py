"""QuadraticADMM: endings beside Clarabel's, real programs, warm starts, sparse forms, derivatives."""

from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from sklearn.datasets import load_digits

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic import penalised
from frechet.solvers.quadratic.admm import QuadraticADMM
from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint
from frechet.workbench import data

NAMES = ("P", "q", "A", "b", "G", "h", "lower", "upper")


CLARABEL = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11) | {"solver": cp.CLARABEL}
OSQP = {"solver": cp.OSQP, "eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 200_000}


def peer(
    P, q, A=None, b=None, G=None, h=None, lower=None, upper=None, settings=CLARABEL
) -> tuple[str, Any, Any]:
    """Status, objective and point of a solver that shares no code with ours."""
    x = cp.Variable(len(q))
    constraints = [] if A is None else [A @ x == b]
    for rows, limit, sign in ((G, h, 1), (np.eye(len(q)), upper, 1), (np.eye(len(q)), lower, -1)):
        if rows is not None and limit is not None:
            limit = np.broadcast_to(limit, len(rows))
            on = np.isfinite(limit)
            if np.any(on):
                constraints.append(sign * (rows[on] @ x) <= sign * limit[on])
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, cp.psd_wrap(P)) + q @ x), constraints)
    problem.solve(**settings)
    return problem.status, problem.value, x.value


def cases():
    """Programs of one shape, so that a batch holds them all: 6 unknowns, 1 equation, 4 inequalities."""
    rng = np.random.default_rng(0)
    M = rng.normal(size=(6, 6))
    inside = rng.uniform(-0.5, 0.5, 6)
    A, G = rng.normal(size=(1, 6)), rng.normal(size=(4, 6))
    base = {
        "P": M @ M.T / 6 + 0.1 * np.eye(6),
        "q": rng.normal(size=6),
        "A": A,
        "b": A @ inside,
        "G": G,
        "h": G @ inside + np.array([0.0, 0.1, 0.5, 3.0]),
        "lower": -np.ones(6),
        "upper": np.ones(6),
    }
    none, zero, far = np.full(6, np.inf), np.zeros((6, 6)), np.full(4, np.inf)
    positive = {"lower": np.zeros(6), "upper": none}
    simplex = {"P": zero, "A": np.ones((1, 6)), "b": np.ones(1), "G": np.zeros((4, 6)), **positive}
    pair = np.eye(6)[[0, 0, 1, 1]] * np.array([[1.0], [-1.0], [1.0], [-1.0]])
    flat = np.diag([1.0, 1, 1, 1, 1, 0])
    ascent = {"A": np.eye(6)[:1], "b": np.zeros(1)}
    changes = {
        "strongly convex": {},
        "rank-deficient": {"P": M[:, :2] @ M[:, :2].T},
        "linear": {"P": zero},
        "every point of the simplex": {**simplex, "q": np.ones(6)},
        "a vertex": {**simplex, "q": np.arange(6.0)},
        "rows twice": {"G": G[[0, 0, 1, 1]], "h": base["h"][[0, 0, 1, 1]]},
        "a row that repeats the equation": {
            "G": np.vstack([A, -A, G[:2]]),
            "h": np.append([*base["b"], *-base["b"]], base["h"][:2]),
        },
        "a bound said again by a row": {"G": pair, "h": np.ones(4)},
        "a fixed variable": {
            "lower": np.where(np.arange(6) == 2, inside, -1),
            "upper": np.where(np.arange(6) == 2, inside, 1),
        },
        "no limits": {"h": far, "lower": -none, "upper": none},
        "sizes from 1e-2 to 1e2": {
            "P": base["P"] * np.outer(10.0 ** np.linspace(-1, 1, 6), 10.0 ** np.linspace(-1, 1, 6)),
            "q": base["q"] * 10.0 ** np.linspace(-1, 1, 6),
        },
        "rows that contradict": {"G": pair, "h": np.array([-0.5, 0.4, 1, 1])},
        "an equation out of the bounds' reach": {"b": np.array([100.0])},
        "an equation against a row": {"G": np.vstack([A, G[:3]]), "h": np.append(base["b"] - 1, far[:3])},
        "linear and endless": {"P": zero, "q": -np.eye(6)[5], "h": far, **ascent, **positive},
        "endless along a null vector": {"P": flat, "q": -np.eye(6)[5], "h": far, **ascent, **positive},
    }
    return {name: base | change for name, change in changes.items()}


ENDINGS = {
    "optimal": Ending.CONVERGED,
    "infeasible": Ending.INFEASIBLE,
    "unbounded": Ending.UNBOUNDED,
}


@jax.jit
@jax.vmap
def batched(d):
    solution = fr.solve(fr.QuadraticProgram(**d), jnp.zeros_like(d["q"]), QuadraticADMM(), max_steps=400)
    return solution, fr.QuadraticProgram(**d).objective(solution.x)


def stacked(members, dtype):
    return {k: jnp.asarray(np.stack([d[k] for d in members]), dtype) for k in NAMES}


def test_a_batch_of_all_kinds_ends_as_clarabel_says(precision):
    named = cases()
    solution, objective = batched(stacked(named.values(), precision))
    tol = float(jnp.finfo(precision).eps) ** 0.5
    for i, (name, d) in enumerate(named.items()):
        status, value, _ = peer(**d)
        ended = Ending(int(solution.status.code[i]))
        assert ended is ENDINGS[status], f"{name}: {ended.name}, Clarabel says {status}"
        lower, upper = d["lower"].astype(precision), d["upper"].astype(precision)
        assert np.all((solution.x.primal[i] >= lower) & (solution.x.primal[i] <= upper)), name
        if ended is Ending.CONVERGED:
            assert solution.residual[i] <= tol, name
            # an objective errs by the residual times multipliers and distances, tens at most here
            np.testing.assert_allclose(objective[i], value, rtol=0, atol=30 * tol, err_msg=name)


def test_data_that_only_a_traced_program_can_have_end_in_a_status():
    with jax.enable_x64(True):
        good = cases()["strongly convex"]
        spoiled = good | {"q": np.where(np.arange(6) == 0, np.nan, good["q"])}
        crossed = good | {"lower": np.full(6, 1.0), "upper": np.full(6, -1.0)}
        members = [good, good | {"P": -np.eye(6)}, spoiled, crossed]
        solution, _ = batched(stacked(members * 4, float))
        codes = [Ending(int(c)) for c in solution.status.code[:4]]
        assert codes == [Ending.CONVERGED, Ending.NONFINITE, Ending.NONFINITE, Ending.INFEASIBLE]
        assert int(solution.status.origin[2]) == 1  # the data
        assert jnp.all(jnp.isfinite(solution.x.primal))


def test_an_infeasible_program_ends_where_rows_are_violated_least():
    # x0 <= -1/2 and x0 >= -0.4: half way, each is violated by 0.05
    with jax.enable_x64(True):
        solution, _ = batched(stacked([cases()["rows that contradict"]] * 16, float))
        np.testing.assert_allclose(solution.x.primal[0, 0], -0.45, atol=1e-3)


# ------------------------------------------------------------------ real programs


def portfolio():
    returns = np.asarray(data.monthly_returns(), float)
    mean, n = returns.mean(0), returns.shape[1]
    return {
        "P": np.cov(returns.T),
        "q": np.zeros(n),
        "A": np.ones((1, n)),
        "b": np.ones(1),
        "G": -mean[None],
        "h": -mean[None].mean(1),
        "lower": 0.0,
    }


def control(position=3.0, horizon=20):
    """A double integrator brought to rest with bounded speed and force; unknowns (position, speed, force)."""
    A, B = np.array([[1, 0.1], [0, 1]]), np.array([[0.005], [0.1]])
    dynamics = np.zeros((horizon, 2, horizon, 3))
    for t in range(horizon):
        dynamics[t, :, t] = np.hstack([np.eye(2), -B])
        if t:
            dynamics[t, :, t - 1, :2] = -A
    right = np.zeros((horizon, 2))
    right[0] = A @ [position, 0.0]
    limit = np.tile([5.0, 1.0, 2.0], horizon)
    return {
        "P": np.kron(np.eye(horizon), np.diag([10, 1, 0.1])),
        "q": np.zeros(3 * horizon),
        "A": dynamics.reshape(2 * horizon, -1),
        "b": right.ravel(),
        "lower": -limit,
        "upper": limit,
    }


def support_vectors():
    images, digits = load_digits(return_X_y=True)
    chosen = np.flatnonzero(np.isin(digits, (3, 8)))[:120]
    X, y = images[chosen] / 16, np.where(digits[chosen] == 3, 1.0, -1.0)
    kernel = np.exp(-0.05 * np.sum((X[:, None] - X) ** 2, -1))
    P = kernel * np.outer(y, y)
    return {"P": P, "q": -np.ones(120), "A": y[None], "b": np.zeros(1), "lower": 0.0, "upper": 10.0}


def lasso():
    """In the positive and the negative parts of the coefficients."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 30))
    y = X[:, :5].sum(1) + 0.1 * rng.normal(size=40)
    P = np.kron([[1, -1], [-1, 1]], X.T @ X)
    return {"P": P, "q": 3 + np.append(-X.T @ y, X.T @ y), "lower": 0.0}


def solved(d, start=None, solver=None, **options):
    problem = fr.QuadraticProgram(**d)
    start = jnp.zeros(len(d["q"])) if start is None else start
    return problem, fr.solve(problem, start, solver or QuadraticADMM(), **options)


@pytest.mark.parametrize("make", [portfolio, control, support_vectors, lasso])
def test_real_programs_are_solved_as_by_clarabel_and_osqp(make):
    d = make()
    with jax.enable_x64(True):
        values = [peer(**d, settings=settings)[1] for settings in (CLARABEL, OSQP)]
        for solver in (QuadraticADMM(), QuadraticInteriorPoint()):
            problem, solution = solved(d, solver=solver)
            assert solution.status.converged and solution.residual < 1e-6
            np.testing.assert_allclose(problem.objective(solution.x), values, rtol=1e-8)


def test_a_warm_start_saves_steps():
    with jax.enable_x64(True):
        cold = solved(control(3.0))[1]
        there = solved(control(3.05))[1]
        warm = solved(control(3.05), cold.x)[1]
        assert warm.status.converged and int(warm.steps) < int(there.steps)
        np.testing.assert_allclose(warm.x.primal, there.x.primal, atol=1e-6)


# ------------------------------------------------------------------ sparse matrices


def sparse_program():
    d = cases()["strongly convex"]
    sparse = {k: BCOO.fromdense(jnp.asarray(v)) if np.ndim(v) == 2 else v for k, v in d.items()}
    return d, sparse


@pytest.mark.parametrize("route", ["made dense", "products alone"])
def test_sparse_matrices_give_what_dense_ones_do(route, monkeypatch):
    with jax.enable_x64(True):
        d, sparse = sparse_program()
        if route == "products alone":
            monkeypatch.setattr(penalised, "DENSE_UP_TO", 0)
            jax.clear_caches()
        problem, solution = solved(sparse)
        _, value, x = peer(**d)
        assert solution.status.converged
        np.testing.assert_allclose(solution.x.primal, x, atol=1e-6)
        np.testing.assert_allclose(problem.objective(solution.x), value, rtol=1e-8)
        assert (int(solution.calls.factorisation) == 0) == (route == "products alone")
    jax.clear_caches()


# ------------------------------------------------------------------ derivatives


def primal(d):
    return fr.solve(fr.QuadraticProgram(**d), jnp.zeros_like(d["q"]), QuadraticADMM(), tol=1e-10).x.primal


def test_derivatives_by_every_array_are_those_of_clarabels_solution():
    d = cases()["strongly convex"]
    d["h"] = np.append(d["G"][0] @ peer(**d)[2] - 0.1, d["h"][1:])  # so that a row holds too
    rng = np.random.default_rng(3)
    dots = {k: rng.normal(size=d[k].shape) for k in NAMES}
    dots["P"] = (dots["P"] + dots["P"].T) / 2
    with jax.enable_x64(True):
        arrays = {k: jnp.asarray(v) for k, v in d.items()}
        x, push = jax.linearize(jax.jit(primal), arrays)
        zeros = jax.tree.map(jnp.zeros_like, arrays)
        active = {
            "rows": np.isclose(d["G"] @ x, d["h"]),
            "bounds": np.isclose(x, d["lower"]) | np.isclose(x, d["upper"]),
        }
        # constraints that hold with equality and such that do not, of both kinds
        assert all(0 < held.sum() < held.size for held in active.values()), active
        h = 1e-4
        for k in NAMES:
            tangent = push(zeros | {k: jnp.asarray(dots[k])})
            ends = [peer(**d | {k: d[k] + s * h * dots[k]})[2] for s in (1, -1)]
            # differences of solutions good to 1e-10 err by 1e-6, their curvature by h^2
            np.testing.assert_allclose(tangent, (ends[0] - ends[1]) / (2 * h), atol=1e-5, err_msg=k)
        # moving the limit of a slack constraint moves nothing
        gradient = jax.linear_transpose(push, arrays)(jnp.ones(6))[0]
        np.testing.assert_allclose(np.asarray(gradient["h"])[~active["rows"]], 0, atol=1e-12)
        assert np.all(np.asarray(gradient["h"])[active["rows"]] != 0)


def test_the_derivative_of_a_projection_onto_the_simplex_in_closed_form():
    with jax.enable_x64(True):

        def project(v):
            problem = fr.QuadraticProgram(jnp.eye(4), -v, jnp.ones((1, 4)), jnp.ones(1), lower=0.0)
            return fr.solve(problem, jnp.zeros(4), QuadraticADMM()).x.primal

        v = jnp.array([0.9, 0.5, 0.3, -2.0])  # the first three stay positive
        J = jax.jit(jax.jacrev(project))(v)
        expected = np.zeros((4, 4))
        expected[:3, :3] = np.eye(3) - 1 / 3
        np.testing.assert_allclose(J, expected, atol=1e-8)


def test_a_weakly_active_limit_is_taken_for_inactive():
    # (1/2)(x - a)^2 with x <= 0, by a row and by a bound; at a = 0 the derivative of min(a, 0) is 1, not 0
    with jax.enable_x64(True):

        def solution(a):
            q = -a * jnp.ones(2)
            G, h = jnp.array([[1.0, 0.0]]), jnp.zeros(1)
            problem = fr.QuadraticProgram(jnp.eye(2), q, G=G, h=h, upper=jnp.array([jnp.inf, 0.0]))
            return fr.solve(problem, jnp.zeros(2), QuadraticADMM()).x.primal

        slope = jax.jit(jax.jacfwd(solution))
        with pytest.warns(fr.DerivativeWarning, match="weakly active"):
            np.testing.assert_allclose(slope(0.0), [1.0, 1.0], atol=1e-12)
            jax.effects_barrier()
        np.testing.assert_allclose(slope(-1.0), [1.0, 1.0], atol=1e-12)
        np.testing.assert_allclose(slope(1.0), [0.0, 0.0], atol=1e-12)
