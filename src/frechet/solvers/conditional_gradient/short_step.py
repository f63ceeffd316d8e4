"""The step length that Frank-Wolfe methods share."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.proximal.step_size import Backtracking, Decrease
from frechet.solvers.trial_loop import trial_loop


class ShortStep(NamedTuple):
    r"""Where it led. ``gap`` is $-\langle\nabla f(x), d\rangle$, ``length`` is $\gamma$."""

    gap: Scalar
    length: Scalar
    x: PyTree[Array]
    value: Scalar
    backtracking: Backtracking
    trials: Int[Array, ""]


def short_step(
    problem: Composite,
    x: PyTree[Array],
    value: Scalar,
    gradient: PyTree[Array],
    d: PyTree[Array],
    longest: Scalar,
    backtracking: Backtracking,
    force: Bool[Array, ""],
) -> ShortStep:
    r"""Moves from ``x`` by $\gamma d$, $\gamma = \min\{\text{longest}, \text{gap}/(L\|d\|^2)\}$.

    $L$ is the first of a rising sequence with which $f$ lies below its quadratic model at the new point.

    Args:
        problem: supplies values.
        x: where to step from.
        value: $f(x)$.
        gradient: of $f$ at ``x``.
        d: a direction.
        longest: the largest $\gamma$.
        backtracking: remembers $1/L$.
        force: whether $\gamma$ is ``longest`` come what may.
    """
    gap, square = -tree.vdot(gradient, d), tree.vdot(d, d)
    s, (length, ahead, value, decrease), n = trial_loop(
        _trial, _accepted, backtracking.trial, problem, x, value, gradient, d, gap, square, longest, force
    )
    # A step that ended at `longest` has not seen whether a larger 1/L would have done.
    return ShortStep(gap, length, ahead, value, backtracking.after(s, n, decrease), n)


def _trial(
    s: Scalar,
    problem: Composite,
    x: PyTree,
    value: Scalar,
    gradient: PyTree,
    d: PyTree,
    gap: Scalar,
    square: Scalar,
    longest: Scalar,
    force: Bool[Array, ""],
) -> tuple:
    length = jnp.clip(s * gap / jnp.where(square > 0, square, 1), 0, longest)
    length = jnp.where(force, longest, length)
    ahead = tree.axpy(length, d, x)
    value_ahead = problem.value(ahead)
    return length, ahead, value_ahead, Decrease.between(x, value, gradient, ahead, value_ahead)


def _accepted(s: Scalar, trial: tuple, *arguments: Any) -> Bool[Array, ""]:
    return trial[3].sufficient(s) | arguments[-1]
