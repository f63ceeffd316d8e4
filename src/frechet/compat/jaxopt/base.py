"""What JAXopt's solver classes share: settings, the loop behind ``run``, and its derivatives."""

import abc
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Scalar

from frechet.compat.jaxopt.settings import Settings, compiled
from frechet.core import tree
from frechet.core.custom import custom_root
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
        return tree.norm(self.root_fun(params, *args, **kwargs))

    def root_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimality_fun`` without what else it may return."""
        return self.optimality_fun(params, *args, **kwargs)

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
        return run_compiled(self, init_params, *args, **kwargs)

    def _loop(self, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
        begun = OptStep(unwrapped(init_params), self.init_state(init_params, *args, **kwargs))

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


def unwrapped(init_params: Any) -> Any:
    """The point of a warm start, which may come with its state."""
    return init_params.params if isinstance(init_params, OptStep) else init_params


def run_compiled(solver: Any, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
    """``solver._loop``, compiled once for settings and shapes, with implicit derivatives if it has those."""
    settings = Settings.of(solver, solver.example_calls(unwrapped(init_params), *args, **kwargs))
    return compiled(_run, settings, init_params, args, kwargs)


def _run(settings: Settings, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
    if not getattr(settings.solver(), "implicit_diff", True):
        return settings.solver()._loop(init_params, args, kwargs)

    # The settings are an argument, so that arrays which callables captured are differentiated too.
    def optimality(params: Any, settings: Settings, args: tuple, kwargs: dict) -> Any:
        return settings.solver().root_fun(params, *args, **kwargs)

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
        params = unwrapped(params)
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
