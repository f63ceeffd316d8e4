"""The host's loop, for long work: budgets, a trace, checkpoints, progress."""

import contextlib
import dataclasses
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import checkpoint as store
from frechet.core import loop
from frechet.core.calls import ORACLES
from frechet.core.problem import Problem
from frechet.core.solve import Solution, Stats, clock, default_tol, join, prepare, require_fit, split
from frechet.core.solver import Solver
from frechet.core.status import Ending, Status

CALLS = tuple(ORACLES)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What may be spent; whatever runs out first ends the run.

    Args:
        steps: solver steps.
        seconds: run time, without compilation and evaluation.
        tol: residual to reach; left out, the square root of the dtype's epsilon; 0 never stops early.
        calls: oracle calls by name, ``{"gradient": 1000}``. Checked between chunks of steps, so a run may
            spend a chunk more.

    Raises:
        ValueError: a bound is negative or an oracle unknown.

    Example:
        >>> Budget(seconds=10, calls={"gradient": 500}).seconds
        10
    """

    steps: int | None = None
    seconds: float | None = None
    tol: float | None = None
    calls: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        bounds = {"steps": self.steps, "seconds": self.seconds, "tol": self.tol, **self.calls}
        for name, bound in bounds.items():
            if bound is not None and not bound >= 0:
                raise ValueError(f"the budget's {name} must be at least 0, got {bound}")
        unknown = set(self.calls) - set(CALLS)
        if unknown:
            raise ValueError(f"unknown oracle {sorted(unknown)} in the budget; known are {', '.join(CALLS)}")

    def unbounded(self) -> bool:
        """Whether nothing but the tolerance ends a run."""
        return self.steps is None and self.seconds is None and not self.calls


class Trace:
    """What was measured along a run, a row a check.

    Columns: ``step``, ``seconds`` (run time, evaluation and compilation excluded), ``objective``,
    ``residual`` (of a problem with an optimality map), a ``calls_<oracle>`` for each oracle, and the
    problem's own measures as ``measure_<name>``.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()):
        self.rows: list[dict[str, float]] = [dict(r) for r in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row."""
        self.rows.append(dict(row))

    def columns(self) -> dict[str, np.ndarray]:
        """The columns as NumPy arrays, integers for counts and floats for the rest."""
        names = self.rows[0].keys() if self.rows else ()
        return {k: np.asarray([r[k] for r in self.rows]) for k in names}


class RunResult(NamedTuple):
    """The `Solution` of a run and the `Trace` along it."""

    solution: Solution
    trace: Trace


Callback = Callable[[Mapping[str, float], PyTree[Array]], bool | None]


def run(
    problem: Problem,
    x0: PyTree[Array],
    solver: Solver | None = None,
    *,
    budget: Budget | None = None,
    key: PRNGKeyArray | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 60.0,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
) -> RunResult:
    """Solves a problem from the host, measuring along the way.

    The compiled steps are those of `solve`; a step's key depends on its number alone, so a run that was
    interrupted and resumed gives the same iterates bit for bit. The objective and the residual are evaluated
    between chunks of steps that grow with the run (a twentieth of the steps so far), which keeps the cost of
    watching small; that time is not counted. Compilation happens before the clock starts.

    Ctrl-C ends the run with status ``interrupted`` and returns what there is.

    Args:
        problem: what to solve.
        x0: the start.
        solver: how; the kind's default when left out.
        budget: when to stop; 10,000 steps when left out.
        key: random key for stochastic solvers.
        checkpoint: a file to save to and, if it exists, to resume from. Written atomically.
        checkpoint_seconds: wall time between saves; it is always saved at the end.
        callbacks: called after each check with the trace's new row and ``x``; a true result ends the run.
        progress: whether to show a progress bar; by default where standard error is a terminal and the
            run takes more than two seconds.

    Returns:
        The solution and the trace.

    Raises:
        TypeError: as `solve`.
        ValueError: the checkpoint is of another problem, start, solver or key, or is damaged.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 2), fr.convex.L1(0.1))
        >>> solution, trace = fr.run(problem, jnp.zeros(3), budget=fr.Budget(steps=50))
        >>> bool(solution.status.converged), int(trace.columns()["step"][0])
        (True, 0)
    """
    budget = Budget() if budget is None else budget
    limit = 10_000 if budget.unbounded() else budget.steps
    mark = clock.mark()
    problem, x0, solver = prepare(problem, x0, solver)
    require_fit(problem, solver)
    key = jax.random.key(0) if key is None else key
    tol = default_tol(x0) if budget.tol is None else budget.tol
    chunk = _Chunk(problem, x0, solver, key)
    start = chunk.compile_begin()
    verdict = loop.unjudged(jnp.result_type(*[v.real.dtype for v in jax.tree.leaves(x0)]))
    chunk.compile(start, verdict)
    compiled = clock.since(mark)
    begun = time.perf_counter()
    done = chunk.begin()  # what a solver prepares is part of its run
    trace, seconds = Trace(), time.perf_counter() - begun
    path = None if checkpoint is None else Path(checkpoint)
    identity = _identity(problem, x0, solver, key) if path else ""
    if path and path.exists():
        (done, verdict), rows, seconds = store.load(path, identity, (done, verdict))
        trace = Trace(rows)
    saved = time.monotonic()
    # What has been measured, which is what is saved and returned: an interrupt in mid-chunk drops the chunk.
    latest, ahead = (done, verdict, seconds), (done, seconds)
    ending = Ending.RUNNING

    with _Meter(progress, budget, limit) as meter:
        try:
            if len(trace):
                ending = _reconsidered(trace.rows[-1], int(verdict.code), tol, limit, budget)
            while ending is Ending.RUNNING:
                done, seconds = ahead
                ahead_of_trace = not len(trace) or trace.rows[-1]["step"] < int(done.steps)
                if ahead_of_trace or not done.finite:
                    row, verdict = chunk.measure(done, latest[0].x, latest[1], tol, limit)
                    if ahead_of_trace:  # a chunk whose first step is not finite gets no further
                        trace.append({"step": int(done.steps), "seconds": seconds, **row})
                    latest = (done, verdict, seconds)
                    ending = Ending(int(verdict.code))
                    meter.show(trace.rows[-1])
                    stop = [c(trace.rows[-1], done.x) for c in callbacks]
                    if any(stop) and ending is Ending.RUNNING:
                        ending = Ending.INTERRUPTED
                    if ending is Ending.RUNNING and _spent(budget, trace.rows[-1]):
                        ending = Ending.BUDGET
                    if ending is not Ending.RUNNING:
                        break
                if path and time.monotonic() - saved > checkpoint_seconds:
                    store.save(path, identity, latest[:2], trace.rows, latest[2])
                    saved = time.monotonic()
                n = _length(solver.check_every, int(done.steps), limit, seconds, budget.seconds)
                start = time.perf_counter()
                done = chunk.advance(done, n)
                ahead = (done, seconds + time.perf_counter() - start)
        except KeyboardInterrupt:
            ending = Ending.INTERRUPTED
        done, verdict, seconds = latest
        if path:
            store.save(path, identity, (done, verdict), trace.rows, seconds)
    status = chunk.conclude(done, verdict._replace(code=jnp.asarray(ending, jnp.int32)))
    residual, calls = jnp.asarray(verdict.residual), done.state.calls
    return RunResult(
        Solution(done.x, status, residual, done.steps, calls, done.state, Stats(*compiled)), trace
    )


# No tolerance or budget changes these.
_FINAL = (Ending.NONFINITE, Ending.STALLED, Ending.INFEASIBLE, Ending.UNBOUNDED, Ending.NONMONOTONE)


def _reconsidered(
    row: Mapping[str, float], code: int, tol: float, limit: int | None, budget: Budget
) -> Ending:
    """Whether a resumed run has anything left to do under today's tolerance and budget."""
    if Ending(code) in _FINAL:
        return Ending(code)
    if row.get("residual", math.inf) <= tol:
        return Ending.CONVERGED
    if limit is not None and row["step"] >= limit:
        return Ending.MAX_STEPS
    return Ending.BUDGET if _spent(budget, row) else Ending.RUNNING


class _Chunk:
    """The compiled pieces of a run, compiled before the clock starts."""

    def __init__(self, problem: Problem, x0: PyTree[Array], solver: Solver, key: PRNGKeyArray):
        self.fixed, self.static = split((problem, solver, key))
        self.x0 = x0

    def compile_begin(self) -> loop.Progress:
        """Compiles the start; returns its shapes."""
        lowered = _begin.lower(self.static, self.fixed, self.x0)
        self._begin = lowered.compile()
        return lowered.out_info

    def compile(self, done: loop.Progress, verdict: loop.Verdict) -> None:
        self._advance = _advance.lower(self.static, self.fixed, done, np.asarray(0)).compile()
        self._measure = _measure.lower(
            self.static, self.fixed, done, done.x, verdict, 0.0, 0.0
        ).compile()  # fmt: skip

    def begin(self) -> loop.Progress:
        return jax.block_until_ready(self._begin(self.fixed, self.x0))

    def advance(self, done: loop.Progress, n: int) -> loop.Progress:
        return jax.block_until_ready(self._advance(self.fixed, done, np.asarray(n)))

    def measure(
        self, done: loop.Progress, previous: PyTree, verdict: loop.Verdict, tol: float, limit: int | None
    ) -> tuple[dict[str, float], loop.Verdict]:
        bounds = (float(tol), math.inf if limit is None else float(limit))
        row, verdict = jax.device_get(self._measure(self.fixed, done, previous, verdict, *bounds))
        return {k: v.item() for k, v in row.items()}, verdict

    def conclude(self, done: loop.Progress, verdict: loop.Verdict) -> Status:
        return _conclude(self.static, self.fixed, self.x0, done, verdict)


def _begin_flat(static: Any, fixed: list, x0: PyTree[Array]) -> loop.Progress:
    problem, solver, key = join(static, fixed)
    return loop.begin(problem, x0, solver, key)


def _advance_flat(static: Any, fixed: list, done: loop.Progress, n: Any) -> loop.Progress:
    problem, solver, key = join(static, fixed)
    return loop.advance(problem, solver, done, n, key)


def _measure_flat(
    static: Any,
    fixed: list,
    done: loop.Progress,
    previous: PyTree,
    verdict: loop.Verdict,
    tol: Any,
    limit: Any,
) -> tuple[dict[str, Scalar], loop.Verdict]:
    problem, solver, _ = join(static, fixed)
    now = loop.residual(problem, done.x).astype(verdict.residual.dtype)
    row = {"objective": problem.objective(done.x)}
    if problem.testable:
        row["residual"] = now
    row |= {f"calls_{k}": v for k, v in done.state.calls.asdict().items()}
    row |= {f"measure_{k}": v for k, v in problem.measures(done.x).items()}
    return row, loop.judge(problem, solver, verdict, done, previous, now, tol, limit)


_begin = jax.jit(_begin_flat, static_argnums=0)


def _conclude_flat(
    static: Any, fixed: list, x0: PyTree[Array], done: loop.Progress, verdict: loop.Verdict
) -> Status:
    return loop.conclude(join(static, fixed)[0], x0, done, verdict)


_advance = jax.jit(_advance_flat, static_argnums=0)
_measure = jax.jit(_measure_flat, static_argnums=0)
_conclude = jax.jit(_conclude_flat, static_argnums=0)


def _spent(budget: Budget, row: Mapping[str, float]) -> bool:
    if budget.seconds is not None and row["seconds"] >= budget.seconds:
        return True
    return any(row[f"calls_{name}"] >= bound for name, bound in budget.calls.items())


def _length(every: int, steps: float, limit: int | None, seconds: float, allowed: float | None) -> int:
    """Steps until the next check: a twentieth of those so far, at most about half a second, in the budget."""
    n = max(every, int(steps) // 20 // every * every)
    if seconds > 0 and steps > 0:
        rate = seconds / steps
        left = math.inf if allowed is None else max(allowed - seconds, 0.0)
        n = min(n, max(every, int(min(0.5, left) / rate)))
    return n if limit is None else min(n, limit - int(steps))


def _identity(problem: Problem, x0: PyTree[Array], solver: Solver, key: PRNGKeyArray) -> str:
    """A digest of what is solved and how; a checkpoint of something else is refused."""
    digest = hashlib.sha256()
    leaves, treedef = jax.tree.flatten((problem, x0, solver, jax.random.key_data(key)))
    digest.update(store.plain(str(treedef)).encode())
    for v in leaves:
        if isinstance(v, jax.Array | np.ndarray | np.generic | float):
            a = np.asarray(v)
            digest.update(f"{a.dtype}{a.shape}".encode() + a.tobytes())
        else:
            digest.update(store.plain(repr(v)).encode())
    return digest.hexdigest()


class _Meter(contextlib.AbstractContextManager):
    """A progress bar on standard error once a run takes more than two seconds, if Rich is there."""

    def __init__(self, wanted: bool | None, budget: Budget, limit: int | None):
        self.wanted = sys.stderr.isatty() if wanted is None else wanted
        self.budget, self.limit = budget, limit
        self.start: float = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def show(self, row: Mapping[str, float]) -> None:
        late = time.monotonic() - self.start > 2
        if self.bar is None and (not self.wanted or not late or not self._open()):
            return
        text = f"objective {row['objective']:.6g}"
        if "residual" in row:
            text = f"residual {row['residual']:.1e}  {text}"
        if self.bar is not None:
            self.bar.update(self.task, completed=self._share(row), text=text)

    def _open(self) -> bool:
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        except ImportError:
            self.wanted = False
            return False
        columns = (TextColumn("solving"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.bar.start()
        self.task = self.bar.add_task("", total=1.0, text="")
        return True

    def _share(self, row: Mapping[str, float]) -> float:
        """The share of the budget that is spent, of whatever is nearest its end."""
        b = self.budget
        spent = [(row["step"], self.limit), (row["seconds"], b.seconds)]
        spent += [(row[f"calls_{k}"], v) for k, v in b.calls.items()]
        return max((used / bound for used, bound in spent if bound), default=0.0)

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
