"""The comparison as plain data for the page: every number the page shows, thinned and rounded."""

import math
from typing import Any

import numpy as np

from frechet.workbench.comparing.plan import show_budget
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.result import Comparison, show_measure

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
    }


def _heights(comparison: Comparison) -> list[dict[str, Any]]:
    """What can be drawn upwards: gap, residual, objective, and the problems' own measures."""
    own: dict[str, None] = {}
    for record in comparison.records:
        own |= dict.fromkeys(c for c in record.columns if c.startswith("measure_"))
    fixed = [
        {"key": "gap", "label": "gap", "log": True},
        {"key": "residual", "label": "residual", "log": True},
        {"key": "objective", "label": "objective", "log": False},
    ]
    return fixed + [
        {"key": c, "label": c.removeprefix("measure_").replace("_", " "), "log": False} for c in own
    ]


def _problem(comparison: Comparison, index: int) -> dict[str, Any]:
    card = comparison.plan.problems[index]
    reference = comparison.references[card.name]
    return {
        "name": card.name,
        "title": card.title,
        "floor": rounded(reference.rounding / reference.scale),
        "feasible": card.always_feasible,
        "reference": rounded(reference.value, 9),
    }


def _drawn(comparison: Comparison, problem: str, solver: str) -> list[Record]:
    return [r for r in comparison.of(problem, solver) if not r.failed and len(r.columns.get("step", ()))]


def _curve(comparison: Comparison, record: Record, points: int, shown: set[str]) -> dict[str, Any]:
    """One run's columns at checks that are evenly spaced in the logarithm of their number, ends included."""
    rows = len(record.columns["step"])
    keep = np.unique(np.round(np.geomspace(1, rows, min(points, rows))).astype(int)) - 1
    columns = {k: np.asarray(v, float)[keep] for k, v in record.columns.items()}
    gap = comparison.references[record.spec.problem].gap(columns)
    out: dict[str, Any] = {k: [rounded(v) for v in c] for k, c in columns.items() if k in shown}
    out["objective"] = [rounded(v, 8) for v in columns["objective"]]
    out["gap"] = [rounded(v) for v in gap]
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
    compiled = [r.compile_seconds for r in records if math.isfinite(r.compile_seconds)]
    alive = [r for r in records if not r.failed]
    ran = [float(r.columns["seconds"][-1]) for r in alive if len(r.columns.get("seconds", ()))]
    return {
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
    return [
        ("Problems", str(len(plan.problems))),
        ("Solvers", str(len(plan.solvers))),
        ("Seeds", str(plan.seeds)),
        ("Budget a run", show_budget(plan.budget).replace(",", " or ")),
        ("Done at", tol),
        ("Precision", plan.precision),
    ]


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
    constrained = gap_with_constraints(comparison)
    return [
        "Every solver starts from the same point, in the same precision, with the same seeds and budget.",
        "Time is run time. Tracing and compiling are shown apart (the slowest over seeds, since later seeds "
        "reuse the program), and evaluating the objective and the residual stops the clock.",
        "Oracle calls are counted by the solvers themselves, rejected trials included; a call made only to "
        "draw a curve is not counted.",
        "A run ends when its residual meets the tolerance or its budget is spent. The residual is the same "
        "map for every solver of a problem.",
        "Costs are medians over seeds, shown with the least and the greatest; where a solver draws "
        "nothing at random, seeds are repeated timings.",
        f"Runs were spread over {comparison.engine}. They share memory bandwidth and cache; "
        "compare with --workers 1 where that matters.",
        "Solvers run with the settings on their cards; nothing was tuned to a problem.",
        *([constrained] if constrained else []),
    ]
