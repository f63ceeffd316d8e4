"""Which trial's settings the final runs take: the best by the problem's own measure."""

import math
from collections.abc import Iterable

from frechet.workbench.comparing.plan import ProblemCard
from frechet.workbench.comparing.record import Record


def score(record: Record, card: ProblemCard) -> tuple[float, float]:
    """How bad a trial is: steps to the tolerance or the final objective; without a test the watched measure.

    What is watched is settled over the last quarter of the checks. Diverged and failed trials are the worst.
    """
    if record.diverged:
        return (2.0, math.inf)
    if card.testable:
        converged = record.status == "converged"
        return (0.0, float(record.steps)) if converged else (1.0, record.objective)
    value = record.settled(card.watched)
    return (1.0, -value if card.more_is_better else value) if math.isfinite(value) else (2.0, math.inf)


def best(trials: Iterable[Record], card: ProblemCard) -> Record:
    """The trial whose settings the final runs take; of equals the earliest."""
    return min(trials, key=lambda r: (*score(r, card), r.spec.trial or 0))
