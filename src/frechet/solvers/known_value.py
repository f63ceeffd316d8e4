"""Solvers whose state carries the value of the smooth part."""

from typing import Any

from jaxtyping import Scalar

from frechet.core.solver import Solver
from frechet.problems.smooth_part import SmoothPart


class KnownValue(Solver):
    """A solver whose ``state.value`` is $f(x)$ at ``state.x``."""

    def objective(self, problem: SmoothPart, state: Any) -> Scalar:
        return state.value + problem.g(state.x)
