"""Solvers whose state carries the value of the smooth part."""

from typing import Any

from jaxtyping import Scalar

from frechet.core.solver import Solver


class KnownValue(Solver):
    """A solver whose ``state.value`` is $f(x)$ at ``state.x``."""

    def objective(self, problem: Any, state: Any) -> Scalar:
        return state.value + problem.g(state.x)
