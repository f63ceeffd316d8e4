"""Sparse linear programs of 10,000 variables to a relative 1e-4, beside HiGHS.

Run: ``python benchmarks/lp_sparse.py [random] [flow] [transport]``. Ours runs with its loosest tolerance (a
power of the square root of ten) whose point has constraints, slopes and duality gap within 1e-4, relative,
of zero; compilation is over before the clock starts. HiGHS (SciPy's ``method="highs"``, the simplex method)
runs as it is delivered, for two minutes at most.

The random program, on which simplex and factorisations fill up, is what a first-order method is for.
The other two are network programs that presolve and a sparse basis solve in a few hundred pivots,
some microseconds each: as many as our products with the matrix (0.1 to 0.2 ms a pair on one core), of which
one to five thousand are needed. They are here to show the limit.
"""

import itertools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp
from timing import first_call, interleaved, report

import frechet as fr
from frechet.solvers.quadratic.primal_dual_hybrid_gradient import PrimalDualHybridGradient

jax.config.update("jax_enable_x64", True)
ACCURACY, BAR = 1e-4, 3.0


def random(n: int = 10_000, equations: int = 1000, inequalities: int = 4000, entries: int = 10) -> dict:
    """Rows of ten normal entries each, with an optimal pair built in."""
    rng = np.random.default_rng(0)

    def matrix(m: int) -> sp.csr_matrix:
        at = np.repeat(np.arange(m), entries), rng.integers(0, n, m * entries)
        return sp.csr_matrix((rng.normal(size=m * entries), at), shape=(m, n))

    A, G = matrix(equations), matrix(inequalities)
    x, multiplier = np.maximum(rng.normal(size=n), 0), np.maximum(rng.normal(size=inequalities), 0)
    q = np.where(x > 0, 0, rng.uniform(size=n)) - A.T @ rng.normal(size=equations) - G.T @ multiplier
    slack = np.where(multiplier > 0, 0, rng.uniform(size=inequalities))
    return {"q": q, "A": A, "b": A @ x, "G": G, "h": G @ x + slack}


def flow(side: int = 15, commodities: int = 12) -> dict:
    """Commodities that share the capacities of a grid's arcs, at least cost."""
    rng = np.random.default_rng(0)
    nodes = side * side
    at = np.arange(nodes).reshape(side, side)
    right, down = (np.c_[a.ravel(), b.ravel()] for a, b in ((at[:, :-1], at[:, 1:]), (at[:-1], at[1:])))
    arcs = np.concatenate([right, down, right[:, ::-1], down[:, ::-1]])
    count = len(arcs)
    ends = np.r_[arcs[:, 0], arcs[:, 1]], np.tile(np.arange(count), 2)
    incidence = sp.csr_matrix((np.r_[np.ones(count), -np.ones(count)], ends), shape=(nodes, count))
    supply = np.zeros((commodities, nodes))
    for row in supply:
        row[rng.choice(nodes, 2, replace=False)] = np.array([1, -1]) * rng.uniform(0.5, 1.5)
    return {
        "q": np.tile(rng.uniform(1, 3, count), commodities),
        "A": sp.kron(sp.eye(commodities), incidence[:-1]).tocsr(),
        "b": supply[:, :-1].ravel(),
        "G": sp.kron(np.ones((1, commodities)), sp.eye(count)).tocsr(),
        "h": rng.uniform(0.5, 2, count),
    }


def transport(n: int = 100) -> dict:
    """From n places to n others, by distance."""
    rng = np.random.default_rng(0)
    places = rng.uniform(size=(2, n, 2))
    cost = np.linalg.norm(places[0][:, None] - places[1], axis=-1)
    a, b = rng.uniform(0.5, 1.5, size=(2, n))
    rows = sp.vstack([sp.kron(sp.eye(n), np.ones((1, n))), sp.kron(np.ones((1, n)), sp.eye(n))]).tocsr()
    return {"q": cost.ravel(), "A": rows[:-1], "b": np.concatenate([a, b * a.sum() / b.sum()])[:-1]}


def errors(d: dict, z: fr.KKTPoint) -> float:
    """The largest relative error: of the constraints, of the slopes' sign, of the gap."""
    G, h = d.get("G", sp.csr_matrix((0, len(d["q"])))), d.get("h", np.zeros(0))
    x, y = np.asarray(z.primal), np.asarray(z.dual_eq)
    multiplier = np.zeros(0) if z.dual_ineq is None else np.asarray(z.dual_ineq)
    slope = d["q"] + d["A"].T @ y + G.T @ multiplier
    violated = np.concatenate([d["A"] @ x - d["b"], np.maximum(G @ x - h, 0), np.minimum(x, 0)])
    primal, dual = d["q"] @ x, -d["b"] @ y - h @ multiplier
    found = (
        np.linalg.norm(violated) / (1 + np.linalg.norm(np.concatenate([d["b"], h]))),
        np.linalg.norm(np.minimum(slope, 0)) / (1 + np.linalg.norm(d["q"])),
        abs(primal - dual) / (1 + abs(primal) + abs(dual)),
    )
    return float(max(found))


def compare(name: str) -> None:
    """One program."""
    d = {"random": random, "flow": flow, "transport": transport}[name]()
    problem, x0 = fr.QuadraticProgram(**d, lower=0.0), jnp.zeros(len(d["q"]))

    def ours(tol: float) -> fr.Solution:
        return fr.solve(problem, x0, PrimalDualHybridGradient(), tol=tol, max_steps=200_000)

    compile_seconds = first_call(lambda: lambda: ours(1e6).x)
    tol = next(t for t in (10 ** (1 - k / 2) for k in itertools.count()) if errors(d, ours(t).x) <= ACCURACY)
    seconds = interleaved({"ours": lambda: ours(tol)}, repeats=5)["ours"]
    start = time.perf_counter()
    peer = scipy.optimize.linprog(
        d["q"], d.get("G"), d.get("h"), d["A"], d["b"], method="highs", options={"time_limit": 120}
    )
    highs = time.perf_counter() - start
    s = ours(tol)
    rows = problem.equations()[0].shape[0] + (0 if "h" not in d else len(d["h"]))  # pyright: ignore
    gap = (
        "" if peer.status else f", objective off by {abs(d['q'] @ np.asarray(s.x.primal) / peer.fun - 1):.1e}"
    )
    detail = (
        f"{rows} rows: ours {seconds:.2f} s, {int(s.steps)} steps, tol {tol:.1e}{gap}; HiGHS {highs:.2f} s"
    )
    report(
        f"{name}, time over HiGHS's", seconds / highs, BAR, detail + (" (time limit)" if peer.status else "")
    )
    print(f"        first call, compilation included: {compile_seconds:.1f} s")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("flow", "transport", "random"):
        compare(name)
