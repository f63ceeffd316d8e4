"""Synthetic runs, and the user's file that real ones use."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest

from frechet.problems.training import Target
from frechet.workbench.comparing.plan import Plan, ProblemCard, RunSpec, Skipped, SolverCard
from frechet.workbench.comparing.profile import Reference
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.reference import reference
from frechet.workbench.comparing.result import Comparison

TOY = Path(__file__).with_name("toy.py")


def make_spec(problem: str = "p", solver: str = "s", seed: int = 0, **changes) -> RunSpec:
    base = RunSpec(
        problem=problem,
        problem_key=f"key of {problem}",
        solver=solver,
        solver_key=f"key of {solver}",
        seed=seed,
        budget={"seconds": 1.0},
        tol=1e-6,
        precision="float64",
        version="0.1.0",
    )
    return dataclasses.replace(base, **changes)


def make_record(spec: RunSpec, rate: float = 0.5, checks: int = 60, pace: float = 1e-3) -> Record:
    """A run whose residual falls by a constant factor a check; its gap, from optimum 2, is the square."""
    steps = np.arange(checks) * 10
    fall = rate ** np.arange(checks, dtype=float)
    columns = {
        "step": steps,
        "seconds": steps * pace * (1 + 0.1 * spec.seed),
        "objective": 2.0 + fall**2,
        "residual": fall,
        "calls_value": np.zeros(checks, int),
        "calls_gradient": steps,
        "calls_prox": steps + np.arange(checks) ** 2,
    }
    met = fall[-1] <= 1e-6
    return Record(
        spec=spec,
        status="converged" if met else "budget",
        columns=columns,
        reason="the residual is at or below the tolerance" if met else "the budget is spent",
        residual=float(fall[-1]),
        steps=int(steps[-1]),
        compile_seconds=0.3,
        x=np.arange(3.0),
        environment={"device": "cpu"},
    )


RATES = {"fast": 0.3, "steady": 0.6, "slow": 0.97}


def make_comparison(folder: Path, problems: int = 2, seeds: int = 3) -> Comparison:
    """Three solvers of known rates on a few problems; ``slow`` never gets there, one of its runs failed."""
    names = [f"problem{i}" for i in range(problems)]
    specs = [make_spec(p, s, seed) for p in names for s in sorted(RATES) for seed in range(seeds)]
    plan = Plan(
        problems=[
            ProblemCard(p, f"Title of {p}", "a book", "Composite", f"key of {p}", 3, "float64", {}, None)
            for p in names
        ],
        solvers=[
            SolverCard(s, s.title(), f"What {s} is.", "a paper", "Composite", ["gradient"], {"a": "1"}, False)
            for s in sorted(RATES)
        ],
        skipped=[Skipped(names[0], "other", "takes a Root, not a Composite")],
        runs=specs,
        seeds=seeds,
        budget={"seconds": 1.0},
        tol=1e-6,
        precision="float64",
        version="0.1.0",
        asked_problems=names,
        asked_solvers=None,
    )
    records = [make_record(spec, RATES[spec.solver]) for spec in specs]
    lost = next(i for i, s in enumerate(specs) if s.solver == "slow")
    records[lost] = Record.failure(specs[lost], "its process died by SIGSEGV </script><b>not markup</b>")
    return Comparison(
        plan=plan,
        records=records,
        references={p: Reference(2.0, "the best run", 3.0, 2.2e-16) for p in names},
        environment={"Date": "2030-01-01", "Python": "3.11"},
        engine="one worker",
        command="frechet compare problem0",
        folder=folder,
    )


def make_training_record(spec: RunSpec, height: float, checks: int = 40) -> Record:
    """A run whose accuracy rises to ``height`` and beyond 0.9 of it after half of its steps."""
    steps = np.arange(checks) * 10
    rise = 1 - 0.1 ** (2 * np.arange(checks) / checks)
    wobble = 0.01 * (spec.seed % 3) * np.sin(np.arange(checks))
    columns = {
        "step": steps,
        "seconds": steps * 1e-3 * (1 + 0.1 * (spec.seed % 3)),
        "objective": 2.3 * (1 - rise * height),
        "calls_sample": steps * 32,
        "measure_accuracy": np.clip(0.1 + (height - 0.1 + 0.02) * rise + wobble, 0, 1),
    }
    return Record(
        spec=spec,
        status="max_steps",
        columns=columns,
        steps=int(steps[-1]),
        compile_seconds=0.4,
        parameter_bytes=4000,
        state_bytes=8004,
    )


HEIGHTS = {"good": 0.95, "fair": 0.8, "fixed": 0.6}


def make_training_comparison(folder: Path, mixed: bool = False, seeds: int = 3) -> Comparison:
    """Three training methods of known accuracy, of which ``fixed`` has no space; with a solvable problem."""
    card = ProblemCard(
        "net", "A net", "a book", "Training", "key of net", 1000, "float32", {}, None,
        testable=False, trained=True, objective_name="training loss",
        watched="measure_accuracy", target=Target("accuracy", 0.9, at_least=True),
    )  # fmt: skip
    solved = make_comparison(folder, problems=1, seeds=seeds)
    rates = [1e-3, 1e-4, 1e-2, 1e-1]
    runs, trials, records, tried = [], [], [], []
    for solver, height in HEIGHTS.items():
        settings = {} if solver == "fixed" else {"learning_rate": 1e-2, "b1": 0.9}
        runs += [make_spec("net", solver, seed) for seed in range(seeds)]
        records += [
            make_training_record(make_spec("net", solver, seed, settings=settings), height)
            for seed in range(seeds)
        ]
        if not settings:
            continue
        for trial, rate in enumerate(rates):
            spec = make_spec("net", solver, 1000, trial=trial, settings={"learning_rate": rate, "b1": 0.9})
            record = make_training_record(spec, height * (1 - 0.2 * abs(np.log10(rate) + 2)))
            if rate > 0.05:
                record.status = "nonfinite"
            trials.append(spec)
            tried.append(record)
    cards = [
        SolverCard(s, s, f"What {s} is.", "a paper", "Minimisation", ["smooth"], {"learning_rate": "0.01"},
                   False, {} if s == "fixed" else {"learning_rate": "0.0001 to 0.1, log-uniform"})
        for s in sorted(HEIGHTS)
    ]  # fmt: skip
    more = solved.plan if mixed else None
    plan = dataclasses.replace(
        solved.plan,
        problems=[*(more.problems if more else []), card],
        solvers=[*(more.solvers if more else []), *cards],
        skipped=[],
        runs=[*(more.runs if more else []), *runs],
        trials=trials,
    )
    return dataclasses.replace(
        solved,
        plan=plan,
        records=[*(solved.records if mixed else []), *records],
        trials=tried,
        references={**(solved.references if mixed else {}), "net": reference(card, records, None)},
    )


@pytest.fixture
def toy() -> str:
    """The user's file; append ``:name``."""
    return str(TOY)


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their picture, which takes longer to draw than a small comparison to run."""
    writing = importlib.import_module("frechet.workbench.comparing.report.write")
    monkeypatch.setattr(writing, "figure", lambda comparison: b"")
