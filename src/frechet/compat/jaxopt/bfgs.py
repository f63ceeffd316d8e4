"""BFGS."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Scalar

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.descent import Descent
from frechet.solvers.line_search import bfgs
from frechet.solvers.line_search.descent import DescentState


class BfgsState(NamedTuple):
    """State of `BFGS`.

    Attributes:
        iter_num: updates so far.
        value: of the function.
        grad: its gradient.
        stepsize: the last step length.
        error: norm of the gradient.
        H: the inverse Hessian's approximation, over the raveled parameters.
        aux: ``fun``'s auxiliary data.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
        num_linesearch_iter: step lengths tried so far.
        inner: the native state.
    """

    iter_num: Any
    value: Any
    grad: Any
    stepsize: Any
    error: Any
    H: Any
    aux: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_linesearch_iter: Any
    inner: DescentState


@dataclasses.dataclass(eq=False)
class BFGS(Descent):
    """Minimises ``fun(params, *args)``; over `frechet.solvers.BFGS`.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        maxiter: most iterations.
        tol: for the norm of the gradient.
        stepsize: a step size, a function of the iteration's number, or at most 0 for line search.
        linesearch: "backtracking", "zoom", "hager-zhang", or an instance, of which the settings are used.
        linesearch_init: what a search tries first: "max", "current" (the last step) or "increase".
        condition: unused.
        maxls: most steps a search tries.
        decrease_factor: unused.
        increase_factor: what "increase" multiplies the last step by.
        max_stepsize: longest step.
        min_stepsize: after a step below it "increase" starts from ``max_stepsize`` again.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
        verbose: print each iteration; 2: and failed line searches.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 500
    tol: float = 1e-3
    stepsize: float | Callable = 0.0
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    condition: Any = None
    maxls: int = 30
    decrease_factor: Any = None
    increase_factor: float = 1.5
    max_stepsize: float = 1.0
    min_stepsize: float = 1e-6
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"
    verbose: bool | int = False

    state: ClassVar[type] = BfgsState

    def underlying(self) -> bfgs.BFGS:
        return bfgs.BFGS()

    def shown(self, params: Any, inner: DescentState, problem: Any, count: Scalar) -> dict[str, Any]:
        return super().shown(params, inner, problem, count) | {"H": inner.memory}
