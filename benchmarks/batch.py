"""A batch whose slowest members need fifty times the steps of the others.

Run: ``python benchmarks/batch.py``. A thousand least-squares problems, ten of them badly conditioned, beside
the 990 others alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved, report

import frechet as fr

jax.config.update("jax_enable_x64", True)
MEMBERS, SLOW, ROWS, UNKNOWNS = 1000, 10, 200, 20


def designs(slow: np.ndarray) -> np.ndarray:
    """Matrices with singular values from 1 down to 0.5, and further down for the slow members."""
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.normal(size=(MEMBERS, ROWS, UNKNOWNS)))[0]
    V = np.linalg.qr(rng.normal(size=(MEMBERS, UNKNOWNS, UNKNOWNS)))[0]
    lowest = np.where(slow, 0.05, 0.5)
    return (U * np.geomspace(np.ones(MEMBERS), lowest, UNKNOWNS, axis=1)[:, None, :]) @ V


def main() -> None:
    slow = np.random.default_rng(1).permutation(MEMBERS) < SLOW
    X = designs(slow)
    y = X @ np.ones(UNKNOWNS) + 0.1 * np.random.default_rng(2).normal(size=(MEMBERS, ROWS))
    solver = fr.solvers.GradientDescent(step_size=1.0)

    def batch(compact: bool):
        def one(X: jax.Array, y: jax.Array) -> tuple:
            problem = fr.Composite(lambda w: 0.5 * jnp.sum((X @ w - y) ** 2))
            solution = fr.solve(problem, jnp.zeros(UNKNOWNS), solver, tol=1e-6, compact=compact)
            return solution.x, solution.status, solution.steps

        return jax.jit(jax.vmap(one))

    everyone, fast = (jnp.asarray(X), jnp.asarray(y)), (jnp.asarray(X[~slow]), jnp.asarray(y[~slow]))
    plain, compact = batch(False), batch(True)
    (x, status, steps), (other, _, _) = compact(*everyone), plain(*everyone)
    assert bool(jnp.all(status.converged)) and bool(jnp.allclose(x, other, rtol=0, atol=1e-12))
    more = float(jnp.min(steps[slow]) / jnp.median(steps[~slow]))
    times = interleaved(
        {"all": lambda: compact(*everyone), "plain": lambda: plain(*everyone), "fast": lambda: plain(*fast)}
    )
    detail = (
        f"{times['all'] * 1e3:.1f} ms and {times['fast'] * 1e3:.1f} ms; the slow need {more:.0f} times the "
        f"steps; without compact {times['plain'] / times['fast']:.1f} times as long"
    )
    report("1,000 problems, ten of them slow, over the other 990", times["all"] / times["fast"], 2, detail)


if __name__ == "__main__":
    main()
