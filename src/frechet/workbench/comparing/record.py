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
        x: the final iterate, flat; empty where nothing starts from it again.
        parameter_bytes: size of the iterate.
        state_bytes: what the solver keeps beside the iterate.
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
    parameter_bytes: int = 0
    state_bytes: int = 0
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

    @property
    def diverged(self) -> bool:
        """Whether it ended in numbers that are not finite, or in none."""
        return self.failed or self.status == "nonfinite" or not np.isfinite(self.objective)

    def settled(self, name: str) -> float:
        """A column's mean over the last quarter of the checks; NaN without one."""
        column = np.asarray(self.columns.get(name, ()), float)
        return float(column[-max(1, len(column) // 4) :].mean()) if len(column) else float("nan")

    @property
    def step_seconds(self) -> float:
        """Seconds a step: the median over the stretches between checks; NaN without one."""
        steps, seconds = (np.asarray(self.columns.get(name, ()), float) for name in ("step", "seconds"))
        taken = np.diff(steps)
        return float(np.median(np.diff(seconds)[taken > 0] / taken[taken > 0])) if taken.any() else np.nan

    @classmethod
    def failure(cls, spec: RunSpec, reason: str) -> "Record":
        """A run that came to nothing."""
        return cls(spec, FAILED, reason=" ".join(reason.split()))
