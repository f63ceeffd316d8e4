"""`compare`: problems x solvers x seeds, run side by side, kept a file a run, reported on one page."""

import os
import shlex
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from frechet.workbench.comparing import engines, tuning
from frechet.workbench.comparing.budget import show_budget
from frechet.workbench.comparing.choosing import best
from frechet.workbench.comparing.environment import describe
from frechet.workbench.comparing.live import Progress
from frechet.workbench.comparing.plan import Plan, RunSpec
from frechet.workbench.comparing.planning import make_plan
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
    precision: str | None = None,
    trials: int | None = None,
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
        solvers: registered names, ``pkg.module:Name`` or ``file.py:Name`` of a `Solver` of your own or of a
            function that makes an optax transformation; None for every registered one that fits, on
            problems without an optimality map every optimizer.
        budget: what a run may spend: seconds, or ``"10s"``, ``"500steps"``, ``"1000gradient"``, or several
            with commas, the first to be spent counting.
        seeds: runs of every pair, with seeds 0, 1, ...
        tol: the residual at which a run is done; None for the square root of the precision's epsilon.
        out: the folder for results; made if it is not there.
        engine: ``"local"`` worker processes, or ``"ray"``.
        precision: ``"float64"`` or ``"float32"``, for problems, solvers and evaluation alike; None for
            float64, or float32 where no problem has an optimality map.
        trials: configurations that every solver with a declared search space is tried with, the best of
            which its runs use; 0 for the solver's own settings; None for 8 on problems without an optimality
            map and none elsewhere.
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
    plan = make_plan(
        problems, solvers, budget=budget, seeds=seeds, tol=tol, precision=precision, trials=trials
    )
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
        comparison = _comparison(plan, work.records(), work.trials(), work.polished, about, store)
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
        with Progress(plan, shown=False) as view:
            work = _Work(plan, store, view, retry=False)
        records, trials = work.records(), work.trials()
        if not records and not trials:
            raise UserError(
                f"{store.folder} holds no finished run yet; run its command again: {about['command']}"
            )
        polished = {}
        for problem in plan.problems:
            best = best_run(problem, [r for r in records if r.spec.problem == problem.name])
            if best is not None and (record := store.load(polish_task(plan, best).spec)) is not None:
                polished[problem.name] = record
        comparison = _comparison(plan, records, trials, polished, about, store)
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
    if plan.asked_trials is not None:
        words += ["--trials", str(plan.asked_trials)]
    elif all(p.trained for p in plan.problems):
        words += ["--trials", str(tuning.TRIALS)]
    words += ["--tol", "auto" if plan.tol is None else f"{plan.tol:g}"]
    words += ["--precision", plan.precision, "--engine", engine]
    if workers is not None:
        words += ["--workers", str(workers)]
    if address is not None:
        words += ["--address", address]
    return shlex.join([*words, "--out", os.fspath(out)])


Unit = tuple[str, str]
"""A solver on a problem: its trials, and then its seeds, go to one worker and share a compiled program."""


def _units(specs: list[RunSpec]) -> dict[Unit, list[RunSpec]]:
    units: dict[Unit, list[RunSpec]] = {}
    for spec in specs:
        units.setdefault((spec.problem, spec.solver), []).append(spec)
    return units


class _Work:
    """What is there and what is left to do: trials, the runs they choose settings for, each problem's polish.

    Args:
        retry: whether failed runs count as left to do.
    """

    def __init__(self, plan: Plan, store: Store, view: Progress, *, retry: bool = True):
        self._plan, self._store, self._view, self._retry = plan, store, view, retry
        self._cards = {card.name: card for card in plan.problems}
        self._found: dict[RunSpec, Record] = {}
        self._finals: dict[RunSpec, RunSpec] = {}  # by what was planned before the settings were known
        self._queue: deque[list[Task]] = deque()
        self.polished: dict[str, Record] = {}
        self.interrupted = False
        self._trials, self._runs = _units(plan.trials), _units(plan.runs)
        self._open = {unit: self._start(specs) for unit, specs in self._trials.items()}
        self._left = Counter(spec.problem for spec in plan.runs)
        for unit in self._runs:
            if not self._open.get(unit):
                self._settle(unit)
        done = [r for r in self._found.values() if not r.failed]
        self.repeated = len(done)
        view.begin(done, store.messages)

    def records(self) -> list[Record]:
        """Every record of a final run there is, in the plan's order."""
        finals = [self._finals.get(s) for s in self._plan.runs]
        return [self._found[s] for s in finals if s in self._found]

    def trials(self) -> list[Record]:
        """Every record of a trial there is, in the plan's order."""
        return [self._found[s] for s in self._plan.trials if s in self._found]

    def do(self, running: engines.Runs) -> None:
        """Runs what is left; Ctrl-C stops it and keeps what is finished."""
        for problem in self._cards:
            self._polish_if_complete(problem)
        try:
            with closing(running.run(self._queue)) as records:
                for record in records:
                    self._store.save(record)
                    self._take(record)
        except KeyboardInterrupt:
            self.interrupted = True

    def _start(self, specs: list[RunSpec], *, next_up: bool = False) -> set[RunSpec]:
        """Loads what is stored of a unit and queues the rest, which it returns."""
        todo = []
        for spec in specs:
            record = self._store.load(spec)
            if record is not None:
                self._found[spec] = record
            if record is None or (record.failed and self._retry):
                todo.append(spec)
        if todo:
            (self._queue.appendleft if next_up else self._queue.append)([Task(spec) for spec in todo])
        return set(todo)

    def _settle(self, unit: Unit, *, just_now: bool = False) -> None:
        """The final runs of a unit, once all of its trials are in and the settings known."""
        planned = runs = self._runs[unit]
        if unit in self._trials:
            trials = [self._found[s] for s in self._trials[unit]]
            chosen = best(trials, self._cards[unit[0]])
            runs = [replace(spec, settings=chosen.spec.settings) for spec in planned]
            if just_now:
                self._view.tuned(chosen, trials)
        self._finals |= zip(planned, runs, strict=True)
        # Those that trials were just made for go to the worker that has their program.
        todo = self._start(runs, next_up=just_now)
        self._left[unit[0]] -= len(runs) - len(todo)

    def _take(self, record: Record) -> None:
        spec = record.spec
        if spec.solver == POLISH:
            self.polished[spec.problem] = record
            self._view.polished(record)
            return
        self._found[spec] = record
        self._view.add(record)
        if spec.trial is None:
            self._left[spec.problem] -= 1
        else:
            unit = spec.problem, spec.solver
            self._open[unit].discard(spec)
            if not self._open[unit]:
                self._settle(unit, just_now=True)
        self._polish_if_complete(spec.problem)

    def _polish_if_complete(self, problem: str) -> None:
        """Once a problem's last run is in, its best point is known and can be polished."""
        best = best_run(self._cards[problem], [r for r in self.records() if r.spec.problem == problem])
        if self._left[problem] or best is None:
            return
        task = polish_task(self._plan, best)
        stored = self._store.load(task.spec)
        if stored is not None and not stored.failed:
            self.polished[problem] = stored
        else:
            self._queue.append([task])


def _comparison(
    plan: Plan,
    records: list[Record],
    trials: list[Record],
    polished: dict[str, Record],
    about: dict[str, Any],
    store: Store,
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
        trials=trials,
        references=references,
        environment=about["environment"],
        engine=about["engine"],
        command=about["command"],
        folder=Path(store.folder),
        messages=store.messages,
    )


__all__ = ["Comparison", "compare", "report"]
