"""What the line-search classes share, and how solvers come by one."""

import abc
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from frechet.compat.jaxopt import base
from frechet.compat.jaxopt.base import LineSearchStep
from frechet.compat.jaxopt.functions import objective
from frechet.compat.jaxopt.settings import Settings, compiled
from frechet.problems.composite import Composite
from frechet.solvers.line_search.search import LineSearch, steepest


class LineSearchState(NamedTuple):
    """State of a line search.

    Attributes:
        iter_num: step lengths tried.
        params: the point at the end of the step.
        value: of the function there.
        grad: its gradient there.
        value_init: the value at the start of the step.
        grad_init: the gradient there.
        error: how far the conditions are violated.
        done: whether they hold.
        failed: whether the search ended without.
        aux: the function's auxiliary data there.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
    """

    iter_num: Any
    params: Any
    value: Any
    grad: Any
    value_init: Any
    grad_init: Any
    error: Any
    done: Any
    failed: Any
    aux: Any
    num_fun_eval: Any
    num_grad_eval: Any


class IterativeLineSearch(base.IterativeSolver):
    """JAXopt's protocol over a line search of this library; an update is a whole search."""

    fun: Callable
    has_aux: bool

    @abc.abstractmethod
    def native(self) -> LineSearch:
        """The line search."""

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        call = (init_params, *args), kwargs
        return {"fun": call, "value_and_grad": call}

    def init_state(
        self,
        init_stepsize: Any,
        params: Any,
        value: Any = None,
        grad: Any = None,
        descent_direction: Any = None,
        fun_args: Any = (),
        fun_kwargs: Any = None,
    ) -> LineSearchState:
        """The state before the search; evaluates the function unless value and gradient are given."""
        with self._mode():
            params = jax.tree.map(jnp.asarray, params)
            evaluated = value is None or grad is None
            if evaluated:
                problem = Composite(objective(self, tuple(fun_args), dict(fun_kwargs or {})))
                value, grad = problem.value_and_gradient(params)
            count, no = jnp.asarray(int(evaluated)), jnp.asarray(False)
            error = jnp.full((), jnp.inf, jnp.result_type(value))
            value, grad = jnp.asarray(value), jax.tree.map(jnp.asarray, grad)
            return LineSearchState(
                jnp.asarray(0), params, value, grad, value, grad, error, no, no, None, count, count
            )

    def update(
        self,
        stepsize: Any,
        state: LineSearchState,
        params: Any,
        value: Any = None,
        grad: Any = None,
        descent_direction: Any = None,
        fun_args: Any = (),
        fun_kwargs: Any = None,
    ) -> LineSearchStep:
        """The search from ``params``, which tries ``stepsize`` first."""
        fun_args, fun_kwargs = tuple(fun_args), dict(fun_kwargs or {})
        if getattr(self, "jit", True):
            settings = Settings.of(self, self.example_calls(params, *fun_args, **fun_kwargs))
            return compiled(
                _update,
                settings,
                stepsize,
                state,
                params,
                value,
                grad,
                descent_direction,
                fun_args,
                fun_kwargs,
            )
        return self.search(stepsize, state, params, value, grad, descent_direction, fun_args, fun_kwargs)

    def run(
        self,
        init_stepsize: Any,
        params: Any,
        value: Any = None,
        grad: Any = None,
        descent_direction: Any = None,
        fun_args: Any = (),
        fun_kwargs: Any = None,
    ) -> LineSearchStep:
        """A step along ``descent_direction``, by default the negative gradient."""
        fun_args, fun_kwargs = tuple(fun_args), dict(fun_kwargs or {})
        given = (init_stepsize, params, value, grad, descent_direction, fun_args, fun_kwargs)
        if getattr(self, "jit", True):
            settings = Settings.of(self, self.example_calls(params, *fun_args, **fun_kwargs))
            return compiled(_run, settings, *given)
        return self.searched(*given)

    def searched(self, init_stepsize: Any, *given: Any) -> LineSearchStep:
        """What ``run`` compiles."""
        return self.search(init_stepsize, self.init_state(init_stepsize, *given), *given)

    def search(
        self,
        stepsize: Any,
        state: Any,
        params: Any,
        value: Any,
        grad: Any,
        direction: Any,
        args: Any,
        kwargs: Any,
    ) -> LineSearchStep:
        """What ``update`` compiles."""
        with self._mode():
            params = jax.tree.map(jnp.asarray, params)
            if value is None or grad is None:
                value, grad = state.value_init, state.grad_init
            grad = jax.tree.map(jnp.asarray, grad)
            direction = steepest(grad) if direction is None else jax.tree.map(jnp.asarray, direction)
            fun = objective(self, args, kwargs)
            real = jnp.real(jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))).dtype
            first = jnp.asarray(stepsize, real)
            found = self.native()(Composite(fun), params, jnp.asarray(value), grad, direction, first)
            return LineSearchStep(
                found.step,
                LineSearchState(
                    iter_num=state.iter_num + found.trials,
                    params=found.x,
                    value=found.value,
                    grad=found.gradient,
                    value_init=jnp.asarray(value),
                    grad_init=grad,
                    error=found.error.astype(state.error.dtype),
                    done=~found.failed,
                    failed=found.failed,
                    aux=fun.pair(found.x)[1] if self.has_aux else None,
                    num_fun_eval=state.num_fun_eval + found.values,
                    num_grad_eval=state.num_grad_eval + found.gradients,
                ),
            )

    def _mode(self) -> Any:
        return contextlib.nullcontext() if getattr(self, "jit", True) else jax.disable_jit()

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a line search ends at a step, not at a solution")


def _update(settings: Settings, *operands: Any) -> LineSearchStep:
    return settings.solver().search(*operands)


def _run(settings: Settings, *given: Any) -> LineSearchStep:
    return settings.solver().searched(*given)
