"""Primal-dual hybrid gradient against HiGHS and OSQP on sparse programs; its certificates and derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import osqp
import pytest
import scipy.optimize
import scipy.sparse

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic.primal_dual_hybrid_gradient import PrimalDualHybridGradient

N, M, K = 60, 8, 12


def program(seed: int, kind: str = "linear") -> dict:
    """A sparse program with a known optimal pair; of fixed pattern, so that all share a compiled program."""
    pattern = np.random.default_rng(0)
    rng = np.random.default_rng(seed)

    def sparse(rows: int) -> scipy.sparse.csr_matrix:
        M = scipy.sparse.random(rows, N, density=0.2, rng=pattern, format="csr")
        M = M + scipy.sparse.eye(rows, N, format="csr")
        M.data = rng.normal(size=M.data.size)
        return M.tocsr()

    A, G = sparse(M), sparse(K)
    x = np.maximum(rng.normal(size=N), 0)
    multiplier = np.maximum(rng.normal(size=K), 0)
    slope = np.where(x > 0, 0, rng.uniform(size=N))
    d = {"A": A, "b": A @ x, "G": G, "h": G @ x + np.where(multiplier > 0, 0, rng.uniform(size=K))}
    d["q"] = slope - A.T @ rng.normal(size=M) - G.T @ multiplier
    if kind == "quadratic":
        d["P"] = scipy.sparse.diags(rng.uniform(size=N)).tocsr()
        d["q"] = d["q"] - d["P"] @ x
    if kind == "infeasible":
        # nonnegative entries times x >= 0 cannot be negative
        d["A"].data = np.abs(d["A"].data)
        d["b"] = -np.abs(d["b"]) - 1
    if kind == "unbounded":
        # down along the first coordinate, which no row mentions
        for M_ in (d["A"], d["G"]):
            M_.data[M_.indices == 0] = 0
        d["q"][0] = -1
    return d


def solve(d: dict, **options) -> fr.Solution:
    problem = fr.QuadraticProgram(**d, lower=0.0)
    return fr.solve(problem, jnp.zeros(N), PrimalDualHybridGradient(), max_steps=100_000, **options)


@pytest.mark.parametrize("seed", range(4))
def test_sparse_linear_programs_against_highs(seed, precision):
    d = program(seed)
    best = scipy.optimize.linprog(d["q"], d["G"], d["h"], d["A"], d["b"], bounds=(0, None)).fun
    s = solve(d)
    assert s.status.converged
    # first order in the residual, with multipliers of size one
    tolerance = 20 * np.sqrt(np.finfo(precision).eps) * (1 + np.linalg.norm(d["q"]))
    assert abs(d["q"] @ s.x.primal - best) <= tolerance
    assert int(s.calls.matvec) == 2 * int(s.steps)


@pytest.mark.parametrize("seed", range(2))
def test_sparse_quadratic_programs_against_osqp(seed):
    d = program(seed, "quadratic")
    peer = osqp.OSQP()
    rows = scipy.sparse.vstack([d["A"], d["G"], scipy.sparse.eye(N)]).tocsc()
    lower = np.concatenate([d["b"], np.full(K, -np.inf), np.zeros(N)])
    upper = np.concatenate([d["b"], d["h"], np.full(N, np.inf)])
    settings = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 100_000, "verbose": False}
    peer.setup(d["P"].tocsc(), d["q"], rows, lower, upper, **settings)
    expected = peer.solve(raise_error=True).x
    with jax.enable_x64(True):
        s = solve(d)
    assert s.status.converged
    value = lambda x: 0.5 * x @ (d["P"] @ x) + d["q"] @ x  # noqa: E731
    np.testing.assert_allclose(value(np.asarray(s.x.primal)), value(expected), atol=1e-6)
    assert int(s.calls.matvec) == 3 * int(s.steps)


@pytest.mark.parametrize(
    ("kind", "ending"), [("infeasible", Ending.INFEASIBLE), ("unbounded", Ending.UNBOUNDED)]
)
def test_certificates(kind, ending, precision):
    for seed in range(3):
        assert Ending(int(solve(program(seed, kind)).status.code)) is ending


def test_warm_start_saves_steps():
    with jax.enable_x64(True):
        d = program(0)
        cold = solve(d)
        d["h"] = d["h"] + 1e-4
        problem = fr.QuadraticProgram(**d, lower=0.0)
        warm = fr.solve(problem, cold.x, PrimalDualHybridGradient(), max_steps=100_000)
        again = solve(d)
    assert warm.status.converged and again.status.converged
    assert int(warm.steps) < int(again.steps)


def test_derivatives_through_sparse_matrices():
    """P, q, A, b, G, h and lower against differences; the entries of a sparse matrix are its parameters."""
    rng = np.random.default_rng(3)
    d = program(1, "quadratic")
    with jax.enable_x64(True):
        whole: Any = fr.QuadraticProgram(**d, lower=0.0)
        parts = {
            "P": whole.P.data,
            "q": whole.q,
            "A": whole.eq.A.data,
            "b": whole.eq.b,
            "G": whole.ineq.A.data,
            "h": whole.ineq.b,
            "lower": jnp.zeros(N),
        }
        weights = jnp.asarray(rng.normal(size=N))

        @jax.jit
        def at(t):
            P, A, G = (
                type(M)((t[k], M.indices), shape=M.shape)
                for k, M in (("P", whole.P), ("A", whole.eq.A), ("G", whole.ineq.A))
            )
            problem = fr.QuadraticProgram(P, t["q"], A, t["b"], G, t["h"], t["lower"])
            s = fr.solve(problem, jnp.zeros(N), PrimalDualHybridGradient(), tol=1e-11, max_steps=100_000)
            return weights @ s.x.primal

        gradient = jax.jit(jax.grad(at))(parts)
        for name, value in parts.items():
            move = rng.normal(size=value.shape)
            ahead, behind = (at(parts | {name: value + sign * 1e-5 * move}) for sign in (1, -1))
            expected = (ahead - behind) / 2e-5
            np.testing.assert_allclose(gradient[name] @ move, expected, rtol=1e-5, atol=1e-5)
            assert abs(expected) > 1e-3
