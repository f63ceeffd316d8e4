"""What a run may spend: seconds, steps or calls of an oracle."""

import re
from typing import Any

from frechet.core.calls import ORACLES
from frechet.workbench.errors import UserError, nearest

_SECONDS = {
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "m": 60.0,
    "h": 3600.0,
}


def parse_budget(budget: Any) -> dict[str, float]:
    """What a run may spend, as plain data.

    Args:
        budget: seconds as a number; or a string such as ``"10s"``, ``"2min"``, ``"500 steps"``,
            ``"1000 gradient"``, or several with commas, of which the first to be spent ends the run.

    Raises:
        UserError: it cannot be read as one.

    Example:
        >>> parse_budget("2min, 500 steps")
        {'seconds': 120.0, 'steps': 500}
    """
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        budget = f"{budget!r}s"
    oracles = list(ORACLES)
    parsed: dict[str, float] = {}
    for part in str(budget).split(","):
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zA-Z_ ]+?)\s*", part)
        if not match:
            raise UserError(
                f"budget {part.strip()!r}: write a number and a unit, as in 10s, 500steps or 1000gradient"
            )
        unit = match[2].lower().replace(" ", "_")
        singular = unit if unit in _SECONDS or unit in oracles else unit.removesuffix("s")
        number = _number(match[1], part)
        if singular in _SECONDS:
            parsed["seconds"] = number * _SECONDS[singular]
        elif singular == "step" or singular in oracles:
            parsed["steps" if singular == "step" else singular] = _count(number, part)
        else:
            known = ["s", "min", "h", "steps", *oracles]
            raise UserError(
                f"budget {part.strip()!r}: unknown unit {match[2]!r}; {nearest(unit, known, shown=20)}"
            )
    return parsed


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"budget {part.strip()!r}: {text} is not a positive number")
    return number


def _count(number: float, part: str) -> int:
    if number != int(number):
        raise UserError(f"budget {part.strip()!r}: steps and oracle calls are whole numbers")
    return int(number)


def show_budget(budget: dict[str, float]) -> str:
    """The budget as the command line takes it.

    Example:
        >>> show_budget({"seconds": 10.0, "steps": 500})
        '10s,500steps'
    """
    return ",".join(f"{v:g}s" if k == "seconds" else f"{v}{k}" for k, v in budget.items())
