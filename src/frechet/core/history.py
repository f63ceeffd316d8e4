"""What a compiled loop saw along the way: a table of fixed size, thinned as the run grows."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from frechet.core.loop import Progress, Verdict
from frechet.core.problem import Problem
from frechet.core.solver import Solver


class History(eqx.Module):
    """Rows measured at residual checks, evenly spread over the whole run; the last is the end of it.

    Where a run has more checks than there are rows, every other row is dropped and from then on every
    other check is written down, as often as it takes. Between half of the rows and all of them are in use
    then; unused ones have step -1 and NaN.

    Attributes:
        step: solver steps taken, ascending; -1 where unused.
        objective: ``problem.objective(x)``.
        residual: Euclidean norm of ``problem.optimality(x)``.
    """

    step: Int[Array, "*batch rows"]
    objective: Float[Array, "*batch rows"]
    residual: Float[Array, "*batch rows"]


class Recorder(NamedTuple):
    """A history being written, a row every ``stride`` checks."""

    history: History
    stride: Int[Array, ""]


def blank(rows: int, dtype) -> Recorder:
    """A recorder with nothing written."""
    nan = jnp.full(rows, jnp.nan, dtype)
    return Recorder(History(jnp.full(rows, -1, int), nan, nan), jnp.ones((), jnp.int32))


def record(
    recorder: Recorder, problem: Problem, solver: Solver, progress: Progress, verdict: Verdict
) -> Recorder:
    """Writes down the check that gave ``verdict``, if it is its turn."""
    check = verdict.checks - 1
    full = check >= recorder.history.step.size * recorder.stride
    recorder = jax.lax.cond(full, _thinned, lambda r: r, recorder)

    def write(r: Recorder) -> Recorder:
        return _written(r, check // r.stride, solver.objective(problem, progress.state), progress, verdict)

    # The objective is evaluated only where it is kept, so that watching a long run costs nothing.
    return jax.lax.cond(check % recorder.stride == 0, write, lambda r: r, recorder)


def close(recorder: Recorder, problem: Problem, progress: Progress, verdict: Verdict) -> History:
    """The history with the last check in it."""
    row = -(-(verdict.checks - 1) // recorder.stride)
    row = jnp.minimum(row, recorder.history.step.size - 1)
    # The last iterate may lie past the last good one.
    return _written(recorder, row, problem.objective(progress.x), progress, verdict).history


def _written(r: Recorder, row: Array, objective: Scalar, progress: Progress, verdict: Verdict) -> Recorder:
    h, objective = r.history, jax.lax.stop_gradient(objective)
    return r._replace(
        history=History(
            h.step.at[row].set(progress.steps),
            h.objective.at[row].set(objective.astype(h.objective.dtype)),
            h.residual.at[row].set(verdict.residual),
        )
    )


def _thinned(r: Recorder) -> Recorder:
    def every_other(v: Array) -> Array:
        kept, empty = v[::2], -1 if jnp.issubdtype(v.dtype, jnp.integer) else jnp.nan
        return jnp.full_like(v, empty).at[: kept.size].set(kept)

    return Recorder(jax.tree.map(every_other, r.history), 2 * r.stride)
