"""The convex quadratic programs with linear constraints that sif2jax has, up to 700 variables.

Run: ``python benchmarks/quadratic.py [NAME ...]``. Float64, each solver with its default settings but for a
tolerance of 1e-9 (OSQP: with polishing). Printed are the norms of the KKT residuals, computed in NumPy alike
for all, and the difference from Clarabel's objective, relative above 1. Needs clarabel, osqp, sif2jax.
"""

import sys
from typing import Any, NamedTuple

import clarabel
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import osqp  # noqa: E402
import scipy.sparse  # noqa: E402
import sif2jax  # noqa: E402
from timing import report  # noqa: E402

import frechet as fr  # noqa: E402

LARGEST, TOLERANCE, ACCURACY = 700, 1e-9, 1e-6


class Program(NamedTuple):
    """P, q, A, b, G, h, lower, upper."""

    P: np.ndarray
    q: np.ndarray
    A: np.ndarray
    b: np.ndarray
    G: np.ndarray
    h: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def objective(self, x: np.ndarray) -> float:
        return float(0.5 * x @ self.P @ x + self.q @ x)

    def residual(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
        """The norm of the KKT residual, bounds by projection."""
        slope = self.P @ x + self.q + self.A.T @ y + self.G.T @ z
        parts = x - np.clip(x - slope, self.lower, self.upper), self.A @ x - self.b
        return float(np.linalg.norm(np.concatenate([*parts, np.minimum(z, self.h - self.G @ x)])))


def programs(names: list[str]) -> dict[str, Program]:
    """Those that are convex quadratic programs."""
    found = {}
    for problem in sorted(sif2jax.constrained_quadratic_problems, key=lambda p: p.name):
        if np.size(problem.y0) > LARGEST or (names and problem.name not in names):
            continue
        f, zero = lambda x, p=problem: p.objective(x, p.args), jnp.zeros(np.size(problem.y0))

        def rows(k: int, p: Any = problem, zero: jax.Array = zero) -> tuple[np.ndarray, np.ndarray]:
            if p.constraint(zero)[k] is None:
                return np.zeros((0, zero.size)), np.zeros(0)
            of = lambda x: p.constraint(x)[k]  # noqa: E731
            return np.asarray(jax.jacfwd(of)(zero)), np.asarray(of(zero))

        (A, a), (G, g) = rows(0), rows(1)
        P, q = np.asarray(jax.hessian(f)(zero)), np.asarray(jax.grad(f)(zero))
        bounds = problem.bounds or (jnp.full(zero.size, -jnp.inf), jnp.full(zero.size, jnp.inf))
        # Inequalities are there at least zero.
        program = Program(P, q, A, -a, -G, g, *map(np.asarray, bounds))
        point = np.random.default_rng(0).normal(size=zero.size)
        linear = all(
            v is None or np.allclose(v, M @ point + c, rtol=1e-10, atol=1e-10)
            for v, M, c in zip(problem.constraint(jnp.asarray(point)), (A, G), (a, g), strict=True)
        )
        quadratic = np.isclose(f(jnp.asarray(point)) - f(zero), program.objective(point), rtol=1e-10)
        convex = np.linalg.eigvalsh(P)[0] >= -1e-10 * max(1.0, np.abs(P).max())
        if linear and quadratic and convex:
            found[problem.name] = program
    return found


def ours(solver: fr.Solver, p: Program) -> tuple:
    """x, y, z by one of this library's solvers."""

    @jax.jit  # where redundant equations pass
    def solve(p: Program) -> fr.KKTPoint:
        problem = fr.QuadraticProgram(*p)
        return fr.solve(problem, jnp.zeros(p.q.size), solver, tol=TOLERANCE, differentiate="none").x

    point = solve(p)
    duals = (np.zeros(0) if v is None else np.asarray(v) for v in (point.dual_eq, point.dual_ineq))
    return np.asarray(point.primal), *duals


def stacked(p: Program) -> tuple[Any, Any, np.ndarray]:
    """P and all rows, sparse, and which bounds there are."""
    limited = np.isfinite(p.lower) | np.isfinite(p.upper)
    rows = np.vstack([p.A, p.G, np.eye(p.q.size)[limited]])
    return scipy.sparse.csc_matrix(np.triu(p.P)), scipy.sparse.csc_matrix(rows), limited


def by_osqp(p: Program) -> tuple:
    """x, y, z by OSQP."""
    P, rows, limited = stacked(p)
    lower = np.concatenate([p.b, np.full(p.h.size, -np.inf), p.lower[limited]])
    upper = np.concatenate([p.b, p.h, p.upper[limited]])
    solver = osqp.OSQP()
    settings = {"eps_abs": TOLERANCE, "eps_rel": TOLERANCE, "polishing": True, "max_iter": 100_000}
    solver.setup(P, p.q, rows, lower, upper, verbose=False, **settings)
    found = solver.solve()
    return found.x, *np.split(found.y, [p.b.size, p.b.size + p.h.size])[:2]


def by_clarabel(p: Program) -> tuple:
    """x, y, z by Clarabel."""
    below, above = np.isfinite(p.lower), np.isfinite(p.upper)
    eye = np.eye(p.q.size)
    rows = np.vstack([p.A, p.G, -eye[below], eye[above]])
    right = np.concatenate([p.b, p.h, -p.lower[below], p.upper[above]])
    cones = [clarabel.ZeroConeT(p.b.size), clarabel.NonnegativeConeT(right.size - p.b.size)]  # pyright: ignore
    settings: Any = clarabel.DefaultSettings()  # pyright: ignore
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    P, rows = scipy.sparse.csc_matrix(np.triu(p.P)), scipy.sparse.csc_matrix(rows)
    found = clarabel.DefaultSolver(P, p.q, rows, right, cones, settings).solve()  # pyright: ignore
    return np.array(found.x), *np.split(np.array(found.z), [p.b.size, p.b.size + p.h.size])[:2]


def main() -> None:
    """Prints the table and the shares that miss the accuracy."""
    solvers = {
        "interior point": lambda p: ours(fr.solvers.QuadraticInteriorPoint(), p),
        "ADMM": lambda p: ours(fr.solvers.QuadraticADMM(), p),
        "Clarabel": by_clarabel,
        "OSQP": by_osqp,
    }
    missed = dict.fromkeys(solvers, 0)
    all_programs = programs(sys.argv[1:])
    print(f"{'':10}{'n':>6}" + "".join(f"{name:>24}" for name in solvers))
    for name, p in all_programs.items():
        found = {k: solve(p) for k, solve in solvers.items()}
        best = p.objective(found["Clarabel"][0])
        row = ""
        for k, point in found.items():
            residual = p.residual(*point)
            missed[k] += not residual <= ACCURACY
            row += f"{residual:12.1e}{(p.objective(point[0]) - best) / max(1, abs(best)):12.1e}"
        print(f"{name:10}{p.q.size:6d}{row}", flush=True)
    for k, count in missed.items():
        report(
            f"{k}, share of {len(all_programs)} with a residual above 1e-6", count / len(all_programs), 0.1
        )


if __name__ == "__main__":
    main()
