"""256 quadratic programs at once under ``vmap``, beside a Python loop over OSQP and one over Clarabel.

Run: ``python benchmarks/qp_batch.py``. Each program has 50 variables, 25 inequalities, 5 equations, bounds.
Every solver has the loosest tolerance (a power of ten) that brings the norm of the KKT residual, computed in
NumPy alike for all, to 1e-6 on every program; OSQP may polish. Compilation is over before the clock starts;
its time is printed. Setting up OSQP and Clarabel is counted, since each program has matrices of its own, but
not the assembly of their sparse matrices. Needs osqp and clarabel.
"""

from collections.abc import Callable, Iterator
from typing import Any

import clarabel
import jax
import jax.numpy as jnp
import numpy as np
import osqp
import scipy.sparse
from timing import first_call, interleaved, report

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic.admm import QuadraticADMM

jax.config.update("jax_enable_x64", True)
COUNT, N, INEQUALITIES, EQUATIONS = 256, 50, 25, 5
ACCURACY, BAR = 1e-6, 1.0


def programs() -> Iterator[tuple]:
    """P, q, A, b, G, h; bounds are -1 and 1."""
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        M = rng.normal(size=(N, N))
        A, G = rng.normal(size=(EQUATIONS, N)), rng.normal(size=(INEQUALITIES, N))
        inside = rng.uniform(-0.5, 0.5, N)
        h = G @ inside + rng.uniform(size=INEQUALITIES)
        yield M @ M.T / N + 0.1 * np.eye(N), rng.normal(size=N), A, A @ inside, G, h


def residual(data: tuple, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    """The norm of the KKT residual, bounds by projection."""
    P, q, A, b, G, h = data
    slope = P @ x + q + A.T @ y + G.T @ z
    parts = x - np.clip(x - slope, -1, 1), A @ x - b, np.minimum(z, h - G @ x)
    return float(np.linalg.norm(np.concatenate(parts)))


@jax.jit
def batch(data: list, tol: jax.Array) -> tuple:
    """All programs at once."""

    def one(*data: jax.Array) -> tuple:
        problem = fr.QuadraticProgram(*data, lower=-1.0, upper=1.0)
        solution = fr.solve(problem, jnp.zeros(N), QuadraticADMM(), tol=tol)
        return solution.x, solution.status.code

    return jax.vmap(one)(*data)


def stacked(data: tuple) -> tuple:
    """One program in OSQP's form."""
    P, q, A, b, G, h = data
    K = scipy.sparse.csc_matrix(np.vstack([A, G, np.eye(N)]))
    lower = np.concatenate([b, np.full(INEQUALITIES, -np.inf), -np.ones(N)])
    return scipy.sparse.csc_matrix(np.triu(P)), q, K, lower, np.concatenate([b, h, np.ones(N)])


def with_osqp(form: tuple, tol: float) -> tuple:
    """x, y, z by OSQP."""
    solver = osqp.OSQP()
    solver.setup(*form, verbose=False, eps_abs=tol, eps_rel=0.0, polishing=True, max_iter=100_000)
    found = solver.solve()
    return found.x, found.y[:EQUATIONS], found.y[EQUATIONS : EQUATIONS + INEQUALITIES]


def cones(data: tuple) -> tuple:
    """One program in Clarabel's form."""
    P, q, A, b, G, h = data
    K = scipy.sparse.csc_matrix(np.vstack([A, G, np.eye(N), -np.eye(N)]))
    sets = [clarabel.ZeroConeT(EQUATIONS), clarabel.NonnegativeConeT(INEQUALITIES + 2 * N)]  # pyright: ignore
    return scipy.sparse.csc_matrix(np.triu(P)), q, K, np.concatenate([b, h, np.ones(2 * N)]), sets


def with_clarabel(form: tuple, tol: float) -> tuple:
    """x, y, z by Clarabel."""
    settings: Any = clarabel.DefaultSettings()  # pyright: ignore
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    found = clarabel.DefaultSolver(*form, settings).solve()  # pyright: ignore
    z = np.array(found.z)
    return np.array(found.x), z[:EQUATIONS], z[EQUATIONS : EQUATIONS + INEQUALITIES]


def loosest(solve: Callable[[float], list], all_data: list[tuple]) -> Callable[[], list]:
    """``solve`` with the largest power of ten for its tolerance that is accurate on every program."""
    for k in range(2, 13):
        worst = max(residual(data, *found) for data, found in zip(all_data, solve(10.0**-k), strict=True))
        if worst <= ACCURACY:
            print(f"        {solve.__name__}: tolerance 1e-{k}, worst residual {worst:.1e}")
            return lambda: solve(10.0**-k)
    raise RuntimeError(f"no tolerance makes {solve.__name__} accurate")


def main() -> None:
    """Prints the two ratios."""
    data = list(programs())
    arrays = [jnp.asarray(np.stack(parts)) for parts in zip(*data, strict=True)]
    forms, conic = [stacked(d) for d in data], [cones(d) for d in data]

    def ours(tol: float) -> list:
        x, _ = batch(arrays, jnp.asarray(tol))
        return list(zip(*map(np.asarray, x), strict=True))

    def looped_osqp(tol: float) -> list:
        return [with_osqp(form, tol) for form in forms]

    def looped_clarabel(tol: float) -> list:
        return [with_clarabel(form, tol) for form in conic]

    print(f"        first call, compilation included: {first_call(lambda: lambda: ours(1e-6)):.1f} s")
    assert np.all(np.asarray(batch(arrays, jnp.asarray(ACCURACY))[1]) == Ending.CONVERGED)
    alternatives = {s.__name__: loosest(s, data) for s in (ours, looped_osqp, looped_clarabel)}
    times = interleaved(alternatives, repeats=9)
    detail = ", ".join(f"{name} {1e3 * t:.0f} ms" for name, t in times.items())
    for peer in ("looped_osqp", "looped_clarabel"):
        title = f"{COUNT} programs of {N} variables, time over {peer.removeprefix('looped_')}'s"
        report(title, times["ours"] / times[peer], BAR, detail)


if __name__ == "__main__":
    main()
