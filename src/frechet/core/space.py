"""Ranges of hyperparameters, declared by whoever has them and searched by whoever tunes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol


class Range(Protocol):
    """Where a hyperparameter may lie."""

    def at(self, u: float) -> Any:
        """The value at quantile ``u`` in [0, 1)."""
        ...


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform between ``low`` and ``high``.

    Example:
        >>> Uniform(1.0, 3.0).at(0.5)
        2.0
    """

    low: float
    high: float

    def __post_init__(self):
        if not self.low < self.high < math.inf:
            raise ValueError(f"a range needs low < high, both finite, got {self.low} and {self.high}")

    def at(self, u: float) -> float:
        """The value at quantile ``u``."""
        return self.low + u * (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class LogUniform(Uniform):
    """Uniform in the logarithm, between two positive numbers.

    Example:
        >>> round(LogUniform(1e-4, 1e-2).at(0.5), 6)
        0.001
    """

    def __post_init__(self):
        super().__post_init__()
        if not self.low > 0:
            raise ValueError(f"a range of logarithms needs positive bounds, got {self.low} and {self.high}")

    def at(self, u: float) -> float:
        """The value at quantile ``u``."""
        return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))


@dataclasses.dataclass(frozen=True, init=False)
class Choice:
    """One of several values, equally likely.

    Example:
        >>> Choice(0.9, 0.95, 0.99).at(0.4)
        0.95
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        if not values:
            raise ValueError("a choice needs at least one value")
        object.__setattr__(self, "values", values)

    def at(self, u: float) -> Any:
        """The value at quantile ``u``."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


Space = Mapping[str, Range]
