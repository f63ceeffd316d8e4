"""Solvers that pass their checks, and the list of those that do not, by the check they fail."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from frechet import Calls, Composite, Solver, State
from frechet.core import tree


class Plain(Solver):
    """The proximal gradient method with a fixed step.

    Source: Lions, Mercier 1979, Splitting algorithms for the sum of two nonlinear operators.

    Example:
        >>> solver = Plain()
    """

    accepts: ClassVar[type] = Composite
    step_size: Any = 0.4

    def init(self, problem, x0, *, key):
        return State(x0, Calls())

    def step(self, problem, state, *, key):
        x = tree.axpy(-self.step_size, problem.gradient(state.x), state.x)
        return State(problem.prox(x, self.step_size), state.calls.add(gradient=1, prox=1))


def documented(cls: type) -> type:
    """With a docstring that passes, so that what is broken is what is meant."""
    cls.__doc__ = Plain.__doc__
    return cls


@documented
class Noisy(Plain):
    stochastic: ClassVar[bool] = True

    def step(self, problem, state, *, key):
        s = self.step_size * jax.random.uniform(key, (), jnp.result_type(*jax.tree.leaves(state.x)), 0.9, 1.1)
        x = tree.axpy(-s, problem.gradient(state.x), state.x)
        return State(problem.prox(x, s), state.calls.add(gradient=1, prox=1))


@documented
class Short(Plain):
    converges: ClassVar[bool] = False
    step_size: Any = 0.01


BROKEN: dict[str, Callable[[], Solver]] = {}


def fails(name: str) -> Callable[[Callable[[], Solver]], Callable[[], Solver]]:
    """Registers a maker of a solver that fails the check of that name."""

    def register(make: Callable[[], Solver]) -> Callable[[], Solver]:
        BROKEN[name] = make
        return make

    return register
