"""What JAXopt's solver classes share: settings, the loop behind ``run``, and its derivatives."""

import abc
import contextlib
import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Scalar

from frechet.core import lift, tree
from frechet.core.custom import custom_root
from frechet.core.problem import Problem
from frechet.core.solve import join, split
from frechet.core.solver import Solver as NativeSolver
from frechet.problems.constrained import KKTPoint

KKTSolution = KKTPoint


class OptStep(NamedTuple):
    """What ``update`` and ``run`` return."""

    params: Any
    state: Any


class LineSearchStep(NamedTuple):
    """What a line search's ``update`` and ``run`` return."""

    stepsize: Any
    state: Any


AutoOrBoolean = str | bool


@jax.tree_util.register_pytree_node_class
class LinearOperator:
    """A matrix known by its products, some of them with single rows or columns, or after one change.

    Args:
        A: the matrix.
    """

    def __init__(self, A: Any):
        self.A = jnp.asarray(A)

    def shape(self) -> tuple[int, ...]:
        """The matrix's."""
        return self.A.shape

    def matvec(self, x: Array) -> Array:
        """``A @ x``."""
        return self.A @ x

    def matvec_element(self, x: Array, idx: Any) -> Array:
        """``(A @ x)[idx]``."""
        return self.A[idx] @ x

    def rmatvec(self, x: Array) -> Array:
        """``A.T @ x``."""
        return self.A.T @ x

    def rmatvec_element(self, x: Array, idx: Any) -> Array:
        """``(A.T @ x)[idx]``."""
        return self.A[:, idx] @ x

    def update_matvec(self, Ax: Array, delta: Any, idx: Any) -> Array:
        """``A @ x`` after ``x[idx] += delta``, from ``A @ x`` before."""
        return Ax + jnp.multiply.outer(self.A[:, idx], delta)

    def update_rmatvec(self, ATx: Array, delta: Any, idx: Any) -> Array:
        """``A.T @ x`` after ``x[idx] += delta``, from ``A.T @ x`` before."""
        return ATx + jnp.multiply.outer(self.A[idx], delta)

    def column_l2_norms(self, squared: bool = False) -> Array:
        """Euclidean norms of the columns, or their squares."""
        squares = jnp.sum(self.A**2, axis=0)
        return squares if squared else jnp.sqrt(squares)

    def tree_flatten(self) -> tuple:
        """The matrix is the only leaf."""
        return (self.A,), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: tuple) -> "LinearOperator":
        """As `tree_flatten` took it apart."""
        operator = object.__new__(cls)
        operator.A = children[0]
        return operator


class Solver(abc.ABC):
    """A dataclass of settings with a ``run``; ``optimality_fun`` says what it means to be solved."""

    @abc.abstractmethod
    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """Solves from ``init_params``."""

    @abc.abstractmethod
    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """Zero at a solution; same structure as ``params``."""

    def l2_optimality_error(self, params: Any, *args: Any, **kwargs: Any) -> Scalar:
        """Euclidean norm of the optimality map."""
        return tree.norm(self.optimality_fun(params, *args, **kwargs))

    def attribute_names(self) -> tuple[str, ...]:
        """Names of the settings."""
        return tuple(f.name for f in dataclasses.fields(self))  # pyright: ignore[reportArgumentType]

    def attribute_values(self) -> tuple:
        """Values of the settings."""
        return tuple(getattr(self, name) for name in self.attribute_names())


class IterativeSolver(Solver):
    """A solver with ``init_state`` and ``update``, whose state has an ``error`` and an ``iter_num``.

    ``run`` takes updates until the error is at most ``tol`` or ``maxiter`` updates are done, at least one.
    It compiles once for settings and shapes: callables are lifted (see `frechet.core.lift`), so that neither
    a second call nor a lambda written afresh compiles again.
    """

    maxiter: Any
    tol: Any

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        """For each setting that is a function, by name, arguments that it is called with in this run."""
        return {}

    @abc.abstractmethod
    def init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> Any:
        """The state before the first update."""

    @abc.abstractmethod
    def update(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        """One iteration."""

    def unfinished(self, step: OptStep) -> Any:
        """Whether to go on after an update."""
        return step.state.error > self.tol

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """Takes updates until ``state.error`` is at most ``tol``; differentiable in the arguments."""
        if not getattr(self, "jit", True):
            return self._loop(init_params, args, kwargs)
        settings = Settings.of(self, self.example_calls(_params(init_params), *args, **kwargs))
        return compiled(_run, settings, init_params, args, kwargs)

    def _loop(self, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
        begun = OptStep(_params(init_params), self.init_state(init_params, *args, **kwargs))

        def unfinished(step: OptStep, count: Any) -> Any:
            return (count < self.maxiter) & ((count == 0) | self.unfinished(step))

        def update(step: OptStep) -> OptStep:
            return self.update(step.params, step.state, *args, **kwargs)

        if not getattr(self, "jit", True):
            step = begun
            for count in range(int(self.maxiter)):
                if not unfinished(step, count):
                    break
                step = update(step)
            return step
        # The first state in the types of those that follow.
        begun = jax.tree.map(lambda v, s: jnp.asarray(v, s.dtype), begun, jax.eval_shape(update, begun))
        if not self._unrolled():
            body = lambda carry: (update(carry[0]), carry[1] + 1)  # noqa: E731
            return jax.lax.while_loop(lambda carry: unfinished(*carry), body, (begun, 0))[0]

        def bounded(step: OptStep, count: Array) -> tuple[OptStep, None]:
            return jax.lax.cond(unfinished(step, count), update, lambda s: s, step), None

        return jax.lax.scan(bounded, begun, jnp.arange(int(self.maxiter)))[0]

    def _unrolled(self) -> bool:
        unroll = getattr(self, "unroll", "auto")
        return not getattr(self, "implicit_diff", True) if unroll == "auto" else bool(unroll)


def _params(init_params: Any) -> Any:
    """The point of a warm start, which may come with its state."""
    return init_params.params if isinstance(init_params, OptStep) else init_params


class _Fixed:
    """A setting that is part of the program: compared by value and type, else by identity."""

    def __init__(self, value: Any):
        self.value = value
        try:
            self.key: Any = (type(value), hash(value), value)
        except TypeError:
            self.key = id(value)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self.key == other.key


class _Called(eqx.Module):
    """A lifted callable with the signature it had."""

    lifted: Callable

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.lifted(args, kwargs)


class Settings(eqx.Module):
    """A solver as a pytree: arrays and what its callables captured are leaves, the rest is static."""

    kind: type = eqx.field(static=True)
    values: dict[str, Any]

    @staticmethod
    def of(solver: Solver, calls: dict[str, tuple[tuple, dict]]) -> "Settings":
        """The settings; ``calls`` holds example arguments of those that are functions."""
        values = dict(zip(solver.attribute_names(), solver.attribute_values(), strict=True))
        for name, value in values.items():
            if callable(value) and name in calls:
                values[name] = _lifted(name, value, *calls[name])
            elif not isinstance(value, jax.Array) and name != "tol":
                values[name] = _Fixed(value)
        return Settings(type(solver), values)

    def solver(self) -> Any:
        """The solver again."""
        with warnings.catch_warnings():  # it warned when it was made
            warnings.simplefilter("ignore")
            return self.kind(**{k: v.value if isinstance(v, _Fixed) else v for k, v in self.values.items()})


def compiled(program: Callable, settings: Settings, *operands: Any) -> Any:
    """``program(solver, *operands)``, compiled once for settings and shapes."""
    dynamic, static = split((settings, operands))
    return _compiled((program, static), dynamic)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(static: Any, dynamic: list) -> Any:
    program, static = static
    settings, operands = join(static, dynamic)
    return program(settings, *operands)


@functools.lru_cache(maxsize=256)
def _packed(fn: Callable) -> Callable:
    # Remembered, so that `lift` sees the same function again.
    return lambda args, kwargs: fn(*args, **kwargs)


def _lifted(name: str, fn: Callable, args: tuple, kwargs: dict) -> Any:
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    if isinstance(fn, eqx.Module) or not all(isinstance(v, numbers) for v in jax.tree.leaves((args, kwargs))):
        return fn if isinstance(fn, eqx.Module) else _Fixed(fn)
    return _Called(lift.lift(_packed(fn), args, kwargs, what=name))


def _run(settings: Settings, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
    if not getattr(settings.solver(), "implicit_diff", True):
        return settings.solver()._loop(init_params, args, kwargs)

    # The settings are an argument, so that arrays which callables captured are differentiated too.
    def optimality(params: Any, settings: Settings, args: tuple, kwargs: dict) -> Any:
        return settings.solver().optimality_fun(params, *args, **kwargs)

    solve = getattr(settings.solver(), "implicit_diff_solve", None)
    # A solution does not depend on where the search for it began.
    init_params = jax.tree.map(jax.lax.stop_gradient, init_params)

    @custom_root(optimality, has_aux=True, solve=solve)
    def run(init_params: Any, settings: Settings, args: tuple, kwargs: dict) -> tuple:
        return tuple(settings.solver()._loop(init_params, args, kwargs))

    return OptStep(*run(init_params, settings, args, kwargs))


class CompiledUpdate(IterativeSolver):
    """An iterative solver whose ``update`` is compiled once for settings and shapes, as ``run`` is."""

    @abc.abstractmethod
    def advance(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        """What ``update`` compiles."""

    def update(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        params = _params(params)
        if getattr(self, "pre_update", None):
            params, state = self.pre_update(params, state, *args, **kwargs)  # pyright: ignore
        if not getattr(self, "jit", True):
            # So that functions which are no JAX programs work, and are called as often as counted.
            with jax.disable_jit():
                return self.advance(params, state, *args, **kwargs)
        settings = Settings.of(self, self.example_calls(params, *args, **kwargs))
        return compiled(_update, settings, params, state, args, kwargs)


def _update(settings: Settings, params: Any, state: Any, args: tuple, kwargs: dict) -> OptStep:
    solver = settings.solver()
    ahead = solver.advance(params, state, *args, **kwargs)
    if getattr(solver, "verbose", False):
        jax.debug.print(
            type(solver).__name__ + ": iteration {}, error {}", ahead.state.iter_num, ahead.state.error
        )
    return ahead


class StochasticSolver(IterativeSolver):
    """An iterative solver whose ``update`` takes a mini-batch as ``data``."""

    def run_iterator(self, init_params: Any, iterator: Iterator[Any], *args: Any, **kwargs: Any) -> OptStep:
        """An update a batch, ``maxiter`` at most; the first batch of all only prepares the state."""
        state = self.init_state(init_params, *args, **kwargs, data=next(iterator))
        step = OptStep(init_params, state)
        for data in itertools.islice(iterator, self.maxiter):
            step = self.update(step.params, step.state, *args, **kwargs, data=data)
        return step


# ------------------------------------------------------------------ objectives and adapters


def warn_of_unused(solver: Any, *names: str) -> None:
    """A warning for each setting that was changed although the native solver has no use for it."""
    defaults = {f.name: f.default for f in dataclasses.fields(solver)}
    for name in names:
        if getattr(solver, name) != defaults[name]:
            message = f"{type(solver).__name__} takes {name} for compatibility and does not use it"
            warnings.warn(message, stacklevel=4)


class Applied(eqx.Module):
    """A user's function of the unknowns and further arguments, with those arguments: a function of the first.

    Attributes:
        fun: the function.
        args: its arguments after the first.
        kwargs: its keyword arguments.
        has_aux: whether it returns auxiliary data too.
    """

    fun: Callable
    args: tuple
    kwargs: dict[str, Any]
    has_aux: bool = eqx.field(static=True, default=False)

    def pair(self, params: Any) -> tuple[Any, Any]:
        """What it returns, and auxiliary data or None."""
        out = self.fun(params, *self.args, **self.kwargs)
        return out if self.has_aux else (out, None)

    def __call__(self, params: Any) -> Any:
        return self.pair(params)[0]


class WithGradient(eqx.Module):
    """A function that returns its value with its gradient, as one that is differentiated to that gradient.

    Attributes:
        both: returns ``value, gradient``, or ``(value, aux), gradient``.
        alone: returns the first of them; None if only ``both`` does.
        has_aux: whether there is auxiliary data.
    """

    both: Applied
    alone: Applied | None
    has_aux: bool = eqx.field(static=True)

    def pair(self, params: Any) -> tuple[Scalar, Any]:
        """The value, and auxiliary data or None."""
        return _evaluate(self, params)

    def __call__(self, params: Any) -> Scalar:
        return self.pair(params)[0]

    def with_gradient(self, params: Any) -> tuple[tuple[Scalar, Any], Any]:
        """The value with auxiliary data, and the gradient."""
        out, gradient = self.both(params)
        return (out if self.has_aux else (out, None)), gradient


@eqx.filter_custom_jvp
def _evaluate(fun: WithGradient, params: Any) -> tuple[Scalar, Any]:
    return fun.with_gradient(params)[0] if fun.alone is None else fun.alone.pair(params)


@_evaluate.def_jvp
def _evaluate_rule(primals: tuple, tangents: tuple) -> tuple:
    fun, params = primals
    (value, aux), gradient = fun.with_gradient(params)
    dot = (
        jax.tree.map(
            lambda g, t: jnp.zeros_like(g) if t is None else t,
            gradient,
            tangents[1],
            is_leaf=lambda v: v is None,
        )
        if jax.tree.leaves(tangents[1])
        else jax.tree.map(jnp.zeros_like, gradient)
    )
    along = jnp.real(jnp.asarray(tree.vdot(gradient, dot))).astype(jnp.result_type(value))
    aux_dot = jax.tree.map(lambda v: jnp.zeros_like(v) if eqx.is_inexact_array(v) else None, aux)
    if jax.tree.leaves(tangents[0]):  # otherwise it would be evaluated for nothing
        rest = lambda fun: fun.with_gradient(params)[0]  # noqa: E731
        _, (moved, aux_dot) = eqx.filter_jvp(rest, primals[:1], tangents[:1])
        along = along + moved
    return (value, aux), (along, aux_dot)


def objective(solver: Any, args: tuple, kwargs: dict) -> Applied | WithGradient:
    """The solver's ``fun`` at these arguments, whatever of value, gradient and auxiliary data it returns."""
    given = getattr(solver, "value_and_grad", False)
    alone = Applied(solver.fun, args, kwargs, solver.has_aux)
    if given is False:
        return alone
    if given is True:
        return WithGradient(Applied(solver.fun, args, kwargs), None, solver.has_aux)
    return WithGradient(Applied(given, args, kwargs), alone, solver.has_aux)


class Adapter(CompiledUpdate):
    """JAXopt's protocol over a solver of this library: an update is a native step.

    A subclass says which problem the arguments pose, which native solver takes it, and what its state shows.
    """

    @abc.abstractmethod
    def problem(self, *args: Any, **kwargs: Any) -> Problem:
        """The problem that ``run``'s arguments after the first pose."""

    @abc.abstractmethod
    def native(self, iter_num: Scalar) -> NativeSolver:
        """The solver whose step an update is."""

    @abc.abstractmethod
    def shown(self, params: Any, inner: Any, problem: Any, count: Scalar) -> dict[str, Any]:
        """The state's fields besides ``iter_num``, ``aux`` and ``inner``.

        Args:
            params: where the last step came from; where the run begins, before the first.
            inner: the native state.
            problem: the problem.
            count: updates done, also those before a warm start.
        """

    state: ClassVar[type]

    def auxiliary(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """``fun``'s auxiliary data at ``params``."""
        if not getattr(self, "has_aux", False):
            return None
        return self.function(*args, **kwargs).pair(params)[1]

    def function(self, *args: Any, **kwargs: Any) -> Applied | WithGradient:
        """``fun`` with ``run``'s arguments after the first."""
        return objective(self, *self.fun_arguments(*args, **kwargs))

    def init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> Any:
        with contextlib.nullcontext() if getattr(self, "jit", True) else jax.disable_jit():
            problem = self.problem(*args, **kwargs)
            start = jax.tree.map(jnp.asarray, _params(init_params))
            inner = self.native(jnp.asarray(0)).init(problem, start, key=jax.random.key(0))
            count = jnp.asarray(0)
            if isinstance(init_params, OptStep):
                count = jnp.asarray(init_params.state.iter_num)
                inner = self.resumed(inner, init_params.state.inner)
            shown = self.shown(start, inner, problem, count)
            shown["error"] = jnp.full_like(shown["error"], jnp.inf)
            aux = self.auxiliary(start, *args, **kwargs)
            return self.state(iter_num=count, aux=aux, inner=inner, **shown)

    def resumed(self, begun: Any, inner: Any) -> Any:
        """The state after a warm start: from the new one and that of the run before."""
        return begun

    def advance(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        problem = self.problem(*args, **kwargs)
        params = jax.tree.map(jnp.asarray, params)
        inner = eqx.tree_at(lambda s: s.x, state.inner, params)
        key = jax.random.fold_in(jax.random.key(0), state.iter_num)
        inner = self.native(state.iter_num).step(problem, inner, key=key)
        shown = self.shown(params, inner, problem, state.iter_num + 1)
        aux = self.auxiliary(inner.x, *args, **kwargs)
        return OptStep(inner.x, self.state(iter_num=state.iter_num + 1, aux=aux, inner=inner, **shown))

    def fun_arguments(self, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        """Those of ``run``'s arguments after the first that ``fun`` gets."""
        return args, kwargs

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        args, kwargs = self.fun_arguments(*args, **kwargs)
        call = (init_params, *args), kwargs
        return {"fun": call, "value_and_grad": call}

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        return self.problem(*args, **kwargs).optimality(params)
