"""Broyden."""

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
from frechet.core import tree
from frechet.problems.equations import Root
from frechet.solvers.fixed_point import broyden
from frechet.solvers.fixed_point.broyden import BroydenState as NativeState


class BroydenState(NamedTuple):
    """State of `Broyden`.

    Attributes:
        iter_num: updates so far.
        value: of the function.
        stepsize: the last step length.
        error: norm of the value.
        d_history: with ``c_history`` the approximate inverse Jacobian ``gamma I + sum_j c_j d_j^T``; in the
            structure of the parameters, with a leading axis.
        c_history: see ``d_history``.
        gamma: the inverse Jacobian to begin with, a multiple of the identity.
        aux: ``fun``'s auxiliary data.
        failed_linesearch: whether the last search found no step that keeps the value in bounds.
        num_fun_eval: evaluations so far, those for the auxiliary data left out.
        num_linesearch_iter: step lengths tried so far.
        inner: the native state.
    """

    iter_num: Any
    value: Any
    stepsize: Any
    error: Any
    d_history: Any
    c_history: Any
    gamma: Any
    aux: Any
    failed_linesearch: Any
    num_fun_eval: Any
    num_linesearch_iter: Any
    inner: NativeState


@dataclasses.dataclass(eq=False)
class Broyden(Adapter):
    """A root of ``fun(params, *args)``, a function that returns what is like ``params``.

    Over `frechet.solvers.Broyden` with limited memory.

    ``init_params`` may be what ``run`` returned: the approximate inverse Jacobian is kept then.

    Args:
        fun: the function.
        has_aux: whether ``fun`` returns auxiliary data.
        maxiter: most iterations.
        tol: for the norm of the value.
        stepsize: a step size, a function of the iteration's number, or at most 0 for line search.
        linesearch: "backtracking".
        stop_if_linesearch_fails: end there.
        condition: unused: the search takes no derivatives.
        maxls: unused: the search ends when it has found a step.
        decrease_factor: unused: rejected steps are halved.
        increase_factor: unused: every search begins with a full step.
        max_stepsize: unused.
        min_stepsize: unused.
        history_size: how many rank-one changes of the inverse Jacobian are kept; by default ``maxiter``.
        gamma: the inverse Jacobian to begin with, a multiple of the identity.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
        verbose: print each iteration.
    """

    fun: Callable
    has_aux: bool = False
    maxiter: int = 500
    tol: float = 1e-3
    stepsize: float | Callable = 0.0
    linesearch: str = "backtracking"
    stop_if_linesearch_fails: bool = False
    condition: str = "wolfe"
    maxls: int = 15
    decrease_factor: float = 0.8
    increase_factor: float = 1.5
    max_stepsize: float = 1.0
    min_stepsize: float = 1e-6
    history_size: int | None = None
    gamma: float = 1.0
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"
    verbose: bool | int = False

    state: ClassVar[type] = BroydenState

    def __post_init__(self):
        unused = ("condition", "maxls", "decrease_factor", "increase_factor", "max_stepsize", "min_stepsize")
        warn_of_unused(self, *unused)
        if self.linesearch != "backtracking":
            raise ValueError(f'linesearch must be "backtracking", got {self.linesearch!r}')

    def problem(self, *args: Any, **kwargs: Any) -> Root:
        return Root(self.function(*args, **kwargs))

    def native(self, iter_num: Scalar) -> broyden.Broyden:
        searched = not callable(self.stepsize) and self.stepsize <= 0
        return broyden.Broyden(
            history=self.maxiter if self.history_size is None else self.history_size,
            scale=self.gamma,
            step_size=None if searched else self.stepsize,
        )

    def shown(self, params: Any, inner: NativeState, problem: Any, count: Scalar) -> dict[str, Any]:
        unravel = ravel_pytree(inner.x)[1]
        inverse: Any = inner.inverse
        return {
            "value": unravel(inner.value),
            "stepsize": inner.length,
            "error": tree.norm(inner.value),
            "d_history": jax.vmap(unravel)(inverse.d),
            "c_history": jax.vmap(unravel)(inverse.c),
            "gamma": inverse.scale,
            "failed_linesearch": inner.failed,
            "num_fun_eval": inner.calls.value,
            "num_linesearch_iter": inner.calls.value - 1,
        }

    def resumed(self, begun: NativeState, inner: NativeState) -> NativeState:
        return eqx.tree_at(lambda s: (s.inverse, s.count), begun, (inner.inverse, inner.count))

    def unfinished(self, step: OptStep) -> Any:
        stuck = step.state.failed_linesearch if self.stop_if_linesearch_fails else False
        return super().unfinished(step) & ~jnp.asarray(stuck)
