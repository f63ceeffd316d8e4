"""Claims of Sinkhorn-Newton-Sparse (Tang et al. 2024, arXiv 2401.12253)."""

import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import frechet as fr
from frechet.core.status import Ending
from frechet.problems.transport import Potentials
from frechet.solvers.transport.sinkhorn_newton_sparse import SinkhornNewtonSparse
from frechet.workbench.claims import Evidence, claim

SYSTEM = "sns"


def _assignment(n: int, eta: float) -> fr.Transport:
    """Uniform random costs in [0, 1] between uniform weights, with epsilon = 1 / eta."""
    C = np.random.default_rng(0).uniform(size=(n, n))
    return fr.Transport(jnp.asarray(C), regulariser=fr.transport.Entropic(1 / eta, relative=False))


def _error(problem: fr.Transport, x: Potentials) -> jax.Array:
    rows, columns = problem.marginals(x)
    return jnp.sum(jnp.abs(rows - problem.a)) + jnp.sum(jnp.abs(columns - problem.b))


@jax.jit
def _sweep(problem: fr.Transport, x: Potentials) -> Potentials:
    f = problem.best_f(x.g)
    return Potentials(f, problem.best_g(f))


@jax.jit
def _sinkhorn(problem: fr.Transport, x: Potentials, tol: float, most: int) -> tuple[Potentials, Any]:
    """Sinkhorn's algorithm up to an error of the marginals, looked at every ten sweeps, and its sweeps."""
    go_on = lambda c: (_error(problem, c[0]) > tol) & (c[1] < most)  # noqa: E731
    ten = lambda c: (lax.fori_loop(0, 10, lambda _, x: _sweep(problem, x), c[0]), c[1] + 10)  # noqa: E731
    return lax.while_loop(go_on, ten, (x, jnp.zeros((), int)))


def _errors(problem: fr.Transport, entries: int | None, sweeps: int, steps: int) -> np.ndarray:
    """Errors of the marginals after Sinkhorn sweeps and each of some Newton steps without sweeps between."""
    x = _sinkhorn(problem, problem.initial(), 0.0, sweeps)[0]
    solver = SinkhornNewtonSparse(entries, sweeps=0, dropped=jnp.inf, start=0.0, newton_below=2.0)

    @jax.jit
    def run(problem: fr.Transport, x: Potentials) -> jax.Array:
        def turn(state: Any, _: None) -> tuple:
            state = solver.step(problem, state, key=jax.random.key(0))
            return state, _error(problem, state.x)

        return lax.scan(turn, solver.init(problem, x, key=jax.random.key(0)), length=steps)[1]

    return np.asarray([_error(problem, x), *run(problem, x)])


def _show(errors: np.ndarray) -> list[dict[str, Any]]:
    return [{"Newton steps": k, "error of the marginals": float(e)} for k, e in enumerate(errors)]


@claim(SYSTEM, "n = 200, eta = 500, 15 entries a row: 6 Newton steps after 20 sweeps reach 8e-13", fast=False)
def few_steps() -> Evidence:
    errors = _errors(_assignment(200, 500.0), 15, 20, 6)
    return Evidence.at_most(8e-13, errors[-1], note="error of the marginals, l1", rows=_show(errors))


@claim(
    SYSTEM, "with all entries convergence is quadratic: n = 100, eta = 50, from 1e-6 to below 1e-11 in a step"
)
def quadratic() -> Evidence:
    errors = _errors(_assignment(100, 50.0), None, 20, 3)
    if not 1e-7 < errors[0] < 1e-5:
        errors[1] = np.nan  # the statement is about a start of about 1e-6
    return Evidence.at_most(7e-12, errors[1], note="then at rounding level", rows=_show(errors))


@claim(
    SYSTEM,
    "n = 500, eta = 1200: 8 Newton steps to 9e-15 with 15 entries a row, a linear rate of 0.7 with 2",
    fast=False,
)
def density() -> Evidence:
    problem = _assignment(500, 1200.0)
    rows = []
    for entries, steps, bound in ((15, 8, 9e-15), (5, 12, 2e-12)):
        e = _errors(problem, entries, 20, steps)
        rows.append(
            {"entries a row": entries, "Newton steps": steps, "error": e[-1], "holds": e[-1] <= bound}
        )
    e = _errors(problem, 2, 20, 25)
    factor = float(np.exp(np.polyfit(np.arange(8, 26), np.log(e[8:]), 1)[0]))
    rows.append({"entries a row": 2, "Newton steps": 25, "error": e[-1], "factor a step": factor})
    rows[-1]["holds"] = 0.6 < factor < 0.8 and e[-1] > 1e-9
    note = "the largest entries of each row; the second takes 10 with the 2,500 largest of all"
    return Evidence.table(rows, note=note)


@claim(
    SYSTEM,
    "the plan of POT's sinkhorn_log at reg = 1 / eta, to 1e-8, where that has converged",
    fast=False,
)
def same_as_pot() -> Evidence:
    import ot

    problem = _assignment(40, 100.0)
    x = fr.solve(problem, problem.initial(), SinkhornNewtonSparse(), tol=1e-12).x
    a, b, C = (np.asarray(v) for v in (problem.a, problem.b, problem.cost.matrix()))
    settings = {"method": "sinkhorn_log", "numItermax": 100_000, "stopThr": 1e-13}
    plan = np.asarray(ot.sinkhorn(a, b, C, 1 / 100, **settings))
    error = float(np.max(np.abs(problem.plan(x) - plan)) / np.max(plan))
    return Evidence.at_most(1e-8, error, note="largest difference, relative to the largest entry")


@claim(SYSTEM, "off the best assignment a plan has at most 6 n^2 exp(-eta gap) of its mass", fast=False)
def sparsity() -> Evidence:
    n, rows = 6, []
    C = np.random.default_rng(0).uniform(size=(n, n))
    orders = list(itertools.permutations(range(n)))
    costs = np.array([C[range(n), order].mean() for order in orders])
    gap = float(np.diff(np.sort(costs)[:2])[0])
    # The theorem is about eta above (1 + 2 log n) / gap = 4.6 / gap.
    for eta in (5 / gap, 15 / gap, 25 / gap):
        problem = fr.Transport(jnp.asarray(C), regulariser=fr.transport.Entropic(1 / eta, relative=False))
        x = fr.solve(problem, problem.initial(), SinkhornNewtonSparse(), tol=1e-12).x
        off = np.array(problem.plan(x))
        off[range(n), orders[int(np.argmin(costs))]] = 0
        bound, mass = float(6 * n**2 * np.exp(-eta * gap)), float(np.sum(off))
        # Up to the tolerance of the solve.
        rows.append({"eta gap": eta * gap, "bound": bound, "mass": mass, "holds": mass <= bound + 1e-12})
    return Evidence.table(rows, note="the gap by trying all assignments")


@claim(
    SYSTEM,
    "where Sinkhorn takes thousands of sweeps, the same plan in 20 times fewer and less time, n = 1,000",
    fast=False,
)
def fewer_iterations() -> Evidence:
    problem = _assignment(1000, 2000.0)
    x0, solver = problem.initial(), SinkhornNewtonSparse()

    def timed(run: Any) -> tuple[Any, float]:
        jax.block_until_ready(run(1))  # compiles
        begun = time.perf_counter()
        return jax.block_until_ready(run(100_000)), time.perf_counter() - begun

    (slow, sweeps), slowly = timed(lambda most: _sinkhorn(problem, x0, 1e-11, most))
    ours, quickly = timed(lambda most: fr.solve(problem, x0, solver, tol=1e-11, max_steps=most))
    off = float(jnp.max(jnp.abs(problem.plan(ours.x) - problem.plan(slow))))
    fewer, faster = int(sweeps) / int(ours.steps), slowly / quickly
    counts = f"{int(ours.steps)} steps for {int(sweeps)} sweeps"
    note = f"{counts}, {faster:.3g} times faster; plans differ by {off:.1e}"
    holds = fewer >= 20 and faster > 1 and off <= 1e-9 and int(sweeps) >= 1000
    return Evidence(20.0, fewer, holds, "≥", unit="times", note=note)


@claim(
    SYSTEM,
    "no NaN down to an epsilon of 1e-4 of the mean cost, in single precision too",
    fast=False,
)
def small_epsilon() -> Evidence:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(300, 2)), rng.uniform(size=(300, 2))
    costs = {
        "squared distances": np.sum((x[:, None] - y) ** 2, -1),
        "distances": np.sum(np.abs(x[:, None] - y), -1),
        "random": rng.uniform(size=(300, 300)),
    }
    a, b = (w / w.sum() for w in rng.uniform(0.5, 1.5, (2, 300)))
    rows = []
    for (name, C), dtype, epsilon in itertools.product(costs.items(), ("float64", "float32"), (1e-2, 1e-4)):
        cost, *weights = (jnp.asarray(v, dtype) for v in (C, a, b))
        problem = fr.Transport(cost, *weights, regulariser=fr.transport.Entropic(epsilon))
        s = fr.solve(problem, problem.initial(), SinkhornNewtonSparse(), tol=1e-9, max_steps=1000)
        error, ending = float(_error(problem, s.x)), Ending(int(s.status.code))
        row = {"cost": name, "dtype": dtype, "epsilon": epsilon, "ending": ending.name.lower()}
        rows.append({**row, "steps": int(s.steps), "error of the marginals": error})
        # In single precision potentials of the size of the costs are off by rounding, in units of epsilon.
        reached = 1e-9 if dtype == "float64" else 4 * np.finfo(np.float32).eps * (10 + 1 / epsilon)
        rows[-1]["holds"] = error <= reached and ending in (Ending.CONVERGED, Ending.STALLED)
    return Evidence.table(rows)
