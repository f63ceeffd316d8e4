"""The step that methods with a direction and a line search share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.line_search.search import Found, LineSearch, slope, steepest


class DescentState(State):
    r"""What is known at the iterate.

    Attributes:
        value: $f(x)$.
        gradient: $\nabla f(x)$.
        direction: along which the next step goes.
        step: the last step length; before the first step the one it tries.
        failed: whether the last line search found no step that meets its conditions.
        memory: what the method remembers.
    """

    value: Scalar
    gradient: PyTree[Array]
    direction: PyTree[Array]
    step: Scalar
    failed: Bool[Array, ""]
    memory: Any


Turn = Callable[[DescentState, Found], tuple[Any, PyTree[Array]]]


def begin(problem: Composite, x0: PyTree[Array], memory: Any) -> DescentState:
    """The state before the first step, which goes along the negative gradient and tries 1 first."""
    value, gradient = problem.value_and_gradient(x0)
    one = jnp.ones((), jnp.real(jnp.zeros((), jnp.result_type(*jax.tree.leaves(x0)))).dtype)
    calls = Calls().add(value=1, gradient=1)
    return DescentState(x0, calls, value, gradient, steepest(gradient), one, jnp.asarray(False), memory)


def advance(
    problem: Composite, state: DescentState, search: LineSearch, first: Scalar, turn: Turn
) -> DescentState:
    """A line search and the direction that follows from where it ended.

    Args:
        problem: supplies values and gradients.
        state: where to step from.
        search: the line search.
        first: the first step length it tries.
        turn: ``turn(state, found)``, the new memory and direction. Where that does not descend, or a step
            failed to lower $f$, the negative gradient is taken.
    """
    first = jnp.asarray(first, state.step.dtype)
    found = search(problem, state.x, state.value, state.gradient, state.direction, first)
    # From where f is not finite no step has anything to go on.
    sound = jnp.isfinite(found.value) & tree.all_finite(found.gradient)
    found = found._replace(
        step=jnp.where(sound, found.step, 0),
        x=tree.where(sound, found.x, state.x),
        value=jnp.where(sound, found.value, state.value),
        gradient=tree.where(sound, found.gradient, state.gradient),
        failed=found.failed | ~sound,
    )
    memory, direction = turn(state, found)
    descends = slope(found.gradient, direction) < 0
    lowered = ~found.failed | (found.value < state.value)
    return DescentState(
        x=found.x,
        calls=state.calls.add(value=found.values, gradient=found.gradients),
        value=found.value,
        gradient=found.gradient,
        direction=tree.where(descends & lowered, direction, steepest(found.gradient)),
        step=found.step,
        failed=found.failed,
        memory=memory,
    )
