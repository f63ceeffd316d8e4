"""The interior point against Clarabel and HiGHS, its certificates, degenerate programs and derivatives."""

from typing import Any

import clarabel
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint

N, M, K = 12, 3, 8


def program(seed: int, kind: str) -> dict[str, np.ndarray]:
    """A program of fixed shapes; half of what could be active is."""
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(N, N // 2))
    x = rng.normal(size=N)
    A, G = rng.normal(size=(M, N)), rng.normal(size=(K, N))
    d = {
        "P": B @ B.T,
        "q": rng.normal(size=N),
        "A": A,
        "b": A @ x,
        "G": G,
        "h": G @ x + np.maximum(rng.normal(size=K), 0),
        "lower": np.where(rng.uniform(size=N) < 0.5, x - 1, -np.inf),
        "upper": np.where(rng.uniform(size=N) < 0.5, x + 1, np.inf),
    }
    if kind == "linear":
        d |= {"P": np.zeros((N, N)), "lower": x - 1, "upper": x + 1}
    if kind == "infeasible":
        d["G"][1], d["h"][1] = -G[0], -d["h"][0] - 1  # a row and its opposite, one apart
    if kind == "unbounded":
        # down along the first coordinate, which nothing else mentions
        for name in ("P", "A", "G"):
            d[name][:, 0] = 0
        d["P"][0], d["q"][0], d["lower"][0] = 0, 1, -np.inf
    return d


def clarabel_objective(d: dict[str, np.ndarray]) -> tuple[str, float]:
    """Clarabel's verdict and objective."""
    rows = [d["A"], d["G"], np.eye(N), -np.eye(N)]
    right = [d["b"], d["h"], np.clip(d["upper"], None, 1e6), -np.clip(d["lower"], -1e6, None)]
    peer: Any = clarabel
    settings = peer.DefaultSettings()
    settings.verbose = False
    cones = [peer.ZeroConeT(M), peer.NonnegativeConeT(K + 2 * N)]
    P, C = scipy.sparse.csc_matrix(np.triu(d["P"])), scipy.sparse.csc_matrix(np.vstack(rows))
    found = peer.DefaultSolver(P, d["q"], C, np.concatenate(right), cones, settings).solve()
    return str(found.status), found.obj_val


def batch(programs: list[dict[str, np.ndarray]], dtype) -> fr.Solution:
    stacked = {k: jnp.asarray(np.stack([d[k] for d in programs]), dtype) for k in programs[0]}
    solver = QuadraticInteriorPoint()

    @jax.jit
    def solve(d):
        return fr.solve(fr.QuadraticProgram(**d), jnp.zeros(N, dtype), solver, max_steps=100)

    return jax.vmap(solve)(stacked)


KINDS = ["quadratic", "linear", "infeasible", "unbounded"]
ENDINGS = [Ending.CONVERGED, Ending.CONVERGED, Ending.INFEASIBLE, Ending.UNBOUNDED]


def test_every_kind_of_program_in_one_batch(precision):
    """Programs under vmap, each with its own ending, the solvable ones with Clarabel's objective."""
    programs = [program(seed, kind) for kind in KINDS for seed in range(16)]
    s = batch(programs, precision)
    np.testing.assert_array_equal(s.status.code, np.repeat(ENDINGS, 16))
    assert int(np.max(s.steps)) <= 40, s.steps
    for i, d in enumerate(programs[:32:4]):
        status, best = clarabel_objective(d)
        assert status == "Solved"
        x = np.asarray(s.x.primal[4 * i], float)
        # first order in the residual, with multipliers of size ten or so
        tolerance = 50 * np.sqrt(np.finfo(precision).eps) * (1 + abs(best))
        assert abs(0.5 * x @ d["P"] @ x + d["q"] @ x - best) <= tolerance


def test_degenerate_linear_programs_against_highs():
    """Assignment: every vertex is degenerate; and an optimal face, where any of its points will do."""
    rng = np.random.default_rng(0)
    n = 6
    rows = np.vstack([np.kron(np.eye(n), np.ones((1, n))), np.kron(np.ones((1, n)), np.eye(n))])[:-1]
    with jax.enable_x64(True):

        @jax.jit
        def solve(q):
            problem = fr.QuadraticProgram(q=q, A=jnp.asarray(rows), b=jnp.ones(2 * n - 1), lower=0.0)
            return fr.solve(problem, jnp.zeros(n * n), QuadraticInteriorPoint())

        for cost in (rng.uniform(size=(n, n)), np.tile(np.arange(n), (n, 1)) * 1.0, np.ones((n, n))):
            s = solve(jnp.asarray(cost.ravel()))
            assert s.status.converged
            pairs = scipy.optimize.linear_sum_assignment(cost)
            np.testing.assert_allclose(cost.ravel() @ s.x.primal, cost[pairs].sum(), atol=1e-7)


@pytest.mark.parametrize("fixed", [0.0, 0.3])
def test_bounds_that_agree_and_rows_without_limit(fixed, precision):
    d = program(3, "quadratic")
    lower, upper = np.full(N, -1.0), np.full(N, 1.0)
    lower[:4] = upper[:4] = fixed
    problem = fr.QuadraticProgram(
        P=jnp.asarray(d["P"] + np.eye(N), precision),
        q=jnp.asarray(d["q"], precision),
        G=jnp.asarray(d["G"], precision),
        h=jnp.asarray(np.where(np.arange(K) < 4, np.inf, 0.5), precision),
        lower=jnp.asarray(lower, precision),
        upper=jnp.asarray(upper, precision),
    )
    s = fr.solve(problem, jnp.zeros(N, precision), QuadraticInteriorPoint())
    assert s.status.converged and int(s.steps) <= 30
    np.testing.assert_array_equal(s.x.primal[:4], np.asarray(fixed, precision))
    np.testing.assert_array_less(np.abs(s.x.dual_ineq[:4]), np.sqrt(np.finfo(precision).eps))


def test_badly_scaled_programs():
    """Rows and columns of sizes from 1e-4 to 1e4 change the steps by a few."""
    d = program(1, "quadratic")
    rng = np.random.default_rng(0)
    D, E = 10 ** rng.uniform(-2, 2, N), 10 ** rng.uniform(-2, 2, K)
    scaled = {
        "P": D[:, None] * d["P"] * D,
        "q": D * d["q"],
        "A": d["A"] * D,
        "b": d["b"],
        "G": E[:, None] * d["G"] * D,
        "h": E * d["h"],
        "lower": d["lower"] / D,
        "upper": d["upper"] / D,
    }
    with jax.enable_x64(True):
        plain, s = (batch([v], float) for v in (d, scaled))
    assert s.status.converged.all()
    assert abs(int(s.steps[0]) - int(plain.steps[0])) <= 8
    np.testing.assert_allclose(D * np.asarray(s.x.primal[0]), plain.x.primal[0], atol=1e-5)


def test_derivatives_of_every_part_against_differences():
    """P, q, A, b, G, h, lower and upper, forward along a random direction and backward."""
    rng = np.random.default_rng(5)
    d = program(7, "quadratic")
    d["P"] += np.eye(N)
    dot = {k: rng.normal(size=v.shape) for k, v in d.items()}
    dot["P"] += dot["P"].T
    weights = rng.normal(size=N)
    with jax.enable_x64(True):

        @jax.jit
        def at(d):
            x = fr.solve(fr.QuadraticProgram(**d), jnp.zeros(N), QuadraticInteriorPoint(), tol=1e-10).x
            return jnp.asarray(weights) @ x.primal

        gradient = jax.jit(jax.grad(at))(jax.tree.map(jnp.asarray, d))
        for name in d:
            move = np.where(np.isfinite(d[name]), dot[name], 0)
            ahead, behind = (at(d | {name: d[name] + sign * 1e-5 * move}) for sign in (1, -1))
            expected = (ahead - behind) / 2e-5
            got = np.sum(np.where(np.isfinite(d[name]), gradient[name], 0) * move)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
            assert name in ("lower", "upper") or abs(expected) > 1e-3


def test_counts_are_those_of_factorisations():
    s = fr.solve(fr.QuadraticProgram(q=jnp.ones(2), lower=0.0), jnp.ones(2), QuadraticInteriorPoint())
    assert int(s.calls.factorisation) == 1 + int(s.steps)
