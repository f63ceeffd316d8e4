"""The reference optimum of a problem: its best run, polished, or what is known if that is lower."""

import math
from collections.abc import Iterable

import numpy as np

from frechet.problems.training import Target
from frechet.workbench.comparing import fingerprint
from frechet.workbench.comparing.plan import Plan, ProblemCard, RunSpec
from frechet.workbench.comparing.profile import Reference, missed
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.runner import POLISH, Task

_POLISH_SECONDS = 15.0
NOTHING = "no run came to an end"


def best_run(card: ProblemCard, records: Iterable[Record]) -> Record | None:
    """The run that ended lowest; where constraints can be missed, that of least residual.

    None on a problem without an optimality map, whose points cannot be told to be solutions.
    """
    if not card.testable:
        return None
    ended = [r for r in records if not r.failed and math.isfinite(r.objective) and r.x.size]

    def worth(r: Record) -> tuple[float, str]:
        missed = r.residual if math.isfinite(r.residual) else math.inf
        return (r.objective if card.always_feasible else missed), r.spec.hash

    return min(ended, key=worth, default=None)


def polish_task(plan: Plan, best: Record) -> Task:
    """From the best point found, the kind's default solver in float64 until nothing more is to be had."""
    spec = RunSpec(
        problem=best.spec.problem,
        problem_key=best.spec.problem_key,
        solver=POLISH,
        solver_key=fingerprint.digest(best.spec.hash),
        seed=best.spec.seed,
        budget={"seconds": _POLISH_SECONDS},
        tol=0.0,
        precision="float64",
        version=plan.version,
        problem_reference=best.spec.problem_reference,
    )
    return Task(spec, best.x)


def reference(card: ProblemCard, records: list[Record], polished: Record | None) -> Reference:
    """The lowest of what is known, polished and run, with where it comes from.

    Where points may violate constraints a lower objective proves nothing: there the known optimum is taken,
    else the objective where the polished run, or the best one, had its least residual.

    In float32 a run's own objective may lie below the true optimum by rounding; the polish evaluates the same
    point in float64, so its value is used where there is one.
    """
    if not card.testable:
        return _least(card, records)
    candidates: list[tuple[float, str]] = []
    best = best_run(card, records)
    if best is not None:
        run = f"{best.spec.solver}, seed {best.spec.seed}"
        lowest = _lowest(polished, card)
        if polished is None or not math.isfinite(lowest):
            why = (
                f" (polishing failed: {polished.reason})" if polished is not None and polished.failed else ""
            )
            candidates.append((best.objective, f"the best run, {run}, not polished{why}"))
        else:
            gained = polished.columns["objective"][0] - lowest
            how = f"to a residual of {polished.residual:.1e} in float64"
            what = f"lowered it by {gained:.1e}" if gained > 0 else "did not lower it"
            if not card.always_feasible:
                what = f"changed it by {-gained:+.1e}"
            candidates.append((lowest, f"the best run, {run}; polishing {how} {what}"))
    if card.optimum is not None:
        known = (card.optimum, "the problem's known optimum")
        candidates = [*candidates, known] if card.always_feasible else [known]
    value, source = min(candidates, default=(float("nan"), NOTHING))
    start = _start(records)
    rounding = _rounding(card.dtype, value, start)
    if card.always_feasible:
        return Reference(value, source, start, rounding)
    starts = [float(missed(r.columns)[0]) for r in records if len(r.columns.get("objective", ()))]
    off = next((v for v in starts if math.isfinite(v)), 0.0)
    return Reference(value, source, start, rounding, always_feasible=False, start_infeasibility=off)


def _least(card: ProblemCard, records: list[Record]) -> Reference:
    """The least loss of any run, and the target: the problem's own, or all but a twentieth of that gain."""
    found = [
        (low, f"{r.spec.solver}, {r.spec.words}") for r in records if math.isfinite(low := _lowest(r, card))
    ]
    value, run = min(found, default=(float("nan"), NOTHING))
    start = _start(records)
    target = card.target or Target("objective", value + 0.05 * (start - value))
    if "players" in card.offers:  # of a game's value the least means nothing
        return Reference(float("nan"), "a game has none", start, 0.0, target=target)
    return Reference(value, run, start, _rounding(card.dtype, value, start), target=target)


def _start(records: list[Record]) -> float:
    return next((_first(r) for r in records if math.isfinite(_first(r))), float("nan"))


def _rounding(dtype: str, value: float, start: float) -> float:
    """What the objective's last digit is worth near the optimum; an optimum of zero has no last digit."""
    if not math.isfinite(value):
        return 0.0
    epsilon = float(np.finfo(np.float32 if dtype == "float32" else np.float64).eps)
    return epsilon * max(abs(value), epsilon * max(1.0, abs(start) if math.isfinite(start) else 1.0))


def _lowest(record: Record | None, card: ProblemCard) -> float:
    """The objective that counts: the lowest, or where constraints may be missed that of least residual."""
    if record is None or record.failed:
        return float("nan")
    objective = np.asarray(record.columns.get("objective", []), float)
    if not card.always_feasible and objective.size:
        residual = np.asarray(record.columns["residual"], float)
        return float(objective[np.argmin(np.where(np.isfinite(residual), residual, np.inf))])
    finite = objective[np.isfinite(objective)]
    return float(finite.min()) if finite.size else float("nan")


def _first(record: Record) -> float:
    column = record.columns.get("objective")
    return float(column[0]) if column is not None and len(column) else float("nan")
