"""What was claimed and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """Both sides of a claim. Use `at_most`, `at_least`, `equal` or `table`; they decide ``holds`` themselves.

    Attributes:
        claimed: the paper's side, a number or a text.
        measured: ours.
        holds: whether the claim does.
        relation: how the measured is to stand to the claimed: ``"≤"``, ``"≥"``, ``"="`` or nothing.
        tolerance: how far off the measured may be, in ``unit``; it comes from the mathematics.
        unit: of both sides; empty for pure numbers.
        note: a sentence on how it was measured.
        rows: the parts of a claim that has many, one mapping of column to value each.

    Example:
        >>> print(Evidence.equal(1.0, 1.04, tolerance=0.1, note="slope over two decades"))
        holds: claimed = 1 ± 0.1, measured 1.04
        >>> Evidence.at_most(1e-6, float("nan")).holds
        False
    """

    claimed: Any
    measured: Any
    holds: bool
    relation: str = ""
    tolerance: float | None = None
    unit: str = ""
    note: str = ""
    rows: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self):
        object.__setattr__(self, "holds", bool(self.holds))

    @classmethod
    def at_most(cls, bound: Any, measured: Any, *, unit: str = "", note: str = "", rows: Any = ()):
        """The measured is no more than the bound."""
        return cls(bound, measured, measured <= bound, "≤", None, unit, note, rows)

    @classmethod
    def at_least(cls, bound: Any, measured: Any, *, unit: str = "", note: str = "", rows: Any = ()):
        """The measured is no less than the bound."""
        return cls(bound, measured, measured >= bound, "≥", None, unit, note, rows)

    @classmethod
    def equal(
        cls, claimed: Any, measured: Any, *, tolerance: float, unit: str = "", note: str = "", rows: Any = ()
    ):
        """The measured is within ``tolerance`` of the claimed."""
        return cls(claimed, measured, abs(measured - claimed) <= tolerance, "=", tolerance, unit, note, rows)

    @classmethod
    def table(cls, rows: Sequence[Mapping[str, Any]], *, note: str = ""):
        """Every row holds; each has a column ``"holds"``, and there is at least one."""
        rows = [{**row, "holds": bool(row["holds"])} for row in rows]
        holding = sum(row["holds"] for row in rows)
        return cls(
            f"all {len(rows)} rows",
            f"{holding} of {len(rows)}",
            0 < len(rows) == holding,
            rows=rows,
            note=note,
        )

    @property
    def claimed_text(self) -> str:
        """The paper's side for people."""
        off = f" ± {show(self.tolerance)}" if self.tolerance is not None else ""
        return " ".join(filter(None, [self.relation, show(self.claimed) + off, self.unit]))

    @property
    def measured_text(self) -> str:
        """Our side for people."""
        return " ".join(filter(None, [show(self.measured), self.unit]))

    def __str__(self) -> str:
        verb = "holds" if self.holds else "fails"
        return f"{verb}: claimed {self.claimed_text}, measured {self.measured_text}"


def show(value: Any) -> str:
    """A number to four digits, anything else as it is.

    Example:
        >>> show(0.000123456), show(12), show(True), show("linear")
        ('0.0001235', '12', 'yes', 'linear')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if np.ndim(value) == 0 and not isinstance(value, str | int | None):
        return f"{float(value):.4g}"
    return str(value)
