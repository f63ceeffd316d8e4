"""The lasso on a 2,000 x 5,000 design, dense and sparse, beside celer and skglm.

Run: ``python benchmarks/lasso.py [dense|correlated|0.01|0.05 ...]``, the last two densities of a sparse
design. Every solver runs with its loosest tolerance (a power of ten) that brings the objective within 1e-8,
relative, of the optimum; compilation (JAX's and Numba's) is over before the clock starts. The peers and
this library run in turns. Needs celer and skglm.
"""

import itertools
import sys
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from celer import Lasso as CelerLasso
from skglm import Lasso as SkglmLasso
from timing import first_call, interleaved, report

import frechet as fr
from frechet.solvers.coordinate.coordinate_descent import CoordinateDescent

jax.config.update("jax_enable_x64", True)
warnings.filterwarnings("ignore", module="celer|skglm|sklearn")
GAP, BAR = 1e-8, 1.5


def data(design: str, n: int = 2000, p: int = 5000) -> tuple:
    """A design, 100 true coefficients and targets of signal-to-noise ratio 3."""
    rng = np.random.default_rng(0)
    if design in ("dense", "correlated"):
        X = rng.standard_normal((n, p))
        if design == "correlated":
            # neighbouring columns correlate by one half
            for j in range(1, p):
                X[:, j] = 0.5 * X[:, j - 1] + np.sqrt(0.75) * X[:, j]
        X = np.asfortranarray(X)
    else:
        X = scipy.sparse.random(
            n, p, density=float(design), format="csc", rng=rng, data_rvs=rng.standard_normal
        )
    w = np.zeros(p)
    w[rng.choice(p, 100, replace=False)] = rng.standard_normal(100)
    signal = X @ w
    return X, signal + rng.standard_normal(n) * np.linalg.norm(signal) / np.sqrt(n) / 3


def loosest(solve: Callable, objective: Callable, optimum: float) -> Callable:
    """``solve`` with the largest power of ten for its tolerance that reaches the gap."""
    for k in itertools.count():
        tol = 10.0**-k
        if objective(np.asarray(solve(tol))) - optimum <= GAP * optimum:
            return lambda: solve(tol)
        if k == 16:
            raise RuntimeError("no tolerance reaches the gap")
    raise AssertionError


def compare(design: str) -> None:
    """One design at three penalties."""
    X, y = data(design)
    n, p = X.shape
    largest = np.abs(X.T @ y).max() / n
    loss, x0, solver = fr.losses.Squared(X, y), jnp.zeros(p), CoordinateDescent()
    compile_seconds = first_call(
        lambda: lambda: fr.solve(fr.Composite(loss, fr.convex.L1(largest / 5)), x0, solver).x
    )
    for divisor in (5, 20, 100):
        weight = largest / divisor
        problem = fr.Composite(loss, fr.convex.L1(weight))

        def objective(w: np.ndarray, weight: float = weight) -> float:
            return float(np.sum((y - X @ w) ** 2) / (2 * n) + weight * np.abs(w).sum())

        def ours(tol: float, problem: fr.Problem = problem, weight: float = weight) -> jax.Array:
            return fr.solve(problem, x0, solver, tol=tol * weight).x

        def celer(tol: float, weight: float = weight) -> np.ndarray:
            return CelerLasso(alpha=weight, tol=tol, fit_intercept=False).fit(X, y).coef_

        def skglm(tol: float, weight: float = weight) -> np.ndarray:
            return SkglmLasso(alpha=weight, tol=tol, fit_intercept=False).fit(X, y).coef_

        optimum = min(objective(np.asarray(ours(1e-9))), objective(celer(1e-14)))
        alternatives = {solve.__name__: loosest(solve, objective, optimum) for solve in (ours, celer, skglm)}
        times = interleaved(alternatives, repeats=9)
        detail = ", ".join(f"{name} {1e3 * t:.1f} ms" for name, t in times.items())
        ratio = times["ours"] / min(times["celer"], times["skglm"])
        report(f"{design}, lambda_max/{divisor}, time over the faster peer's", ratio, BAR, detail)
    print(f"        {design}, first call, compilation included: {compile_seconds:.1f} s")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("dense", "correlated", "0.01", "0.05"):
        compare(name)
