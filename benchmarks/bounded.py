"""LBFGSB against SciPy's L-BFGS-B on the bounded CUTEst problems that sif2jax offers, up to 200 variables.

Float64, each from the problem's own start with ten pairs of history. SciPy is run with its tests of the
objective's decrease and of the gradient all but switched off, `fr.solve` with its default tolerance.
Compared are the objectives at the end, and how many evaluations (a value with its gradient) each needs to
come within 1e-8 (relative, absolute below 1) of the worse of the two. Where they end in different minima, a
lower one than SciPy's counts as reached.

Names on the command line choose among the problems.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy.optimize  # noqa: E402
import sif2jax  # noqa: E402
from timing import report  # noqa: E402

import frechet as fr  # noqa: E402

LARGEST, ACCURACY, MOST_STEPS = 200, 1e-8, 5_000
solver = fr.solvers.LBFGSB()


class Outcome(NamedTuple):
    """Objectives at the end and evaluations to the common target."""

    name: str
    size: int
    ours: float
    theirs: float
    our_evaluations: int
    their_evaluations: int
    status: str

    @property
    def agrees(self) -> bool:
        return self.ours <= self.theirs + ACCURACY * max(1.0, abs(self.theirs))

    @property
    def same_minimum(self) -> bool:
        return abs(self.ours - self.theirs) <= ACCURACY * max(1.0, abs(self.theirs))


def problems() -> list[Any]:
    """Bounded problems by name, of at most so many variables."""
    both = (*sif2jax.bounded_minimisation_problems, *sif2jax.bounded_quadratic_problems)
    by_name = {p.name: p for p in both if np.size(p.y0) <= LARGEST}
    return [by_name[name] for name in sorted(by_name)]


def scipy_run(value_and_gradient: Callable, x0: Any, lower: Any, upper: Any) -> tuple[float, np.ndarray]:
    """The final objective and the values in the order of evaluation."""
    values: list[float] = []

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(x)
        values.append(float(value))
        return values[-1], np.asarray(gradient)

    limits = {"maxcor": 10, "ftol": 0.0, "gtol": 1e-9, "maxfun": 30_000, "maxiter": MOST_STEPS}
    bounds = scipy.optimize.Bounds(np.asarray(lower), np.asarray(upper))
    with np.errstate(all="ignore"):
        result = scipy.optimize.minimize(
            fun, np.asarray(x0), jac=True, bounds=bounds, method="L-BFGS-B", options=limits
        )
    return float(result.fun), np.asarray(values)


@jax.jit
def evaluations_to(problem: fr.Composite, x0: Any, target: Any) -> Any:
    """Evaluations until an iterate lies at the target, or after as many as make no difference."""
    key = jax.random.key(0)
    go_on = lambda s: (s.value > target) & (s.calls.value < 30_000)  # noqa: E731
    start = solver.init(problem, x0, key=key)
    return jax.lax.while_loop(go_on, lambda s: solver.step(problem, s, key=key), start).calls.value


def compare(p: Any) -> Outcome:
    x0 = jnp.asarray(p.y0, float)
    lower, upper = (jnp.broadcast_to(jnp.asarray(b, float), x0.shape) for b in p.bounds)
    problem = fr.Bounded(lambda x: p.objective(x, p.args), lower, upper).lifted(x0)
    theirs, values = scipy_run(jax.jit(lambda x: problem.value_and_gradient(x)), x0, lower, upper)
    solution = fr.solve(problem, x0, solver, max_steps=MOST_STEPS)
    ours = float(problem.value(solution.x))
    worse = max(ours, theirs)
    target = worse + ACCURACY * max(1.0, abs(worse))
    their_evaluations = int(np.argmax(values <= target)) + 1
    our_evaluations = int(evaluations_to(problem, x0, target))
    return Outcome(p.name, x0.size, ours, theirs, our_evaluations, their_evaluations, solution.status.name)


def main() -> None:
    outcomes = []
    for p in problems():
        if sys.argv[1:] and p.name not in sys.argv[1:]:
            continue
        o = compare(p)
        outcomes.append(o)
        mark = "      " if o.same_minimum else ("lower " if o.agrees else "HIGHER")
        print(
            f"{mark} {o.name:10} n {o.size:3}  f {o.ours:.12g} / {o.theirs:.12g}  evaluations "
            f"{o.our_evaluations} / {o.their_evaluations}  {o.status}",
            flush=True,
        )
        jax.clear_caches()
    missed = [o.name for o in outcomes if not o.agrees]
    share = 100 * len(missed) / len(outcomes)
    same = sum(o.same_minimum for o in outcomes)
    report(
        "LBFGSB: % of problems not within 1e-8 of SciPy's objective",
        share,
        5.0,
        f"{len(outcomes)} problems, {same} with the same objective, missed: {', '.join(missed) or 'none'}",
    )
    ratios = [o.our_evaluations / o.their_evaluations for o in outcomes if o.agrees]
    quartiles = np.percentile(ratios, [25, 75])
    report(
        "LBFGSB: evaluations / SciPy, median",
        float(np.median(ratios)),
        1.5,
        f"quartiles {quartiles[0]:.2f} and {quartiles[1]:.2f}, largest {max(ratios):.1f}",
    )


if __name__ == "__main__":
    main()
