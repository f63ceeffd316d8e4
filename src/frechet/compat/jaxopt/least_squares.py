"""GaussNewton and LevenbergMarquardt."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean, OptStep
from frechet.compat.jaxopt.functions import Applied
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.least_squares import gauss_newton, levenberg_marquardt


class GaussNewtonState(NamedTuple):
    """State of `GaussNewton`.

    Attributes:
        iter_num: updates so far.
        residual: of the point before the last step, as value and gradient are.
        value: half the squared norm of the residual.
        delta: the last step, negative.
        error: norm of the last step.
        gradient: of the value.
        aux: ``residual_fun``'s auxiliary data.
        inner: the native state.
    """

    iter_num: Any
    residual: Any
    value: Any
    delta: Any
    error: Any
    gradient: Any
    aux: Any
    inner: State


class LevenbergMarquardtState(NamedTuple):
    """State of `LevenbergMarquardt`.

    Attributes:
        iter_num: updates so far.
        damping_factor: the damping.
        increase_factor: what it is multiplied by after a rejection.
        residual: of the point.
        value: half its squared norm.
        delta: the last trial step, accepted or not.
        error: norm of the gradient.
        gradient: of the value.
        jac: the residual's Jacobian over the raveled parameters.
        aux: ``residual_fun``'s auxiliary data.
        inner: the native state.
    """

    iter_num: Any
    damping_factor: Any
    increase_factor: Any
    residual: Any
    value: Any
    delta: Any
    error: Any
    gradient: Any
    jac: Any
    aux: Any
    inner: State


class _LeastSquares(Adapter):
    """What the two share."""

    def function(self, *args: Any, **kwargs: Any) -> Applied:
        solver: Any = self
        return Applied(solver.residual_fun, args, kwargs, solver.has_aux)

    def problem(self, *args: Any, **kwargs: Any) -> LeastSquares:
        return LeastSquares(self.function(*args, **kwargs))

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        return {"residual_fun": ((init_params, *args), kwargs)}


def _like(problem: LeastSquares, x: PyTree[Array], flat: Array) -> PyTree[Array]:
    """A raveled residual in its own form."""
    form = jax.eval_shape(problem.residual, x)
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), form))[1](flat)


@dataclasses.dataclass(eq=False)
class GaussNewton(_LeastSquares):
    """Minimises half the squared norm of ``residual_fun(params, *args)``; over `frechet.solvers.GaussNewton`.

    Args:
        residual_fun: the residual.
        maxiter: most iterations.
        tol: for the norm of a step.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        has_aux: whether ``residual_fun`` returns auxiliary data.
        verbose: print each iteration.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    residual_fun: Callable
    maxiter: int = 30
    tol: float = 1e-5
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False
    verbose: bool | int = False
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = GaussNewtonState

    def native(self, iter_num: Scalar) -> gauss_newton.GaussNewton:
        return gauss_newton.GaussNewton()

    def shown(self, params: Any, inner: Any, problem: Any, count: Scalar) -> dict[str, Any]:
        delta = tree.subtract(params, inner.x)
        return {
            "residual": _like(problem, inner.x, inner.residual),
            "value": 0.5 * jnp.sum(inner.residual**2),
            "delta": delta,
            "error": tree.norm(delta),
            "gradient": ravel_pytree(inner.x)[1](inner.gradient),
        }


@dataclasses.dataclass(eq=False)
class LevenbergMarquardt(_LeastSquares):
    """Minimises half the squared norm of ``residual_fun(params, *args)``.

    Over `frechet.solvers.LevenbergMarquardt`.

    Args:
        residual_fun: the residual.
        maxiter: most iterations, rejected trials included.
        damping_parameter: multiple of the largest squared column norm of the Jacobian that the damping
            starts from.
        stop_criterion: "grad-l2-norm" (``tol``) or "madsen-nielsen" (``xtol`` and ``gtol``).
        tol: for the norm of the gradient.
        xtol: for the length of a step, relative to the parameters.
        gtol: for the largest entry of the gradient.
        solver: unused: systems are solved by QR.
        geodesic: unused.
        verbose: print each iteration.
        jac_fun: unused: the Jacobian is made by forward differentiation.
        materialize_jac: the Jacobian is always dense.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        has_aux: whether ``residual_fun`` returns auxiliary data.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    residual_fun: Callable
    maxiter: int = 30
    damping_parameter: float = 1e-6
    stop_criterion: str = "grad-l2-norm"
    tol: float = 1e-3
    xtol: float = 1e-3
    gtol: float = 1e-3
    solver: str | Callable | None = None
    geodesic: bool = False
    verbose: bool | int = False
    jac_fun: Callable | None = None
    materialize_jac: bool = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = LevenbergMarquardtState

    def __post_init__(self):
        warn_of_unused(self, "solver", "geodesic", "jac_fun")
        if self.stop_criterion not in ("grad-l2-norm", "madsen-nielsen"):
            raise ValueError(
                f'stop_criterion must be "grad-l2-norm" or "madsen-nielsen", got {self.stop_criterion!r}'
            )

    def native(self, iter_num: Scalar) -> levenberg_marquardt.LevenbergMarquardt:
        return levenberg_marquardt.LevenbergMarquardt(self.damping_parameter)

    def shown(self, params: Any, inner: Any, problem: Any, count: Scalar) -> dict[str, Any]:
        gradient = inner.residual @ inner.jacobian
        unravel = ravel_pytree(inner.x)[1]
        return {
            "damping_factor": inner.damping,
            "increase_factor": inner.growth,
            "residual": _like(problem, inner.x, inner.residual),
            "value": 0.5 * jnp.sum(inner.residual**2),
            "delta": unravel(inner.move),
            "error": tree.norm(gradient),
            "gradient": unravel(gradient),
            "jac": inner.jacobian,
        }

    def unfinished(self, step: OptStep) -> Any:
        if self.stop_criterion == "grad-l2-norm":
            return super().unfinished(step)
        short = tree.norm(step.state.delta) <= self.xtol * (tree.norm(step.params) + self.xtol)
        return ~(short | (tree.largest(step.state.gradient) <= self.gtol))
