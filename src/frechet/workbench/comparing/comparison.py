"""`compare`: problems x solvers x seeds, run side by side, kept a file a run, reported on one page."""

import os
import shlex
from collections.abc import Iterator, Sequence
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
from frechet.workbench.comparing.runner import Task
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
            records, repeated, interrupted = _run_all(plan, store, running, view)
            polished = _stored_polish(plan, store, records)
            if not interrupted:
                interrupted = _polish_all(plan, store, running, records, polished, view)
        comparison = _comparison(plan, records, polished, about, store)
        comparison.repeated, comparison.interrupted = repeated, interrupted
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
        polished = _stored_polish(plan, store, records)
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
    if plan.tol is not None:
        words += ["--tol", f"{plan.tol:g}"]
    words += ["--precision", plan.precision, "--engine", engine]
    if workers is not None:
        words += ["--workers", str(workers)]
    if address is not None:
        words += ["--address", address]
    return shlex.join([*words, "--out", os.fspath(out)])


def _run_all(plan: Plan, store: Store, running: Any, view: Progress) -> tuple[list[Record], int, bool]:
    """Every record there is at the end, how many were there before, and whether Ctrl-C came."""
    found: dict[RunSpec, Record] = {}
    for spec in plan.runs:
        record = store.load(spec)
        if record is not None:
            found[spec] = record
    done = {spec: record for spec, record in found.items() if not record.failed}
    view.begin(list(done.values()), store.messages)
    units: dict[tuple[str, str], list[Task]] = {}
    for spec in plan.runs:
        if spec not in done:
            units.setdefault((spec.problem, spec.solver), []).append(Task(spec))
    interrupted = False
    try:
        for record in _each(running, list(units.values())):
            store.save(record)
            found[record.spec] = record
            view.add(record)
    except KeyboardInterrupt:
        interrupted = True
    return [found[s] for s in plan.runs if s in found], len(done), interrupted


def _each(running: Any, units: list[list[Task]]) -> Iterator[Record]:
    """The engine's records; whatever happens here, its workers are stopped."""
    if not units:
        return
    with closing(running.run(units)) as records:
        yield from records


def _stored_polish(plan: Plan, store: Store, records: list[Record]) -> dict[str, Record]:
    """The polished optima that are there already, by problem."""
    found: dict[str, Record] = {}
    for problem in plan.problems:
        best = best_run(r for r in records if r.spec.problem == problem.name)
        if best is not None and (record := store.load(polish_task(plan, best).spec)) is not None:
            found[problem.name] = record
    return found


def _polish_all(
    plan: Plan,
    store: Store,
    running: Any,
    records: list[Record],
    polished: dict[str, Record],
    view: Progress,
) -> bool:
    """Polishes every problem's best point that is not polished yet; whether Ctrl-C came."""
    units = []
    for problem in plan.problems:
        best = best_run(r for r in records if r.spec.problem == problem.name)
        old = polished.get(problem.name)
        if best is not None and (old is None or old.failed):
            units.append([polish_task(plan, best)])
    view.polish(len(units))
    try:
        for record in _each(running, units):
            store.save(record)
            polished[record.spec.problem] = record
            view.polished(record)
    except KeyboardInterrupt:
        return True
    return False


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
