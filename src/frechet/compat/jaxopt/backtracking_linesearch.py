"""BacktrackingLineSearch."""

import dataclasses
from collections.abc import Callable
from typing import Any

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.line_search import IterativeLineSearch
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.solvers.line_search.backtracking import Backtracking


@dataclasses.dataclass(eq=False)
class BacktrackingLineSearch(IterativeLineSearch):
    """A line search that shortens the step; over `frechet.solvers.line_search.backtracking.Backtracking`.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        maxiter: most steps tried.
        tol: how far the conditions may be violated.
        condition: "armijo", "goldstein", "wolfe" or "strong-wolfe".
        c1: constant of sufficient decrease.
        c2: constant of the Wolfe conditions.
        decrease_factor: ratio of one step to the one before.
        max_stepsize: longest step.
        verbose: unused.
        jit: compile.
        unroll: unused: a search is not differentiated, its end is.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 30
    tol: float = 0.0
    condition: str = "strong-wolfe"
    c1: float = 1e-4
    c2: float = 0.9
    decrease_factor: float = 0.8
    max_stepsize: float = 1.0
    verbose: bool | int = False
    jit: AutoOrBoolean = "auto"
    unroll: AutoOrBoolean = "auto"

    def __post_init__(self):
        warn_of_unused(self, "verbose")

    def native(self) -> Backtracking:
        condition: Any = self.condition
        return Backtracking(
            condition, self.c1, self.c2, self.tol, self.decrease_factor, self.max_stepsize, self.maxiter
        )
