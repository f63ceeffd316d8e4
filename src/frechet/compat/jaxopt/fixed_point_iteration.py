"""FixedPointIteration."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.functions import Applied
from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.equations import FixedPoint
from frechet.solvers.fixed_point.krasnoselskii_mann import KrasnoselskiiMann


class FixedPointState(NamedTuple):
    """State of `FixedPointIteration`.

    Attributes:
        iter_num: updates so far.
        error: length of the last step.
        aux: ``fixed_point_fun``'s auxiliary data.
        num_fun_eval: evaluations so far, those for the auxiliary data left out.
        inner: the native state.
    """

    iter_num: Any
    error: Any
    aux: Any
    num_fun_eval: Any
    inner: State


class FixedPointAdapter(Adapter):
    """An adapter of which the function is a fixed-point map."""

    def function(self, *args: Any, **kwargs: Any) -> Applied:
        solver: Any = self
        return Applied(solver.fixed_point_fun, args, kwargs, solver.has_aux)

    def problem(self, *args: Any, **kwargs: Any) -> FixedPoint:
        return FixedPoint(self.function(*args, **kwargs))

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        return {"fixed_point_fun": ((init_params, *args), kwargs)}


@dataclasses.dataclass(eq=False)
class FixedPointIteration(FixedPointAdapter):
    """Repeats ``params = fixed_point_fun(params, *args)``; over `frechet.solvers.KrasnoselskiiMann`.

    Args:
        fixed_point_fun: the map, a contraction; it returns what is like ``params``.
        maxiter: most iterations.
        tol: for the length of a step.
        has_aux: whether ``fixed_point_fun`` returns auxiliary data.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fixed_point_fun: Callable
    maxiter: int = 100
    tol: float = 1e-5
    has_aux: bool = False
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = FixedPointState

    def native(self, iter_num: Scalar) -> KrasnoselskiiMann:
        return KrasnoselskiiMann(relaxation=1.0)

    def shown(self, params: Any, inner: State, problem: Any, count: Scalar) -> dict[str, Any]:
        return {"error": tree.norm(tree.subtract(inner.x, params)), "num_fun_eval": inner.calls.value}
