"""HagerZhangLineSearch."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.line_search import IterativeLineSearch
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.solvers.line_search.zoom import Zoom


@dataclasses.dataclass(eq=False)
class HagerZhangLineSearch(IterativeLineSearch):
    """A line search for Hager and Zhang's conditions; over `frechet.solvers.line_search.zoom.Zoom`.

    The conditions are theirs (those of Wolfe, the decrease approximate near a minimum), the brackets are
    not: cubic interpolation takes the place of the secant steps.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        maxiter: most steps tried.
        tol: how far the conditions may be violated.
        c1: constant of sufficient decrease.
        c2: constant of the curvature condition.
        expansion_factor: ratio of steps until they bracket.
        shrinkage_factor: unused.
        max_stepsize: unused.
        verbose: print why a search fails.
        jit: compile.
        unroll: unused: a search is not differentiated, its end is.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 30
    tol: float = 0.0
    c1: float = 0.1
    c2: float = 0.9
    expansion_factor: float = 5.0
    shrinkage_factor: float = 0.66
    max_stepsize: float = 1.0
    verbose: bool | int = False
    jit: AutoOrBoolean = "auto"
    unroll: AutoOrBoolean = "auto"
    approximate_wolfe_threshold: ClassVar[float] = 1e-6

    def __post_init__(self):
        warn_of_unused(self, "shrinkage_factor", "max_stepsize")

    def native(self) -> Zoom:
        return Zoom(
            armijo=self.c1,
            curvature=self.c2,
            approximate=self.approximate_wolfe_threshold,
            tolerance=self.tol,
            growth=self.expansion_factor,
            max_trials=self.maxiter,
            verbose=bool(self.verbose),
        )
