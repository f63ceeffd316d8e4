"""Runs one task in the process it is called in and returns its record; it never raises."""

import functools
import platform
import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frechet.workbench.comparing.loading import (
    Loaded,
    initial,
    last_line,
    load_problem,
    load_solvers,
)
from frechet.workbench.comparing.plan import RunSpec
from frechet.workbench.comparing.record import Record
from frechet.workbench.errors import UserError

POLISH = "(polish)"
"""The solver name of a task that sharpens the reference optimum; no solver of anybody's is called so."""


@dataclass(frozen=True)
class Task:
    """A run, and for polishing the point to start from.

    Attributes:
        spec: what to run.
        start: flat starting point of a polish by the kind's default solver; None for a run of the comparison.
    """

    spec: RunSpec
    start: np.ndarray | None = field(default=None, compare=False)


def execute(task: Task) -> Record:
    """The record of one run; an exception becomes a failed record that says what it was."""
    import jax

    try:
        with jax.enable_x64(task.spec.precision == "float64"):
            return _execute(task)
    except UserError as error:
        return Record.failure(task.spec, str(error))
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        return Record.failure(task.spec, f"{last_line(error)} (at {where})")


def forget() -> None:
    """Drops compiled programs: every solver's first run then compiles alike, and memory stays flat."""
    import jax

    jax.clear_caches()


# A unit's runs share the problem and the solver: made anew, they would be compiled anew.
@functools.lru_cache(maxsize=1)
def _problem(reference: str, precision: str) -> tuple[Loaded, float]:
    """The problem and its objective at the start."""
    loaded = load_problem(reference)
    return loaded, float(loaded.problem.objective(loaded.problem.start(loaded.x0)))


@functools.lru_cache(maxsize=1)
def _solver(reference: str, name: str, precision: str) -> Any:
    return load_solvers([reference])[name][1]


def _execute(task: Task) -> Record:
    import jax
    from jax.flatten_util import ravel_pytree

    import frechet as fr

    spec = task.spec
    loaded, start = _problem(spec.problem_reference, spec.precision)
    x0, solver = loaded.problem.start(loaded.x0), None
    if task.start is None:
        _same_problem(spec, start)
        solver = _solver(spec.solver_reference, spec.solver, spec.precision)
        if spec.settings:
            solver = solver.tuned(**spec.settings)
        drawn = initial(loaded.problem, spec.seed)
        x0 = x0 if drawn is None else loaded.problem.start(drawn)
    else:
        x0 = ravel_pytree(x0)[1](jax.numpy.asarray(task.start, ravel_pytree(x0)[0].dtype))
    calls = {k: v for k, v in spec.budget.items() if k not in ("seconds", "steps")}
    steps = spec.budget.get("steps")
    budget = fr.Budget(
        steps=None if steps is None else int(steps),
        seconds=spec.budget.get("seconds"),
        tol=spec.tol,
        calls={k: int(v) for k, v in calls.items()},
    )
    result = fr.run(loaded.problem, x0, solver, budget=budget, key=jax.random.key(spec.seed))
    solution = result.solution
    return Record(
        spec=spec,
        status=solution.status.name,
        columns={name: np.asarray(column) for name, column in result.trace.columns().items()},
        reason=str(solution.status),
        residual=float(solution.residual),
        steps=int(solution.steps),
        compile_seconds=float(solution.stats.compile_seconds),
        x=np.asarray(ravel_pytree(solution.x)[0]) if loaded.problem.testable else np.zeros(0),
        parameter_bytes=_bytes(solution.x),
        state_bytes=_bytes(solution.state) - _bytes((solution.state.x, solution.state.calls)),
        environment=_here(),
    )


def _bytes(tree: Any) -> int:
    import jax

    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _same_problem(spec: RunSpec, objective: float) -> None:
    """Unseeded randomness makes another problem in every process, and a comparison of nothing."""
    planned = spec.start_objective
    if planned is not None and not np.isclose(objective, planned, rtol=1e-3, atol=1e-6):
        raise UserError(
            f"{spec.problem} is another problem each time it is made (objective at x0 {objective:g}, "
            f"before {planned:g}); "
            "fix the seed of its random numbers"
        )


@functools.cache
def _here() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        "machine": platform.machine(),
    }
