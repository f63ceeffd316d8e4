"""`compare`: problems x solvers x seeds, run side by side, kept a file a run, reported on one page."""

import os
import shlex
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from frechet.workbench.comparing import engines
from frechet.workbench.comparing.environment import describe
from frechet.workbench.comparing.live import Progress
from frechet.workbench.comparing.plan import Plan, RunSpec, make_plan, show_budget
from frechet.workbench.comparing.profile import Reference
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.reference import best_run, polish_task, reference
from frechet.workbench.comparing.report import write
from frechet.workbench.comparing.result import Comparison
from frechet.workbench.comparing.runner import POLISH, Task
from frechet.workbench.comparing.store import Store
from frechet.workbench.errors import UserError


def compare(
    problems: str | Sequence[str],
    solvers: str | Sequence[str] | None = None,
    *,
    budget: str | float = "10s",
    seeds: int = 3,
    tol: float | None = 1e-6,
    out: str | os.PathLike[str] = "comparison",
    engine: str = "local",
    precision: str = "float64",
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Runs every solver that fits on every problem and writes the report.

    Each run is kept in a Parquet file named by a hash of what was run, written whole or not at all. The
    same call again, after a kill say, repeats no finished run; with more solvers or seeds it runs what is
    new. Failed runs are tried again.

    Args:
        problems: names from the suite, or ``file.py:function`` where the function returns
            ``(problem, x0)``, a suite ``Case``, or a problem with ``initial(key)``.
        solvers: registered names, ``pkg.module:Name`` or ``file.py:Name`` of a `Solver` of your own; None
            for every registered one that fits.
        budget: what a run may spend: seconds, or ``"10s"``, ``"500steps"``, ``"1000gradient"``, or several
            with commas, the first to be spent counting.
        seeds: runs of every pair, with seeds 0, 1, ...
        tol: the residual at which a run is done; None for the square root of the precision's epsilon.
        out: the folder for results; made if it is not there.
        engine: ``"local"`` worker processes, or ``"ray"``.
        precision: ``"float64"`` or ``"float32"``, for problems, solvers and evaluation alike.
        workers: runs at a time; None for one a core.
        address: of an existing Ray cluster.
        progress: whether to show a live table (on a terminal) or a line a run (elsewhere).

    Returns:
        The outcome: ``page`` is the report's path, ``failed`` the runs that came to nothing, ``interrupted``
        whether Ctrl-C stopped it.

    Raises:
        UserError: a mistake in what was asked for, or a folder that cannot be used, in one line.
    """
    problems = [problems] if isinstance(problems, str) else list(problems)
    if isinstance(solvers, str):
        solvers = [s.strip() for s in solvers.split(",") if s.strip()]
    elif solvers is not None:
        solvers = list(solvers)
    # This process only looks at the problems; on an accelerator it leaves the memory to the worker.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    plan = make_plan(problems, solvers, budget=budget, seeds=seeds, tol=tol, precision=precision)
    store = Store(out)
    store.claim(plan.identity)
    with store.locked():
        running = engines.start(engine, workers=workers, address=address)
        about = {
            "environment": describe(),
            "engine": running.description,
            "command": command(plan, out, engine, workers, address),
        }
        store.begin({"identity": plan.identity, **about, "plan": plan.asdict()})
        with Progress(plan, shown=progress) as view:
            work = _Work(plan, store, view)
            work.do(running)
        comparison = _comparison(plan, work.records(), work.polished, about, store)
        comparison.repeated, comparison.interrupted = work.repeated, work.interrupted
        write(comparison, store)
    return comparison


def report(folder: str | os.PathLike[str]) -> Comparison:
    """Writes the report of a folder's results again; runs nothing.

    Args:
        folder: the ``out`` of an earlier `compare`, finished or not.

    Raises:
        UserError: there is no comparison in it, or it cannot be written to.
    """
    store = Store(folder)
    about = store.manifest()
    if about is None:
        raise UserError(
            f"{store.folder} holds no comparison; make one with frechet compare --out {store.folder}"
        )
    plan = Plan.fromdict(about["plan"])
    with store.locked():
        records = [r for r in map(store.load, plan.runs) if r is not None]
        if not records:
            raise UserError(
                f"{store.folder} holds no finished run yet; run its command again: {about['command']}"
            )
        polished = {}
        for problem in plan.problems:
            best = best_run(problem, [r for r in records if r.spec.problem == problem.name])
            if best is not None and (record := store.load(polish_task(plan, best).spec)) is not None:
                polished[problem.name] = record
        comparison = _comparison(plan, records, polished, about, store)
        write(comparison, store)
    return comparison


def command(
    plan: Plan, out: str | os.PathLike[str], engine: str, workers: int | None, address: str | None
) -> str:
    """The command line that makes this comparison, whatever it was called from."""
    words = ["frechet", "compare", *plan.asked_problems]
    if plan.asked_solvers is not None:
        words += ["--solvers", ",".join(plan.asked_solvers)]
    words += ["--budget", show_budget(plan.budget), "--seeds", str(plan.seeds)]
    words += ["--tol", "auto" if plan.tol is None else f"{plan.tol:g}"]
    words += ["--precision", plan.precision, "--engine", engine]
    if workers is not None:
        words += ["--workers", str(workers)]
    if address is not None:
        words += ["--address", address]
    return shlex.join([*words, "--out", os.fspath(out)])


class _Work:
    """What is left to do, and doing it: the runs that are not stored, then each problem's polish."""

    def __init__(self, plan: Plan, store: Store, view: Progress):
        self._plan, self._store, self._view = plan, store, view
        self._found: dict[RunSpec, Record] = {}
        self._queue: deque[list[Task]] = deque()
        self.polished: dict[str, Record] = {}
        self.interrupted = False
        done = []
        for spec in plan.runs:
            record = store.load(spec)
            if record is not None:
                self._found[spec] = record
                if not record.failed:
                    done.append(record)
        self.repeated = len(done)
        view.begin(done, store.messages)
        known = {record.spec for record in done}
        todo = [spec for spec in plan.runs if spec not in known]
        # A unit is a solver on a problem: its seeds share one compiled program.
        units: dict[tuple[str, str], list[Task]] = {}
        for spec in todo:
            units.setdefault((spec.problem, spec.solver), []).append(Task(spec))
        self._queue.extend(units.values())
        self._left = Counter(spec.problem for spec in todo)
        for problem in plan.problems:
            self._polish_if_complete(problem.name)

    def records(self) -> list[Record]:
        """Every record there is, in the plan's order."""
        return [self._found[s] for s in self._plan.runs if s in self._found]

    def do(self, running: engines.Runs) -> None:
        """Runs what is left; Ctrl-C stops it and keeps what is finished."""
        try:
            with closing(running.run(self._queue)) as records:
                for record in records:
                    self._store.save(record)
                    self._take(record)
        except KeyboardInterrupt:
            self.interrupted = True

    def _take(self, record: Record) -> None:
        problem = record.spec.problem
        if record.spec.solver == POLISH:
            self.polished[problem] = record
            self._view.polished(record)
            return
        self._found[record.spec] = record
        self._view.add(record)
        self._left[problem] -= 1
        self._polish_if_complete(problem)

    def _polish_if_complete(self, problem: str) -> None:
        """Once a problem's last run is in, its best point is known and can be polished."""
        (card,) = (c for c in self._plan.problems if c.name == problem)
        best = best_run(card, [r for r in self._found.values() if r.spec.problem == problem])
        if self._left[problem] or best is None:
            return
        task = polish_task(self._plan, best)
        stored = self._store.load(task.spec)
        if stored is not None and not stored.failed:
            self.polished[problem] = stored
        else:
            self._queue.append([task])


def _comparison(
    plan: Plan, records: list[Record], polished: dict[str, Record], about: dict[str, Any], store: Store
) -> Comparison:
    references: dict[str, Reference] = {
        card.name: reference(
            card, [r for r in records if r.spec.problem == card.name], polished.get(card.name)
        )
        for card in plan.problems
    }
    return Comparison(
        plan=plan,
        records=records,
        references=references,
        environment=about["environment"],
        engine=about["engine"],
        command=about["command"],
        folder=Path(store.folder),
        messages=store.messages,
    )


__all__ = ["Comparison", "compare", "report"]
