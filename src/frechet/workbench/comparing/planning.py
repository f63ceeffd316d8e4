"""Makes a plan: loads what is named, asks who fits, and names every run."""

from dataclasses import replace
from typing import Any

import jax

import frechet
from frechet.problems.training import Training
from frechet.workbench.comparing import fingerprint, tuning
from frechet.workbench.comparing.budget import parse_budget
from frechet.workbench.comparing.cards import problem_card, settings_of, solver_card
from frechet.workbench.comparing.loading import Loaded, absolute, load_optimizers, load_problem, load_solvers
from frechet.workbench.comparing.plan import Plan, RunSpec, Skipped
from frechet.workbench.errors import UserError

PRECISIONS = ("float32", "float64")


def make_plan(
    problems: list[str],
    solvers: list[str] | None,
    *,
    budget: Any,
    seeds: int,
    tol: float | None,
    precision: str | None,
    trials: int | None = None,
) -> Plan:
    """Loads every problem once, asks every solver whether it fits, and names every run.

    Raises:
        UserError: a name, file, number or precision is not what it should be, or nothing fits.
    """
    spent = parse_budget(budget)
    _check_conditions(problems, solvers, seeds, tol, precision, trials)
    references = list(dict.fromkeys(absolute(p) for p in problems))
    loaded, precision = _load(references, precision)
    cards, skipped, used = [], [], {}
    runs: list[RunSpec] = []
    tried: list[RunSpec] = []
    with jax.enable_x64(precision == "float64"):
        asked = None if solvers is None else load_solvers(solvers)
        keys: dict[str, str] = {}
        for reference, one in zip(references, loaded, strict=True):
            card, start = problem_card(one)
            if card.name in {c.name for c in cards}:
                raise UserError(
                    f"two problems are called {card.name}; give the files or functions different names"
                )
            cards.append(card)
            cast = asked or (load_optimizers() if card.trained else load_solvers(None))
            count = (tuning.TRIALS if card.trained else 0) if trials is None else trials
            for name, (found_by, solver) in cast.items():
                reason = solver.fits(one.problem)
                space = getattr(solver, "space", {})
                if reason is None and count and space:
                    reason = tuning.unsuited(space)
                if reason is not None:
                    skipped.append(Skipped(card.name, name, reason))
                    continue
                used[name] = solver
                if name not in keys:
                    keys[name] = fingerprint.of_solver(solver)
                run = RunSpec(
                    problem=card.name,
                    problem_key=card.key,
                    solver=name,
                    solver_key=keys[name],
                    seed=0,
                    budget=spent,
                    tol=tol,
                    precision=precision,
                    version=frechet.__version__,
                    problem_reference=reference,
                    solver_reference=found_by,
                    start_objective=start,
                )
                runs += [replace(run, seed=seed) for seed in range(seeds)]
                if count and space:
                    drawn = tuning.configurations(space, settings_of(solver), count)
                    tried += [
                        replace(run, seed=tuning.SEED, settings=settings, trial=trial)
                        for trial, settings in enumerate(drawn)
                    ]
    if not runs:
        raise UserError(
            f"no solver fits: {skipped[0].solver} {skipped[0].reason}" if skipped else "no solver fits"
        )
    return Plan(
        problems=cards,
        solvers=[solver_card(name, solver) for name, solver in sorted(used.items())],
        skipped=skipped,
        runs=runs,
        seeds=seeds,
        budget=spent,
        tol=tol,
        precision=precision,
        version=frechet.__version__,
        asked_problems=list(problems),
        asked_solvers=solvers,
        trials=tried,
        asked_trials=trials,
    )


def _check_conditions(
    problems: list[str],
    solvers: list[str] | None,
    seeds: Any,
    tol: float | None,
    precision: str | None,
    trials: Any,
) -> None:
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= tuning.SEED:
        raise UserError(f"seeds is {seeds!r}; it should be at least 1 and at most {tuning.SEED}")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 0):
        raise UserError(f"trials is {trials!r}; it should be a whole number, 0 for none")
    if tol is not None and not 0 < tol < float("inf"):
        raise UserError(f"tol is {tol!r}; it should be a positive number such as 1e-6")
    if precision is not None and precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}; it should be float32 or float64")
    if not problems:
        raise UserError("no problem given; name one of `frechet list` or file.py:function")
    if solvers is not None and not solvers:
        raise UserError(
            "no solver given; name some of `frechet list`, or leave solvers out to run all that fit"
        )


def _load(references: list[str], precision: str | None) -> tuple[list[Loaded], str]:
    """The problems in the precision asked for, or in the one that suits them."""
    for chosen in ("float64", "float32") if precision is None else (precision,):
        with jax.enable_x64(chosen == "float64"):
            loaded = [load_problem(reference) for reference in references]
        if precision is not None or any(not isinstance(one.problem, Training) for one in loaded):
            break  # models are trained in float32, all else is solved in float64
    return loaded, chosen
