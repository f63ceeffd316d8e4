"""What one run left behind."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frechet.workbench.comparing.plan import RunSpec

FAILED = "failed"


@dataclass
class Record:
    """A finished run: its trace and how it ended.

    Attributes:
        spec: what was run.
        status: the name of a `frechet.Status`, or ``"failed"`` when there is no solution.
        columns: the trace, a column a measure, a row a check.
        reason: a sentence on the status; for a failed run, what went wrong.
        residual: Euclidean norm of the optimality map at the end.
        steps: solver steps taken.
        compile_seconds: tracing and compiling; never part of ``columns["seconds"]``.
        x: the final iterate, flat.
        environment: where it ran.
    """

    spec: RunSpec
    status: str
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    reason: str = ""
    residual: float = float("nan")
    steps: int = 0
    compile_seconds: float = float("nan")
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is no solution to show; such a run is tried again next time."""
        return self.status == FAILED

    @property
    def objective(self) -> float:
        """The last objective in the trace; NaN without one."""
        column = self.columns.get("objective")
        return float(column[-1]) if column is not None and len(column) else float("nan")

    @classmethod
    def failure(cls, spec: RunSpec, reason: str) -> "Record":
        """A run that came to nothing."""
        return cls(spec, FAILED, reason=" ".join(reason.split()))
