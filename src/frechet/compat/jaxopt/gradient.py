"""GradientDescent, ProximalGradient and ProjectedGradient, over FISTA and the proximal gradient method."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.prox import prox_none
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import tree
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.proximal.proximal_gradient import ProximalGradient as Unaccelerated


class ProxGradState(NamedTuple):
    """State of the proximal gradient family.

    Attributes:
        iter_num: updates so far.
        stepsize: the last step size.
        error: length of the last step over its step size.
        velocity: the previous iterate, for momentum; None without.
        t: momentum weight.
        aux: ``fun``'s auxiliary data.
        inner: the native state.
    """

    iter_num: Any
    stepsize: Any
    error: Any
    velocity: Any
    t: Any
    aux: Any
    inner: State


class UserProx(Function):
    """A convex function known by its proximal map alone; its value is not, and counts as zero.

    Attributes:
        map: from the point, the hyperparameters and the step to the proximal point.
        hyperparams: any pytree.
    """

    map: Callable
    hyperparams: Any

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return Zero()(x)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.map(x, self.hyperparams, step)


class Projection(eqx.Module):
    """A projection called as a proximal map."""

    project: Callable

    def __call__(self, x: PyTree[Array], hyperparams: Any, step: Any) -> PyTree[Array]:
        return self.project(x, hyperparams)


class _Family(Adapter):
    """What the three share; settings are those of the subclasses."""

    state: ClassVar[type] = ProxGradState

    def __post_init__(self):
        warn_of_unused(self, "maxls", "decrease_factor")

    def native(self, iter_num: Scalar) -> Solver:
        stepsize: Any = self.stepsize  # pyright: ignore[reportAttributeAccessIssue]
        constant = stepsize(iter_num) if callable(stepsize) else (stepsize if stepsize > 0 else None)
        accelerated = self.acceleration  # pyright: ignore[reportAttributeAccessIssue]
        return (FISTA if accelerated else Unaccelerated)(step_size=constant)

    def shown(self, params: Any, inner: Any, problem: Any, count: Scalar) -> dict[str, Any]:
        solver: Any = self.native(jnp.maximum(count - 1, 0))
        accelerated = isinstance(solver, FISTA)
        if accelerated:
            step = inner.step
        elif solver.step_size is None:
            step = inner.backtracking.trial / inner.backtracking.growth
        else:
            step = jnp.asarray(solver.step_size)
        moved = tree.norm(tree.subtract(inner.x, params))
        dtype = moved.dtype
        return {
            "stepsize": step.astype(dtype),
            "error": moved / step.astype(dtype),
            "velocity": inner.previous if accelerated else None,
            "t": inner.t if accelerated else jnp.ones((), dtype),
        }


@dataclasses.dataclass(eq=False)
class GradientDescent(_Family):
    """Minimises ``fun(params, *args)``; over `frechet.solvers.FISTA`.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        stepsize: a step size, a function of the iteration's number, or at most 0 for line search.
        maxiter: most iterations.
        maxls: unused: the line search ends when it has found a step.
        tol: for the length of a step over its step size.
        acceleration: momentum.
        decrease_factor: unused: rejected steps are halved.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    stepsize: float | Callable = 0.0
    maxiter: int = 500
    maxls: int = 15
    tol: float = 1e-3
    acceleration: bool = True
    decrease_factor: float = 0.5
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: str | bool = "auto"

    def problem(self, *args: Any, **kwargs: Any) -> Composite:
        return Composite(self.function(*args, **kwargs))


@dataclasses.dataclass(eq=False)
class ProximalGradient(_Family):
    """Minimises ``fun(params, *args) + g(params, hyperparams_prox)``; over `frechet.solvers.FISTA`.

    Args:
        fun: the smooth part; the other settings are those of `GradientDescent`.
        prox: ``prox(params, hyperparams_prox, scaling)``.
    """

    fun: Callable
    prox: Callable = prox_none
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    stepsize: float | Callable = 0.0
    maxiter: int = 500
    maxls: int = 15
    tol: float = 1e-3
    acceleration: bool = True
    decrease_factor: float = 0.5
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: str | bool = "auto"

    # The second argument has JAXopt's name, by which callers may pass it.

    def problem(self, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> Composite:
        return Composite(
            self.function(hyperparams_prox, *args, **kwargs), UserProx(self.prox, hyperparams_prox)
        )

    def fun_arguments(self, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        return args, kwargs

    def example_calls(
        self, init_params: Any, hyperparams_prox: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, tuple[tuple, dict]]:
        calls = super().example_calls(init_params, hyperparams_prox, *args, **kwargs)
        return calls | {"prox": ((init_params, hyperparams_prox, 1.0), {})}


@dataclasses.dataclass(eq=False)
class ProjectedGradient(_Family):
    """Minimises ``fun(params, *args)`` over a set; over `frechet.solvers.FISTA`.

    Args:
        fun: the function; the other settings are those of `GradientDescent`.
        projection: ``projection(params, hyperparams_proj)``.
    """

    fun: Callable
    projection: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    stepsize: float | Callable = 0.0
    maxiter: int = 500
    maxls: int = 15
    tol: float = 1e-3
    acceleration: bool = True
    decrease_factor: float = 0.5
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: str | bool = "auto"

    def problem(self, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> Composite:
        set = UserProx(Projection(self.projection), hyperparams_proj)
        return Composite(self.function(hyperparams_proj, *args, **kwargs), set)

    def fun_arguments(self, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        return args, kwargs

    def example_calls(
        self, init_params: Any, hyperparams_proj: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, tuple[tuple, dict]]:
        calls = super().example_calls(init_params, hyperparams_proj, *args, **kwargs)
        return calls | {"projection": ((init_params, hyperparams_proj), {})}
