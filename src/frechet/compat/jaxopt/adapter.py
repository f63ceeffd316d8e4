"""JAXopt's protocol over the solvers of this library."""

import abc
import contextlib
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.compat.jaxopt.base import CompiledUpdate, OptStep, unwrapped
from frechet.compat.jaxopt.functions import Applied, WithGradient, objective
from frechet.core.problem import Problem
from frechet.core.solver import Solver as NativeSolver


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
            start = jax.tree.map(jnp.asarray, unwrapped(init_params))
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
