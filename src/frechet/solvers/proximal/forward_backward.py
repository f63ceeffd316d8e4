"""The forward-backward step that gradient descent and the proximal gradient method share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.proximal.step_size import Backtracking, Decrease
from frechet.solvers.trial_loop import trial_loop

Backward = Callable[[Composite, PyTree[Array], Scalar], PyTree[Array]]


class ForwardBackwardState(State):
    """``value`` is $f(x)$; it and ``backtracking`` are None where the step size is constant."""

    value: Scalar | None
    backtracking: Backtracking | None


def start(problem: Composite, x0: PyTree[Array], step_size: Scalar | None) -> ForwardBackwardState:
    """The state before the first step; backtracking needs the value at ``x0``."""
    if step_size is not None:
        return ForwardBackwardState(x0, Calls(), None, None)
    backtracking = Backtracking.start(jnp.result_type(*jax.tree.leaves(x0)))
    return ForwardBackwardState(x0, Calls().add(value=1), problem.value(x0), backtracking)


def advance(
    problem: Composite, state: ForwardBackwardState, step_size: Scalar | None, backward: Backward
) -> tuple[ForwardBackwardState, Int[Array, ""] | int]:
    r"""One step $x \mapsto \mathrm{backward}(x - s \nabla f(x), s)$ and how many backward maps it took.

    Args:
        problem: supplies values and gradients.
        state: where to step from.
        step_size: a constant $s$, or None for backtracking until $f$ lies below its quadratic model.
        backward: ``backward(problem, z, s)``, the proximal map or the identity.
    """

    def trial(s: Scalar, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree) -> tuple:
        ahead = backward(problem, tree.axpy(-s, gradient, x), s)
        value_ahead = problem.value(ahead)
        return ahead, value_ahead, Decrease.between(x, value, gradient, ahead, value_ahead)

    gradient = problem.gradient(state.x)
    if state.backtracking is None:
        x = backward(problem, tree.axpy(-jnp.asarray(step_size), gradient, state.x), jnp.asarray(step_size))
        return ForwardBackwardState(x, state.calls.add(gradient=1), None, None), 1
    s, (x, value, decrease), n = trial_loop(
        trial, _accepted, state.backtracking.trial, problem, state.x, state.value, gradient
    )
    calls = state.calls.add(value=n, gradient=1)
    return ForwardBackwardState(x, calls, value, state.backtracking.after(s, n, decrease)), n


def _accepted(s: Scalar, trial: tuple, *_: Any) -> Bool[Array, ""]:
    return trial[2].sufficient(s)
