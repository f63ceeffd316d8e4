"""Synthetic runs, and the user's file that real ones use."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from frechet.workbench.comparing.plan import Plan, ProblemCard, RunSpec, Skipped, SolverCard
from frechet.workbench.comparing.profile import Reference
from frechet.workbench.comparing.record import Record
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


@pytest.fixture
def toy() -> str:
    """The user's file; append ``:name``."""
    return str(TOY)
