"""OptaxSolver, PolyakSGD and ArmijoSGD, over Optax."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.compat.jaxopt.base import AutoOrBoolean, CompiledUpdate, OptStep, StochasticSolver
from frechet.compat.jaxopt.functions import objective
from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.wrappers.handed import same_types
from frechet.solvers.wrappers.optax import Transformation


class OptaxState(NamedTuple):
    """State of `OptaxSolver`.

    Attributes:
        iter_num: updates so far.
        value: of the function, before the last update.
        error: norm of its gradient there.
        internal_state: the transformation's state.
        aux: ``fun``'s auxiliary data there.
    """

    iter_num: Any
    value: Any
    error: Any
    internal_state: Any
    aux: Any


class PolyakSGDState(NamedTuple):
    """State of `PolyakSGD`.

    Attributes:
        iter_num: updates so far.
        error: norm of the gradient before the last update.
        value: of the function there.
        aux: ``fun``'s auxiliary data there.
        stepsize: the last step size.
        velocity: the last move; None without momentum.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
        internal_state: the transformation's state.
    """

    iter_num: Any
    error: Any
    value: Any
    aux: Any
    stepsize: Any
    velocity: Any
    num_fun_eval: Any
    num_grad_eval: Any
    internal_state: Any


class ArmijoState(NamedTuple):
    """State of `ArmijoSGD`; attributes as those of `PolyakSGDState`, the value after the line search."""

    iter_num: Any
    error: Any
    value: Any
    aux: Any
    stepsize: Any
    velocity: Any
    internal_state: Any


class _Transformed(StochasticSolver, CompiledUpdate):
    """An update is one of an Optax transformation."""

    state: ClassVar[type]

    @abc.abstractmethod
    def transformation(self) -> Any:
        """The transformation."""

    def shown(
        self, updates: PyTree[Array], gradient: PyTree[Array], inner: Any, state: Any
    ) -> dict[str, Any]:
        """The state's fields besides those of `OptaxState`; ``state`` is None before the first update."""
        return {}

    def move(self, updates: PyTree[Array], state: Any) -> PyTree[Array]:
        """What is added to the parameters."""
        return updates

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        call = (init_params, *args), kwargs
        return {"fun": call, "value_and_grad": call}

    def init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> Any:
        with contextlib.nullcontext() if getattr(self, "jit", True) else jax.disable_jit():
            value, aux = objective(self, args, kwargs).pair(init_params)
            params = jax.tree.map(jnp.asarray, init_params)
            inner = jax.tree.map(jnp.asarray, self.transformation().init(params))
            nothing = jax.tree.map(jnp.zeros_like, params)
            return self.state(
                iter_num=jnp.asarray(0),
                value=jnp.full((), jnp.inf, jnp.result_type(value)),
                error=jnp.full((), jnp.inf, _dtype(params)),
                internal_state=inner,
                aux=aux,
                **self.shown(nothing, nothing, inner, None),
            )

    def advance(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        params = jax.tree.map(jnp.asarray, params)
        fun = objective(self, args, kwargs)
        (value, aux), gradient = jax.value_and_grad(fun.pair, has_aux=True)(params)
        # A line search is not differentiated: its step size is a constant.
        fixed = _constant(fun)
        updates, inner = self.transformation().update(
            gradient, state.internal_state, params, value=value, grad=gradient, value_fn=lambda x: fixed(x)
        )
        inner = same_types(inner, state.internal_state)
        move = self.move(updates, state)
        fields = {"value": value} | self.shown(move, gradient, inner, state)
        ahead = self.state(
            iter_num=state.iter_num + 1,
            error=tree.norm(gradient).astype(state.error.dtype),
            internal_state=inner,
            aux=aux,
            **fields,
        )
        return OptStep(optax.apply_updates(params, move), ahead)

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        return Composite(objective(self, args, kwargs)).gradient(params)


def _constant(v: Any) -> Any:
    return jax.tree.map(lambda u: jax.lax.stop_gradient(u) if eqx.is_inexact_array(u) else u, v)


def _without_rounding(gradient: PyTree[Array]) -> PyTree[Array]:
    square = tree.norm(gradient) ** 2
    return tree.where(square > jnp.finfo(square.dtype).eps, gradient, jax.tree.map(jnp.zeros_like, gradient))


def _dtype(params: PyTree[Array]) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))


@dataclasses.dataclass(eq=False)
class OptaxSolver(_Transformed):
    """Minimises ``fun(params, *args)`` by an Optax transformation.

    Args:
        fun: the function.
        opt: an `optax.GradientTransformation`; equal ones made afresh do not compile again.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        pre_update: ``params, state = pre_update(params, state, *args, **kwargs)``, called before an update.
        maxiter: most updates.
        tol: for the norm of the gradient before an update.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        has_aux: whether ``fun`` returns auxiliary data.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fun: Callable
    opt: Any
    value_and_grad: bool | Callable = False
    pre_update: Callable | None = None
    maxiter: int = 500
    tol: float = 1e-3
    verbose: bool | int = False
    implicit_diff: bool = False
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = OptaxState

    def __post_init__(self):
        if not isinstance(self.opt, Transformation):
            self.opt = Transformation(self.opt)

    def transformation(self) -> Any:
        return optax.GradientTransformationExtraArgs(self.opt.init, self.opt.update)


@dataclasses.dataclass(eq=False)
class PolyakSGD(_Transformed):
    r"""Minimises ``fun(params, *args)`` by gradient steps of Polyak's size; over `optax.polyak_sgd`'s parts.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        fun_min: a lower bound of the function.
        variant: "SPS_max" (steps of at most ``max_stepsize``) or "SPS+" (of any size).
        max_stepsize: longest step of "SPS_max".
        delta: added to the squared norm of the gradient.
        momentum: of the steps.
        pre_update: ``params, state = pre_update(params, state, *args, **kwargs)``, called before an update.
        maxiter: most updates.
        tol: for the norm of the gradient before an update.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    fun_min: float = 0.0
    variant: str = "SPS_max"
    max_stepsize: float = 1.0
    delta: float = 0.0
    momentum: float = 0.0
    pre_update: Callable | None = None
    maxiter: int = 500
    tol: float = 1e-3
    verbose: bool | int = False
    implicit_diff: bool = False
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = PolyakSGDState

    def __post_init__(self):
        if self.variant not in ("SPS_max", "SPS+"):
            raise ValueError(f'variant must be "SPS_max" or "SPS+", got {self.variant!r}')

    def transformation(self) -> Any:
        longest = self.max_stepsize if self.variant == "SPS_max" else jnp.inf
        size = optax.scale_by_polyak(
            f_min=self.fun_min,
            max_learning_rate=longest,
            eps=self.delta,
            variant="sps" if self.variant == "SPS_max" else "sps+",
        )
        if self.variant == "SPS_max":
            return optax.chain(optax.scale(-1.0), size)
        # Where the gradient is rounding alone, so is the ratio.
        return optax.chain(optax.stateless(lambda g, _: _without_rounding(g)), optax.scale(-1.0), size)

    def move(self, updates: PyTree[Array], state: Any) -> PyTree[Array]:
        return updates if state.velocity is None else tree.axpy(self.momentum, state.velocity, updates)

    def shown(
        self, updates: PyTree[Array], gradient: PyTree[Array], inner: Any, state: Any
    ) -> dict[str, Any]:
        velocity = updates if self.momentum else None
        if state is None:
            one, none = jnp.ones((), _dtype(updates)), jnp.asarray(0)
            return {"stepsize": one, "velocity": velocity, "num_fun_eval": none + 1, "num_grad_eval": none}
        step = updates if state.velocity is None else tree.axpy(-self.momentum, state.velocity, updates)
        size = tree.norm(gradient)
        return {
            "stepsize": (tree.norm(step) / jnp.where(size > 0, size, 1)).astype(state.stepsize.dtype),
            "velocity": velocity,
            "num_fun_eval": state.num_fun_eval + 1,
            "num_grad_eval": state.num_grad_eval + 1,
        }


@dataclasses.dataclass(eq=False)
class ArmijoSGD(_Transformed):
    """Minimises ``fun(params, *args)`` by gradient steps with an Armijo search on each batch.

    Over `optax.scale_by_backtracking_linesearch`.

    Args:
        fun: the function.
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.
        has_aux: whether ``fun`` returns auxiliary data.
        aggressiveness: 1 minus the constant of sufficient decrease.
        decrease_factor: ratio of one step to the one before in a search.
        increase_factor: ratio of the first step of a search to the last step taken.
        reset_option: "increase", or "conservative" for steps that never grow; "goldstein" is taken for
            "increase".
        momentum: of the steps.
        max_stepsize: longest step.
        pre_update: ``params, state = pre_update(params, state, *args, **kwargs)``, called before an update.
        maxiter: most updates.
        maxls: most steps a search tries.
        tol: for the norm of the gradient before an update.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    aggressiveness: float = 0.9
    decrease_factor: float = 0.8
    increase_factor: float = 1.5
    reset_option: str = "increase"
    momentum: float = 0.0
    max_stepsize: float = 1.0
    pre_update: Callable | None = None
    maxiter: int = 500
    maxls: int = 15
    tol: float = 1e-3
    verbose: bool | int = False
    implicit_diff: bool = False
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = ArmijoState

    def __post_init__(self):
        if self.reset_option not in ("increase", "conservative", "goldstein"):
            raise ValueError(
                f'reset_option must be "increase", "conservative" or "goldstein", got {self.reset_option!r}'
            )
        if not 0 < self.aggressiveness < 1:
            raise ValueError(f"aggressiveness must lie between 0 and 1, got {self.aggressiveness}")

    def transformation(self) -> Any:
        search = optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=self.maxls,
            slope_rtol=1 - self.aggressiveness,
            decrease_factor=self.decrease_factor,
            increase_factor=1.0 if self.reset_option == "conservative" else self.increase_factor,
            max_learning_rate=self.max_stepsize,
        )
        return optax.GradientTransformationExtraArgs(search.init, _constant_search(search))

    def move(self, updates: PyTree[Array], state: Any) -> PyTree[Array]:
        return updates if state.velocity is None else tree.axpy(self.momentum, state.velocity, updates)

    def shown(
        self, updates: PyTree[Array], gradient: PyTree[Array], inner: Any, state: Any
    ) -> dict[str, Any]:
        fields = {"stepsize": inner.learning_rate, "velocity": updates if self.momentum else None}
        return fields if state is None else fields | {"value": inner.value.astype(state.value.dtype)}


def _constant_search(search: Any) -> Any:
    """Optax's line search along the negative gradient; under differentiation its step size is a constant."""

    def update(gradient: PyTree, inner: Any, params: PyTree = None, **given: Any) -> tuple:
        fixed, point, inner, value = _constant((gradient, params, inner, given["value"]))
        given = given | {"grad": fixed, "value": value}
        inner = search.update(jax.tree.map(jnp.negative, fixed), inner, point, **given)[1]
        return jax.tree.map(lambda g: (-inner.learning_rate * g).astype(g.dtype), gradient), inner

    return update
