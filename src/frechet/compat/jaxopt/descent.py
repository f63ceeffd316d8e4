"""What BFGS, LBFGS and NonlinearCG share: a native method with JAXopt's line searches and first steps."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.linesearch_util import _init_stepsize, _setup_linesearch
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.core import tree
from frechet.core.solver import Solver
from frechet.problems.composite import Composite
from frechet.solvers.line_search import descent
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.search import Constant, LineSearch


class Guided(Solver):
    """A native method whose first step length is found from the last one as JAXopt's options say.

    Attributes:
        method: a native solver with ``turn``.
        search: the line search.
        strategy: "max", "current" or "increase".
        longest: the step before the first.
        shortest: below it a search starts from ``longest`` again.
        growth: factor of "increase".
    """

    method: Any
    search: LineSearch
    strategy: str = eqx.field(static=True)
    longest: Any
    shortest: Any
    growth: Any

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> DescentState:
        state = self.method.init(problem, x0, key=key)
        return eqx.tree_at(lambda s: s.step, state, jnp.asarray(self.longest, state.step.dtype))

    def step(self, problem: Composite, state: DescentState, *, key: PRNGKeyArray) -> DescentState:
        first = _init_stepsize(self.strategy, self.longest, self.shortest, self.growth, state.step)
        # A search without a bound of its own would else begin with ever longer steps.
        return descent.advance(
            problem, state, self.search, jnp.minimum(first, self.longest), self.method.turn
        )


class Descent(Adapter):
    """An adapter over a native method with a direction and a line search."""

    @abc.abstractmethod
    def underlying(self) -> Solver:
        """The native method."""

    def __post_init__(self):
        warn_of_unused(self, "condition", "decrease_factor")
        self.native(jnp.asarray(0))  # bad names of options are told at once

    def problem(self, *args: Any, **kwargs: Any) -> Composite:
        return Composite(self.function(*args, **kwargs))

    def _search(self, iter_num: Scalar) -> LineSearch:
        solver: Any = self
        stepsize: Any = getattr(solver, "stepsize", 0.0)
        if callable(stepsize):
            size: Any = stepsize(iter_num)
            return Constant(size)
        if stepsize > 0:
            return Constant(stepsize)
        verbose = max(int(solver.verbose) - 1, 0)
        return _setup_linesearch(
            solver.linesearch, solver.fun, False, False, solver.maxls, solver.max_stepsize, verbose=verbose
        ).native()

    def native(self, iter_num: Scalar) -> Guided:
        s: Any = self
        search = self._search(iter_num)
        _init_stepsize(s.linesearch_init, 1.0, 0.0, 1.0, jnp.ones(()))
        return Guided(
            self.underlying(), search, s.linesearch_init, s.max_stepsize, s.min_stepsize, s.increase_factor
        )

    def shown(self, params: Any, inner: DescentState, problem: Any, count: Scalar) -> dict[str, Any]:
        calls, search = inner.calls, self._search(count)
        # A search that takes gradients does so at every trial, any other only at the end.
        sloped = getattr(search, "condition", "wolfe") in ("wolfe", "strong-wolfe")
        trials = calls.value - (1 if sloped and not isinstance(search, Constant) else calls.gradient)
        return {
            "value": inner.value,
            "grad": inner.gradient,
            "stepsize": inner.step,
            "error": tree.norm(inner.gradient).astype(inner.step.dtype),
            "num_fun_eval": calls.value,
            "num_grad_eval": calls.gradient,
            "num_linesearch_iter": trials,
        }
