"""NonlinearCG."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Scalar

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.descent import Descent
from frechet.solvers.line_search import nonlinear_cg
from frechet.solvers.line_search.descent import DescentState


class NonlinearCGState(NamedTuple):
    """State of `NonlinearCG`.

    Attributes:
        iter_num: updates so far.
        stepsize: the last step length.
        error: norm of the gradient.
        value: of the function.
        grad: its gradient.
        descent_direction: along which the next step goes.
        aux: ``fun``'s auxiliary data.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
        num_linesearch_iter: step lengths tried so far.
        inner: the native state.
    """

    iter_num: Any
    stepsize: Any
    error: Any
    value: Any
    grad: Any
    descent_direction: Any
    aux: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_linesearch_iter: Any
    inner: DescentState


@dataclasses.dataclass(eq=False)
class NonlinearCG(Descent):
    """Minimises ``fun(params, *args)``; over `frechet.solvers.NonlinearCG`.

    Args:
        fun: the function; the settings not named here are those of `BFGS`.
        method: "polak-ribiere", "fletcher-reeves" or "hestenes-stiefel".
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 100
    tol: float = 1e-3
    method: Any = "polak-ribiere"
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    condition: Any = None
    maxls: int = 30
    decrease_factor: Any = None
    increase_factor: float = 1.2
    max_stepsize: float = 1.0
    min_stepsize: float = 1e-6
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"
    verbose: bool | int = False

    state: ClassVar[type] = NonlinearCGState

    def underlying(self) -> nonlinear_cg.NonlinearCG:
        return nonlinear_cg.NonlinearCG(self.method)

    def shown(self, params: Any, inner: DescentState, problem: Any, count: Scalar) -> dict[str, Any]:
        return super().shown(params, inner, problem, count) | {"descent_direction": inner.direction}
