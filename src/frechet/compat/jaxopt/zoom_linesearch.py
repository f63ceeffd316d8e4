"""ZoomLineSearch."""

import dataclasses
from collections.abc import Callable

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.line_search import IterativeLineSearch
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.solvers.line_search.zoom import Zoom

# Parts of what a verbose search prints when it fails.
FLAG_NAN_INF_VALUES = "Cannot even make a step without getting Inf or Nan"
FLAG_INTERVAL_NOT_FOUND = "No interval satisfying curvature condition."
FLAG_INTERVAL_TOO_SMALL = "Length of searched interval has been reduced"
FLAG_CURVATURE_COND_NOT_SATSIFIED = "Returning stepsize with sufficient decrease"
FLAG_NO_STEPSIZE_FOUND = "Linesearch failed, no stepsize satisfying sufficient decrease found."
FLAG_NOT_A_DESCENT_DIRECTION = "the provided direction is not a descent direction."


@dataclasses.dataclass(eq=False)
class ZoomLineSearch(IterativeLineSearch):
    """A line search for the strong Wolfe conditions; over `frechet.solvers.line_search.zoom.Zoom`.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        c1: constant of sufficient decrease.
        c2: constant of the curvature condition.
        c3: relative rise up to which the approximate decrease condition counts.
        rel_tol_cubic: unused.
        rel_tol_quad: unused.
        interval_threshold: shortest interval that is searched further.
        increase_factor: ratio of steps until they bracket.
        tol: how far the conditions may be violated.
        maxiter: most steps tried.
        max_stepsize: longest step; None for ``2**maxiter``.
        verbose: print why a search fails.
        jit: compile.
        unroll: unused: a search is not differentiated, its end is.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    c1: float = 1e-4
    c2: float = 0.9
    c3: float = 1e-6
    rel_tol_cubic: float = 0.2
    rel_tol_quad: float = 0.1
    interval_threshold: float = 1e-6
    increase_factor: float = 2.0
    tol: float = 0.0
    maxiter: int = 30
    max_stepsize: float | None = None
    verbose: bool | int = False
    jit: AutoOrBoolean = "auto"
    unroll: AutoOrBoolean = "auto"

    def __post_init__(self):
        warn_of_unused(self, "rel_tol_cubic", "rel_tol_quad")

    def native(self) -> Zoom:
        return Zoom(
            armijo=self.c1,
            curvature=self.c2,
            approximate=self.c3,
            tolerance=self.tol,
            growth=self.increase_factor,
            longest=2.0**self.maxiter if self.max_stepsize is None else self.max_stepsize,
            shortest_bracket=self.interval_threshold,
            max_trials=self.maxiter,
            verbose=bool(self.verbose),
        )
