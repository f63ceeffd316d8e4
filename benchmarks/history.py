"""What keeping a history on the device costs.

Run: ``python benchmarks/history.py``. The same solves with and without ``history=100``, in turns, for methods
that are checked every ten steps and one that is checked at each.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from timing import report

import frechet as fr

jax.config.update("jax_enable_x64", True)


P = 100
_rng = np.random.default_rng(0)
_X = _rng.normal(size=(4000, P)) * np.geomspace(1, 0.003, P)
DATA = jnp.asarray(_X), jnp.asarray((_X @ _rng.normal(size=P) + _rng.normal(size=4000) > 0).astype(float))


def ratio(solver: fr.Solver, make: Callable, tol: float, rounds: int) -> tuple[float, float, str]:
    """Median over rounds of the time with a history over that without, the two in changing order."""

    def solve(history: int | None):
        return jax.jit(lambda X, y: fr.solve(make(X, y), jnp.zeros(P), solver, tol=tol, history=history))

    alternatives = {"with": solve(100), "without": solve(None)}
    kept = alternatives["with"](*DATA)
    assert np.array_equal(kept.x, alternatives["without"](*DATA).x)

    def seconds(call) -> float:
        # Processor time: a ratio this near to one drowns in what else the machine does.
        start = time.process_time()
        jax.block_until_ready(call(*DATA).x)
        return time.process_time() - start

    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for round in range(rounds):
        for name in sorted(alternatives, reverse=round % 2 == 0):
            times[name].append(seconds(alternatives[name]))
    ratios = np.divide(times["with"], times["without"])
    used = int(jnp.sum(kept.history.step >= 0))
    detail = (
        f"{np.median(times['without']) * 1e3:.1f} ms, {int(kept.steps)} steps, {used} rows; "
        f"fastest over fastest {min(times['with']) / min(times['without']):.3f}"
    )
    return float(np.median(ratios)), 1.03, detail


def main() -> None:
    def lasso(X, y):
        return fr.Composite(fr.losses.Logistic(X, y), fr.convex.L1(1e-4))

    def ridge(X, y):
        loss = fr.losses.Logistic(X, y)
        return fr.Composite(lambda w: loss(w) + 1e-4 * w @ w)

    report("history of FISTA", *ratio(fr.solvers.FISTA(), lasso, 1e-8, 21))
    report("history of gradient descent", *ratio(fr.solvers.GradientDescent(), ridge, 1e-5, 21))
    report("history of Newton-CG", *ratio(fr.solvers.NewtonCG(), ridge, 1e-8, 61))


if __name__ == "__main__":
    main()
