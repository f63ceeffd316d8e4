"""What JAXopt's solver classes share: settings, the loop behind ``run``, and its derivatives."""

import abc
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

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """Takes updates until ``state.error`` is at most ``tol``; differentiable in the arguments."""
        if not getattr(self, "jit", True):
            return self._loop(init_params, args, kwargs)
        settings = _Settings.of(self, init_params, args, kwargs)
        dynamic, static = split((settings, init_params, args, kwargs))
        return _run(static, dynamic)

    def _loop(self, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
        begun = OptStep(init_params, self.init_state(init_params, *args, **kwargs))

        def unfinished(step: OptStep, count: Any) -> Any:
            return (count < self.maxiter) & ((count == 0) | (step.state.error > self.tol))

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


class _Settings(eqx.Module):
    """A solver as a pytree: arrays and what its callables captured are leaves, the rest is static."""

    kind: type = eqx.field(static=True)
    values: dict[str, Any]

    @staticmethod
    def of(solver: IterativeSolver, init_params: Any, args: tuple, kwargs: dict) -> "_Settings":
        values = dict(zip(solver.attribute_names(), solver.attribute_values(), strict=True))
        calls = solver.example_calls(init_params, *args, **kwargs)
        for name, value in values.items():
            if callable(value) and name in calls:
                values[name] = _lifted(name, value, *calls[name])
            elif not isinstance(value, jax.Array) and name != "tol":
                values[name] = _Fixed(value)
        return _Settings(type(solver), values)

    def solver(self) -> Any:
        """The solver again."""
        return self.kind(**{k: v.value if isinstance(v, _Fixed) else v for k, v in self.values.items()})


@functools.lru_cache(maxsize=256)
def _packed(fn: Callable) -> Callable:
    # Remembered, so that `lift` sees the same function again.
    return lambda args, kwargs: fn(*args, **kwargs)


def _lifted(name: str, fn: Callable, args: tuple, kwargs: dict) -> Any:
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    if isinstance(fn, eqx.Module) or not all(isinstance(v, numbers) for v in jax.tree.leaves((args, kwargs))):
        return fn if isinstance(fn, eqx.Module) else _Fixed(fn)
    return _Called(lift.lift(_packed(fn), args, kwargs, what=name))


def _run_flat(static: Any, dynamic: list) -> OptStep:
    settings, init_params, args, kwargs = join(static, dynamic)
    if not getattr(settings.solver(), "implicit_diff", True):
        return settings.solver()._loop(init_params, args, kwargs)

    # The settings are an argument, so that arrays which callables captured are differentiated too.
    def optimality(params: Any, settings: _Settings, args: tuple, kwargs: dict) -> Any:
        return settings.solver().optimality_fun(params, *args, **kwargs)

    solve = getattr(settings.solver(), "implicit_diff_solve", None)

    @custom_root(optimality, has_aux=True, solve=solve)
    def run(init_params: Any, settings: _Settings, args: tuple, kwargs: dict) -> tuple:
        return tuple(settings.solver()._loop(init_params, args, kwargs))

    return OptStep(*run(init_params, settings, args, kwargs))


_run = jax.jit(_run_flat, static_argnums=0)


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


def objective(solver: Any) -> Callable[..., tuple[Scalar, Any]]:
    """``fun`` as a function to a value and auxiliary data, whatever of the two it returns.

    With ``value_and_grad`` the gradient it returns is the one that differentiation gives.
    """
    fun, has_aux, given = solver.fun, solver.has_aux, getattr(solver, "value_and_grad", False)

    def paired(out: Any) -> tuple[Scalar, Any]:
        return out if has_aux else (out, None)

    if given is False:
        return lambda params, *args, **kwargs: paired(fun(params, *args, **kwargs))
    both = fun if given is True else given

    @jax.custom_jvp
    def evaluate(params: Any, args: tuple, kwargs: dict) -> tuple[Scalar, Any]:
        return paired(both(params, *args, **kwargs)[0] if given is True else fun(params, *args, **kwargs))

    @evaluate.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        params, args, kwargs = primals
        out, gradient = both(params, *args, **kwargs)
        value, aux = paired(out)
        rest = lambda args, kwargs: paired(both(params, *args, **kwargs)[0])  # noqa: E731
        (_, _), (moved, aux_dot) = jax.jvp(rest, (args, kwargs), tangents[1:])
        return (value, aux), (tree.vdot(gradient, tangents[0]) + moved, aux_dot)

    return lambda params, *args, **kwargs: evaluate(params, args, kwargs)


class Adapter(IterativeSolver):
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
    def shown(self, params: Any, inner: Any, problem: Any, iter_num: Scalar) -> dict[str, Any]:
        """The state's fields besides ``iter_num``, ``aux`` and ``inner`` after a step from ``params``."""

    state: ClassVar[type]

    def auxiliary(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """``fun``'s auxiliary data at ``params``."""
        if not getattr(self, "has_aux", False):
            return None
        args, kwargs = self.fun_arguments(*args, **kwargs)
        return objective(self)(params, *args, **kwargs)[1]

    def init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> Any:
        problem = self.problem(*args, **kwargs)
        start = jax.tree.map(jnp.asarray, init_params)
        inner = self.native(jnp.asarray(0)).init(problem, start, key=jax.random.key(0))
        shapes = jax.eval_shape(lambda p, i: self.shown(p, i, problem, jnp.asarray(0)), start, inner)
        shown = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        shown["error"] = jnp.full_like(shown["error"], jnp.inf)
        aux = self.auxiliary(init_params, *args, **kwargs)
        return self.state(iter_num=jnp.asarray(0), aux=aux, inner=inner, **shown)

    def update(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        if not getattr(self, "jit", True):
            return self.advance(params, state, *args, **kwargs)
        settings = _Settings.of(self, params, args, kwargs)
        dynamic, static = split((settings, params, state, args, kwargs))
        return _update(static, dynamic)

    def advance(self, params: Any, state: Any, *args: Any, **kwargs: Any) -> OptStep:
        """What ``update`` compiles."""
        problem = self.problem(*args, **kwargs)
        params = jax.tree.map(jnp.asarray, params)
        inner = eqx.tree_at(lambda s: s.x, state.inner, params)
        key = jax.random.fold_in(jax.random.key(0), state.iter_num)
        inner = self.native(state.iter_num).step(problem, inner, key=key)
        shown = self.shown(params, inner, problem, state.iter_num)
        aux = self.auxiliary(params, *args, **kwargs)
        ahead = self.state(iter_num=state.iter_num + 1, aux=aux, inner=inner, **shown)
        if getattr(self, "verbose", False):
            jax.debug.print(type(self).__name__ + ": iteration {}, error {}", ahead.iter_num, ahead.error)
        return OptStep(inner.x, ahead)

    def fun_arguments(self, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        """Those of ``run``'s arguments after the first that ``fun`` gets."""
        return args, kwargs

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        args, kwargs = self.fun_arguments(*args, **kwargs)
        call = (init_params, *args), kwargs
        return {"fun": call, "value_and_grad": call}

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        return self.problem(*args, **kwargs).optimality(params)


def _update_flat(static: Any, dynamic: list) -> OptStep:
    settings, params, state, args, kwargs = join(static, dynamic)
    return settings.solver().advance(params, state, *args, **kwargs)


_update = jax.jit(_update_flat, static_argnums=0)
