"""Claims of "Sparsity-constrained optimal transport" (Liu, Puigcerver, Blondel 2023, arXiv 2209.15466)."""

import contextlib
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.solvers.transport.network_simplex import pot
from frechet.solvers.transport.semi_dual import SemiDual, SemiDualBFGS
from frechet.solvers.transport.semismooth_newton import SemismoothNewton
from frechet.transport.quadratic import Quadratic, TopK
from frechet.transport.regulariser import Regulariser
from frechet.workbench.claims import Evidence, claim

SYSTEM = "sparse-ot"


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uniform random costs of 20 sources and 15 targets, and weights."""
    rng = np.random.default_rng(0)
    a, b, C = rng.random(20), rng.random(15), rng.random((20, 15))
    return C, a / a.sum(), b / b.sum()


def _problem(regulariser: Regulariser | None) -> fr.Transport:
    C, a, b = map(jnp.asarray, _data())
    return fr.Transport(C, a, b, regulariser)


def _solved(problem: fr.Transport, solver: Any = None, **options: Any) -> tuple[Any, float, np.ndarray]:
    """The solution, its dual value and its plan."""
    s = fr.solve(problem, problem.initial(), solver, **options)
    return s, -float(problem.value(s.x)), np.asarray(problem.plan(s.x))


def _relaxation(k: int, gamma: float) -> float:
    r"""The biconjugate's optimum as a conic program: $t^2 \le qz$, $z \le 1$, $\sum_i z_{ij} \le k$."""
    import cvxpy as cp

    C, a, b = _data()
    T, q, z = (cp.Variable(C.shape, nonneg=True) for _ in range(3))
    flat = lambda v: cp.vec(v, order="C")  # noqa: E731
    cone = cp.SOC(flat(q + z), cp.vstack([2 * flat(T), flat(q - z)]), axis=0)
    marginals: list[Any] = [cp.sum(T, axis=1) == a, cp.sum(T, axis=0) == b]
    sparse: list[Any] = [z <= 1, cp.sum(z, axis=0) <= k]
    value = cp.sum(cp.multiply(C, T)) + gamma / 2 * cp.sum(q)
    program = cp.Problem(cp.Minimize(value), [*marginals, *sparse, cone])
    optimum: Any = program.solve(solver=cp.CLARABEL)
    return float(optimum)


@claim(
    SYSTEM,
    "for k = 1 the maximum is that of transport without regularisation plus gamma |b|^2 / 2, to 1e-8",
    fast=False,
)
def unregularised() -> Evidence:
    C, a, b = _data()
    _, value, P = _solved(_problem(TopK(1)), SemiDualBFGS(), max_steps=1000)
    exact = pot().emd2(a, b, C) + b @ b / 2
    note = f"{value:.8f}, and {exact:.8f} by network simplex; {int((P > 0).sum(0).max())} entry a column"
    return Evidence.at_most(1e-8, abs(value - exact), note=note)


@claim(
    SYSTEM,
    "the maximum is the optimum of the biconjugate's problem, to 1e-7, falls with k, and from k = 5 on is "
    "that of quadratic regularisation: .141021 for gamma = 1, .120878 for .1",
    fast=False,
)
def relaxation() -> Evidence:
    rows = []
    for gamma, quadratic in ((1.0, 0.141021), (0.1, 0.120878)):
        before = np.inf
        for k in (1, 2, 3, 5, 20):
            problem = _problem(TopK(k, gamma))
            _, value, P = _solved(problem, max_steps=1000)
            conic = _relaxation(k, gamma)
            holds = abs(value - conic) <= 1e-7 and value <= before + 1e-12 and (P > 0).sum(0).max() <= k
            holds &= np.abs(P.sum(0) - _data()[2]).max() <= 1e-13
            if k >= 5:
                holds &= abs(value - quadratic) <= 1e-6 and np.abs(P.sum(1) - _data()[1]).sum() <= 5e-7
            before = value
            rows.append(
                {
                    "gamma": gamma,
                    "k": k,
                    "maximum": f"{value:.7f}",
                    "conic program": f"{conic:.7f}",
                    "entries a column": int((P > 0).sum(0).max()),
                    "error of rows": np.abs(P.sum(1) - _data()[1]).sum(),
                    "holds": holds,
                }
            )
    return Evidence.table(rows, note="columns have their mass to rounding; at kinks (k < 5) rows do not")


@claim(
    SYSTEM,
    "semi-dual and plan are POT's, to 1e-10, for k = 2, 3 at its potentials; the maximum is no lower",
    fast=False,
)
def peer() -> Evidence:
    C, a, b = _data()
    rows = []
    for k in (2, 3):
        problem = _problem(TopK(k))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints shapes
            plan, log = pot().smooth.smooth_ot_semi_dual(
                a, b, C.copy(), 1.0, reg_type="sparsity_constrained", max_nz=k, log=True
            )
        x = SemiDual(problem).potentials(jnp.asarray(log["alpha"]))
        value = -float(problem.value(x))
        error = float(np.max(np.abs(problem.plan(x) - plan)))
        # What POT maximises, from its plan: columns of it are the best ones for its potentials.
        theirs = log["alpha"] @ a - np.sum((log["alpha"][:, None] - C) * plan) + np.sum(plan**2) / 2
        best = _solved(problem, max_steps=1000)[1]
        holds = error <= 1e-10 and abs(value - theirs) <= 1e-10 and best >= theirs - 1e-12
        rows.append({"k": k, "plan": error, "value": value, "POT": theirs, "maximum": best, "holds": holds})
    return Evidence.table(rows, note="POT's search ends below the maximum, by 4e-5 and 5e-6")


@claim(
    SYSTEM,
    "sparser is less smooth: the semi-dual's gradient jumps by up to sqrt(2) max(b) / k, for k = m never",
    fast=False,
)
def smoothness() -> Evidence:
    _, a, b = _data()
    h, rng = 1e-3, np.random.default_rng(1)
    start = rng.normal(size=(4000, a.size)) / 10
    step = rng.normal(size=start.shape)
    step *= h / np.linalg.norm(step, axis=1, keepdims=True)
    rows, before = [], np.inf
    for k in (1, 2, 3, 5, a.size):
        problem = _problem(TopK(k))
        gradient = jax.jit(jax.vmap(lambda f, p=problem: SemiDual(p).value_and_gradient(f)[1]))
        change = jnp.linalg.norm(gradient(start + step) - gradient(jnp.asarray(start)), axis=1)
        largest, P = float(jnp.max(change)), _solved(problem, max_steps=1000)[2]
        # The least of k entries is at most the k-th part; besides jumps, slopes of one a column and unit.
        jump = np.sqrt(2) * np.max(b) / k if k < a.size else 0.0
        rows.append(
            {
                "k": k,
                "entries a column": (P > 0).sum(0).mean(),
                "largest change": largest,
                "over distance": largest / h,
                "holds": largest <= min(before * (1 + 1e-9), jump + h * b.size),
            }
        )
        before = largest
    rows[0]["holds"] &= rows[0]["largest change"] >= 0.95 * np.sqrt(2) * np.max(b)
    return Evidence.table(rows, note=f"of the gradient, between {len(start)} pairs of points {h:g} apart")


@claim(SYSTEM, "a plan of at most k entries a column is a best one for its own rows, whatever the potentials")
def own_rows() -> Evidence:
    problem = _problem(TopK(2))
    C, _, b = _data()
    f = np.random.default_rng(2).normal(size=20) / 10
    x = SemiDual(problem).potentials(jnp.asarray(f))
    P = np.asarray(problem.plan(x))
    worth = np.sum(P * C) + np.sum(P**2) / 2
    # A column of two entries at rows i, j: a minimum over the one number that is free, for every pair.
    z, bound = f[:, None] - C, 0.0
    for j in range(b.size):
        pairs = [(z[i, j], z[l, j]) for i in range(20) for l in range(i)]
        u, v = (np.array(w) for w in zip(*pairs, strict=True))
        t = np.clip(b[j] / 2 + (u - v) / 2, 0, b[j])
        bound += np.max(t * u + (b[j] - t) * v - (t**2 + (b[j] - t) ** 2) / 2)
    lower = f @ P.sum(1) - bound
    return Evidence.at_most(1e-12, abs(worth - lower), note="above the bound that every pair of rows gives")


@claim(
    SYSTEM, "semismooth Newton finds the quadratic plan, POT's to 1e-6, in fewer than 20 steps", fast=False
)
def newton() -> Evidence:
    C, a, b = _data()
    s, _, P = _solved(_problem(Quadratic()), SemismoothNewton(), tol=1e-12)
    theirs = pot().smooth.smooth_ot_dual(a, b, C, 1.0, reg_type="l2", numItermax=10_000, stopThr=1e-14)
    error, steps = float(np.max(np.abs(P - theirs))), int(s.steps)
    holds = bool(s.status.converged) and error <= 1e-6
    return Evidence(20, steps, holds and steps < 20, "≤", None, " steps", f"plans differ by {error:.1e}")
