"""LBFGSB."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean, OptStep
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.convex.box import Box
from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.bounds import lbfgsb
from frechet.solvers.bounds.lbfgsb import LBFGSBState


class LbfgsbState(NamedTuple):
    """State of `LBFGSB`.

    Attributes:
        iter_num: updates so far.
        value: of the function.
        grad: its gradient.
        error: largest entry of the projected gradient.
        s_history: the last moves, in the structure of the parameters with a leading axis, the newest last.
        y_history: the changes of gradient that belong to them.
        theta: curvature where the pairs say nothing.
        aux: ``fun``'s auxiliary data.
        failed_linesearch: whether the last search found no step that lowers the function.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
        num_linesearch_iter: step lengths tried so far.
        inner: the native state.
    """

    iter_num: Any
    value: Any
    grad: Any
    error: Any
    s_history: Any
    y_history: Any
    theta: Any
    aux: Any
    failed_linesearch: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_linesearch_iter: Any
    inner: LBFGSBState


@dataclasses.dataclass(eq=False)
class LBFGSB(Adapter):
    """Minimises ``fun(params, *args)`` between bounds, ``run(init_params, bounds, *args)``.

    Over `frechet.solvers.LBFGSB`: the function is never evaluated outside. ``bounds`` is a pair of pytrees
    like the parameters, or None. ``init_params`` may be what ``run`` returned: the pairs are kept then.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        maxiter: most iterations.
        tol: for the largest entry of the projected gradient.
        stepsize: unused: there is always a line search.
        linesearch: unused: the search is for the strong Wolfe conditions, in the box.
        linesearch_init: unused.
        stop_if_linesearch_fails: end there.
        condition: unused.
        maxls: unused.
        decrease_factor: unused.
        increase_factor: unused.
        max_stepsize: unused.
        min_stepsize: unused.
        theta: unused: the first step is a gradient step whose length is searched.
        history_size: how many pairs are kept.
        use_gamma: unused: the model is always scaled.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
        verbose: print each iteration.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 50
    tol: float = 1e-3
    stepsize: float | Callable = 0.0
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    stop_if_linesearch_fails: bool = False
    condition: Any = None
    maxls: int = 30
    decrease_factor: Any = None
    increase_factor: float = 1.5
    max_stepsize: float = 1.0
    min_stepsize: float = 1e-6
    theta: float = 1.0
    history_size: int = 10
    use_gamma: bool = True
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"
    verbose: bool | int = False

    state: ClassVar[type] = LbfgsbState

    def __post_init__(self):
        unused = ["linesearch", "linesearch_init", "condition", "maxls", "decrease_factor", "increase_factor"]
        unused += ["max_stepsize", "min_stepsize", "theta", "use_gamma"]
        if callable(self.stepsize) or self.stepsize > 0:
            unused.append("stepsize")
        warn_of_unused(self, *unused)

    # The second argument has JAXopt's name, by which callers may pass it.

    def problem(self, bounds: Any = None, *args: Any, **kwargs: Any) -> Composite:
        fun = self.function(bounds, *args, **kwargs)
        return Composite(fun) if bounds is None else Composite(fun, Box(*bounds))

    def fun_arguments(self, bounds: Any = None, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        return args, kwargs

    def native(self, iter_num: Scalar) -> lbfgsb.LBFGSB:
        return lbfgsb.LBFGSB(self.history_size)

    def shown(self, params: Any, inner: LBFGSBState, problem: Any, count: Scalar) -> dict[str, Any]:
        unravel, rho = ravel_pytree(inner.x)[1], inner.rho[-1]
        error = tree.largest(problem.g.residual(inner.x, inner.gradient))
        return {
            "value": inner.value,
            "grad": inner.gradient,
            "error": error.astype(inner.rho.dtype),
            "s_history": jax.vmap(unravel)(inner.s),
            "y_history": jax.vmap(unravel)(inner.y),
            "theta": jnp.where(rho > 0, rho * jnp.sum(inner.y[-1] ** 2), 1).astype(inner.rho.dtype),
            # A failed search leaves no pairs and the point where it was.
            "failed_linesearch": (count > 0) & ~jnp.any(inner.rho > 0) & (error > 0),
            "num_fun_eval": inner.calls.value,
            "num_grad_eval": inner.calls.gradient,
            "num_linesearch_iter": inner.calls.value - 1,
        }

    def resumed(self, begun: LBFGSBState, inner: LBFGSBState) -> LBFGSBState:
        parts = lambda s: (s.s, s.y, s.rho)  # noqa: E731
        return eqx.tree_at(parts, begun, parts(inner))

    def unfinished(self, step: OptStep) -> Any:
        stuck = step.state.failed_linesearch if self.stop_if_linesearch_fails else False
        return super().unfinished(step) & ~jnp.asarray(stuck)
