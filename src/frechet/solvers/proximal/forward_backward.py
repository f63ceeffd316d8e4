"""The forward-backward step with a sufficient-decrease test, shared by the proximal gradient family."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.trial_loop import trial_loop


class Forward(NamedTuple):
    """An accepted forward-backward step from ``y``.

    Attributes:
        x: $\\mathrm{prox}_{tg}(y - t\\nabla f(y))$.
        step: the accepted $t$.
        next_step: the step to try next; longer than ``step`` where the measured curvature allows it.
        trials: how many values of $f$ and prox maps it took.
    """

    x: PyTree[Array]
    step: Scalar
    next_step: Scalar
    trials: Int[Array, ""]


def forward_backward(
    problem: Composite, y: PyTree[Array], value: Scalar, gradient: PyTree[Array], step: Scalar
) -> Forward:
    r"""Steps from ``y``, halving ``step`` until $f$ lies below its quadratic model.

    The test $f(x) \le f(y) + \langle\nabla f(y), x-y\rangle + \|x-y\|^2/(2t)$ is allowed the rounding error of $f$,
    without which steps shrink to nothing near a solution. Where the model's excess shows a smaller
    curvature than $1/t$, and is large enough to be trusted, the next step may be longer.
    """

    def make(t: Scalar, problem: Composite, y: PyTree, value: Scalar, gradient: PyTree) -> tuple:
        x = problem.prox(tree.axpy(-t, gradient, y), t)
        d = tree.subtract(x, y)
        bregman = problem.value(x) - value - tree.vdot(gradient, d)
        return x, bregman, tree.vdot(d, d)

    def accept(
        t: Scalar, trial: tuple, problem: Composite, y: PyTree, value: Scalar, gradient: PyTree
    ) -> Array:
        _, bregman, square = trial
        return bregman <= square / (2 * t) + _rounding(value)

    t, (x, bregman, square), n = trial_loop(make, accept, step, problem, y, value, gradient)
    trusted = square / (2 * t) > 100 * _rounding(value)
    curvature = 2 * jnp.maximum(bregman, 0) / jnp.where(square > 0, square, 1)
    longest = jnp.clip(0.9 / jnp.where(curvature > 0, curvature, 1 / (10 * t)), t, 10 * t)
    # Step sizes count as constants when derivatives are unrolled.
    next_step = jax.lax.stop_gradient(jnp.where(trusted & (longest > 1.5 * t), longest, t))
    return Forward(x, t, next_step, n)


def _rounding(value: Scalar) -> Scalar:
    return 4 * jnp.finfo(value.dtype).eps * jnp.maximum(jnp.abs(value), jnp.finfo(value.dtype).tiny)
