"""The comparison as plain data for the page: every number the page shows, thinned and rounded."""

import math
from typing import Any

import numpy as np

from frechet.workbench.comparing import tuning
from frechet.workbench.comparing.budget import show_budget
from frechet.workbench.comparing.plan import ProblemCard, column
from frechet.workbench.comparing.profile import cost
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.result import (
    Comparison,
    Outcome,
    show_height,
    show_measure,
    show_settings,
)

# Points of all curves together: enough for every pixel of a panel, few enough for a phone.
_POINTS = 40_000


def payload(comparison: Comparison) -> dict[str, Any]:
    """JSON-able; ``NaN`` and infinity are None."""
    plan = comparison.plan
    order = [r.solver for r in comparison.ranking()]
    per_run = int(np.clip(_POINTS / max(1, len(comparison.records)), 40, 240))
    heights = _heights(comparison)
    shown = {h["key"] for h in heights} | set(comparison.measures)

    def curves(problem: str, solver: str) -> list[dict[str, Any]]:
        return [_curve(comparison, r, per_run, shown) for r in _drawn(comparison, problem, solver)]

    return {
        "measures": [{"key": m, "label": show_measure(m)} for m in comparison.measures],
        "heights": heights,
        "goals": [g.label for g in comparison.goals],
        "problems": [_problem(comparison, p) for p in range(len(plan.problems))],
        "solvers": [
            {"name": s.name, "place": order.index(i), "tried": comparison.tried(s.name)}
            for i, s in enumerate(plan.solvers)
        ],
        "curves": [[curves(p.name, s.name) for s in plan.solvers] for p in plan.problems],
        "scores": [[_score(comparison, g, m) for m in comparison.measures] for g in comparison.goals],
        "ends": [[end(comparison, p.name, s.name) for s in plan.solvers] for p in plan.problems],
        "trials": [[_trials(comparison, p, s.name) for s in plan.solvers] for p in plan.problems],
    }


def _heights(comparison: Comparison) -> list[dict[str, Any]]:
    """What can be drawn upwards: gap, residual, objective, and the problems' own measures.

    Where models are trained, what they are judged by comes first; a panel that has nothing of what is asked
    for shows that, so problems that are judged by different measures share a name for it.
    """
    cards = comparison.plan.problems
    watched = [c.watched for c in cards if not c.testable]
    measured = len(watched) == len(cards)
    names = {c.objective_name for c in cards}
    fixed = [
        {"key": "gap", "label": "gap", "log": True},
        {"key": "residual", "label": "residual", "log": True},
        {"key": "objective", "label": names.pop() if len(names) == 1 else "objective", "log": False},
    ]
    seen = [*watched, *(c for r in comparison.records for c in r.columns)]
    named = dict.fromkeys(c for c in seen if c.startswith("measure_"))
    heights = fixed + [{"key": c, "label": show_height(c), "log": False} for c in named]
    if not measured:
        return heights
    own = [{"key": "own", "label": "own measure", "log": False}] if len(set(watched)) > 1 else []
    return [*own, *sorted(heights, key=lambda h: h["key"] not in watched)]


def _problem(comparison: Comparison, index: int) -> dict[str, Any]:
    card = comparison.plan.problems[index]
    reference = comparison.references[card.name]
    target = reference.target
    return {
        "name": card.name,
        "title": card.title,
        "floor": rounded(reference.rounding / reference.scale),
        "feasible": card.always_feasible,
        "reference": rounded(reference.value, 9),
        "trained": not card.testable,
        "objective": card.objective_name,
        "height": "gap" if card.testable else card.watched,
        "more": card.more_is_better,
        "target": target and {"key": column(target.measure), "value": rounded(target.value)},
    }


def _trials(comparison: Comparison, card: ProblemCard, solver: str) -> list[dict[str, Any]]:
    """What came of every learning rate that was tried; the height is None where the trial diverged."""
    runs = comparison.of(card.name, solver)
    return [
        {
            "rate": rounded(t.spec.settings["learning_rate"]),
            "value": None if t.diverged else rounded(t.settled(card.watched)),
            "settings": show_settings(t.spec.settings),
            "chosen": bool(runs) and t.spec.settings == runs[0].spec.settings,
        }
        for t in comparison.trials_of(card.name, solver)
        if isinstance(t.spec.settings.get("learning_rate"), float | int)
    ]


def _drawn(comparison: Comparison, problem: str, solver: str) -> list[Record]:
    return [r for r in comparison.of(problem, solver) if not r.failed and len(r.columns.get("step", ()))]


def _curve(comparison: Comparison, record: Record, points: int, shown: set[str]) -> dict[str, Any]:
    """One run's columns at checks that are evenly spaced in the logarithm of their number, ends included."""
    rows = len(record.columns["step"])
    keep = np.unique(np.round(np.geomspace(1, rows, min(points, rows))).astype(int)) - 1
    columns = {k: np.asarray(v, float)[keep] for k, v in record.columns.items()}
    reference = comparison.references[record.spec.problem]
    out: dict[str, Any] = {k: [rounded(v) for v in c] for k, c in columns.items() if k in shown}
    out["objective"] = [rounded(v, 8) for v in columns["objective"]]
    if "residual" in columns:  # the gap to the least loss found says little of a model
        out["gap"] = [rounded(v) for v in reference.gap(columns)]
    return out


def _score(comparison: Comparison, goal: Any, measure: str) -> dict[str, Any]:
    """Median, least and greatest cost by solver and problem, and the ranking they give."""
    middle, least, most = comparison.costs(goal, measure)
    return {
        "costs": [[rounded(v, 4) for v in row] for row in middle],
        "least": [[rounded(v, 3) for v in row] for row in least],
        "most": [[rounded(v, 3) for v in row] for row in most],
        "ranking": [
            {"solver": r.solver, "solved": r.solved, "slowdown": rounded(r.slowdown, 4)}
            for r in comparison.ranking(goal, measure)
        ],
    }


def end(comparison: Comparison, problem: str, solver: str) -> dict[str, Any] | None:
    """How a solver's runs on a problem ended; None when it was not run."""
    records = comparison.of(problem, solver)
    if not records:
        return None
    reference = comparison.references[problem]
    statuses = [r.status for r in records]
    made = [*records, *comparison.trials_of(problem, solver)]
    compiled = [r.compile_seconds for r in made if math.isfinite(r.compile_seconds)]
    alive = [r for r in records if not r.failed]
    ran = [float(r.columns["seconds"][-1]) for r in alive if len(r.columns.get("seconds", ()))]
    (card,) = (c for c in comparison.plan.problems if c.name == problem)
    goal = comparison.goals[0]
    trained = comparison.outcome(card, solver)
    return {
        "met": all(math.isfinite(cost(r, goal, "step", reference)) for r in records)
        if trained
        else statuses == ["converged"] * len(statuses),
        "trained": trained and _trained(trained),
        "status": ", ".join(
            s if statuses.count(s) == len(statuses) else f"{s} {statuses.count(s)}/{len(statuses)}"
            for s in sorted(set(statuses))
        ),
        "reason": next((r.reason for r in records if r.failed), records[0].reason),
        "gap": _median([float(reference.gap(r.columns)[-1]) for r in alive if math.isfinite(r.objective)]),
        "residual": _median([r.residual for r in alive]),
        "objective": _median([r.objective for r in alive], 8),
        "steps": _median([float(r.steps) for r in alive]),
        "seconds": _median(ran),
        "compile": rounded(max(compiled, default=math.nan), 3),
    }


def _trained(trained: Outcome) -> dict[str, Any]:
    return {
        "final": [rounded(v, 4) for v in trained.final],
        "settings": show_settings(trained.settings),
        "edge": trained.edge,
        "tried": trained.tried,
        "diverged": trained.diverged,
        "state": None if trained.state is None else rounded(trained.state, 3),
        "step": rounded(trained.step, 3),
        "step_seconds": rounded(trained.step_seconds, 3),
    }


def _median(values: list[float], digits: int = 4) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return rounded(float(np.median(finite)), digits) if finite else None


def rounded(value: float, digits: int = 5) -> float | int | None:
    """A number to so many significant digits, whole ones as integers; None unless finite.

    Example:
        >>> rounded(1.234567e-5), rounded(120.0), rounded(float("inf"))
        (1.2346e-05, 120, None)
    """
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


def conditions(comparison: Comparison) -> list[tuple[str, str]]:
    """The comparison in facts, for the head of the page and the table."""
    plan = comparison.plan
    tol = "what the precision can reach" if plan.tol is None else f"residual ≤ {plan.tol:g}"
    facts = {
        "Problems": str(len(plan.problems)),
        "Solvers": str(len(plan.solvers)),
        "Seeds": str(plan.seeds),
        "Trials": _trials_in_words(comparison),
        "Budget a run": show_budget(plan.budget).replace(",", " or "),
        "Done at": tol if any(p.testable for p in plan.problems) else "",
        "Precision": plan.precision,
    }
    return [(label, fact) for label, fact in facts.items() if fact]


def _trials_in_words(comparison: Comparison) -> str:
    """How many configurations each tuned solver was tried with; empty where none was."""
    counts = {s.trial + 1 for s in comparison.plan.trials if s.trial is not None}
    return str(max(counts)) if counts else ""


def gap_with_constraints(comparison: Comparison) -> str:
    """What a gap means where constraints can be missed; empty where no problem has any."""
    names = [p.name for p in comparison.plan.problems if not p.always_feasible]
    if not names:
        return ""
    return (
        f"In {', '.join(names)} points may violate constraints, and a lower objective than the optimum is no "
        "gain. The gap there is the larger of the objective's distance to the optimum, above or below, and "
        "the largest violation, as a fraction of the start's; the reference is the point of least residual "
        "unless the optimum is known."
    )


def fairness(comparison: Comparison) -> list[str]:
    """The rules every run was held to, as sentences."""
    plan = comparison.plan
    testable = [p for p in plan.problems if p.testable]
    trained = any(p.trained for p in plan.problems)
    sampled = any(not (p.testable or p.trained) for p in plan.problems)
    rules = [
        "Every solver starts from the same point, in the same precision, with the same seeds and budget."
        + (" Where a problem draws its start, each seed has its own, the same for all." if trained else ""),
        *_tuning(comparison),
        "Time is run time. Tracing and compiling are shown apart (the slowest over seeds, since later seeds "
        "reuse the program), and evaluating what is drawn stops the clock.",
        "Oracle calls are counted by the solvers themselves, rejected trials included; a call made only to "
        "draw a curve is not counted.",
    ]
    if testable:
        rules.append(
            "A run ends when its residual meets the tolerance or its budget is spent. The residual is the "
            "same map for every solver of a problem."
        )
    if trained:
        rules += [
            "Training has no residual: runs end when their budget is spent, and are judged by the problem's "
            "target. Without one of its own a problem's target is the least loss found by any run, but for a "
            "twentieth of what that run gained.",
            "A final measure is the mean over the last quarter of a run's checks. The state is the memory "
            "that the optimizer keeps, as a multiple of the parameters'; a step's cost is the median over "
            "the run, without compilation, and beside it the multiple of the cheapest solver's.",
        ]
    if sampled:
        rules.append(
            "A sampler has no residual: runs end when their budget is spent. They are judged by the errors "
            "of the moments along the way, in units of the density's standard deviations, where true moments "
            "are known, else by how well chains agree; a bias that moves cannot remove stays in it."
        )
    rules += [
        "Costs are medians over seeds, shown with the least and the greatest; where a solver draws "
        "nothing at random, seeds are repeated timings.",
        f"Runs were spread over {comparison.engine}. They share memory bandwidth and cache; "
        "compare with --workers 1 where that matters.",
    ]
    constrained = gap_with_constraints(comparison)
    return [*rules, constrained] if constrained else rules


def _tuning(comparison: Comparison) -> list[str]:
    """How settings came about."""
    plan = comparison.plan
    tuned = {(s.problem, s.solver) for s in plan.trials}
    if not tuned:
        return ["Solvers run with the settings on their cards; nothing was tuned to a problem."]
    count = _trials_in_words(comparison)
    said = (
        f"Settings are tuned to each problem by {count} trial{'s' if count != '1' else ''} for every solver "
        "with a declared search space (on its card): its default settings, then points of one seeded Halton "
        "sequence. A trial has the budget of a final run. All trials have seed "
        f"{tuning.SEED}, hence the same start and batches; final runs have seeds 0 to {plan.seeds - 1}. The "
        "trial that is best by the problem's measure gives the settings of the final runs."
    )
    fixed = sorted({s.solver for s in plan.runs if (s.problem, s.solver) not in tuned})
    if not fixed:
        return [said]
    return [said, f"Not tuned, and run with the settings on their cards: {', '.join(fixed)}."]
