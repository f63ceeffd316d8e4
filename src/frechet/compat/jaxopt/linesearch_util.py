"""A line search by its name, and the first step that it tries."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.compat.jaxopt.backtracking_linesearch import BacktrackingLineSearch
from frechet.compat.jaxopt.hager_zhang_linesearch import HagerZhangLineSearch
from frechet.compat.jaxopt.line_search import IterativeLineSearch
from frechet.compat.jaxopt.zoom_linesearch import ZoomLineSearch


def _setup_linesearch(
    linesearch: Any,
    fun: Callable,
    value_and_grad: Any,
    has_aux: bool,
    maxlsiter: int,
    max_stepsize: Any,
    **rest: Any,
) -> IterativeLineSearch:
    """A line search by JAXopt's name for it; one that is made already stays as it is."""
    if isinstance(linesearch, IterativeLineSearch):
        return linesearch
    common = {"value_and_grad": value_and_grad, "has_aux": has_aux, "maxiter": maxlsiter, **rest}
    if linesearch == "backtracking":
        return BacktrackingLineSearch(fun, max_stepsize=max_stepsize, **common)
    if linesearch == "zoom":
        return ZoomLineSearch(fun, max_stepsize=max_stepsize, **common)
    if linesearch == "hager-zhang":
        return HagerZhangLineSearch(fun, **common)
    raise ValueError(
        f'linesearch must be "backtracking", "zoom", "hager-zhang" or an instance, got {linesearch!r}'
    )


def _init_stepsize(
    strategy: str, max_stepsize: Any, min_stepsize: Any, increase_factor: Any, stepsize: Scalar
) -> Scalar:
    """The first step that a search tries, from the last one taken."""
    strategies = {
        "max": lambda: max_stepsize,
        "current": lambda: stepsize,
        "increase": lambda: jnp.where(stepsize <= min_stepsize, max_stepsize, stepsize * increase_factor),
    }
    if strategy not in strategies:
        raise ValueError(f"linesearch_init must be one of {', '.join(strategies)}, got {strategy!r}")
    return strategies[strategy]()
