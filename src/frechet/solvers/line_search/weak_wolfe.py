"""A line search for the weak Wolfe conditions, which functions with kinks can meet too."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.line_search.search import Found, LineSearch, along, slope
from frechet.solvers.rounding import rounding


class _Reached(NamedTuple):
    """A step with what is known at its end."""

    t: Scalar
    x: PyTree[Array]
    value: Scalar
    gradient: PyTree[Array]


class _Bracket(NamedTuple):
    """``low`` is the longest step seen that lowers $f$ enough, ``high`` the shortest that does not."""

    t: Scalar
    low: _Reached
    high: Scalar
    trials: Int[Array, ""]
    done: Bool[Array, ""]


class WeakWolfe(LineSearch):
    r"""A step $t$ that meets the weak Wolfe conditions, by doubling and bisection.

    $$f(x + t d) \le f(x) + c_1 t\, f'(x; d), \qquad f'(x + t d; d) \ge c_2 f'(x; d)$$

    The slope may jump past zero, so a function with kinks has such steps where it has none for the strong
    conditions; BFGS with this search is known to get to minimisers of nonsmooth functions. Every step tried
    costs a value and a gradient. Where none was found, the longest that lowers $f$ enough is taken, which may
    be no step at all: $f$ never rises by more than rounding.

    Args:
        armijo: $c_1$.
        curvature: $c_2$.
        max_trials: steps tried at most.

    Source: Lewis, Overton 2013, Nonsmooth optimization via quasi-Newton methods, Mathematical Programming
    141.
    """

    armijo: float = 1e-4
    curvature: float = 0.9
    max_trials: int = eqx.field(default=40, static=True)

    def find(
        self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, direction: PyTree, first: Scalar
    ) -> Found:
        before = slope(gradient, direction)
        start = _Bracket(
            first,
            _Reached(jnp.zeros_like(first), x, value, gradient),
            jnp.full_like(first, jnp.inf),
            jnp.zeros((), int),
            jnp.asarray(False),
        )

        def turn(c: _Bracket) -> _Bracket:
            ahead = _Reached(c.t, *along(problem, x, direction, c.t))
            allowed = value + self.armijo * c.t * before + rounding(value, ahead.value)
            falls = ahead.value <= allowed  # not where it is NaN
            flat = slope(ahead.gradient, direction) >= self.curvature * before
            low = tree.where(falls, ahead, c.low)
            high = jnp.where(falls, c.high, c.t)
            t = jnp.where(jnp.isfinite(high), (low.t + high) / 2, 2 * c.t).astype(c.t.dtype)
            return _Bracket(t, low, high, c.trials + 1, falls & flat)

        last = jax.lax.while_loop(lambda c: ~c.done & (c.trials < self.max_trials), turn, start)
        low = last.low
        error = jnp.where(last.done, 0, self.curvature * before - slope(low.gradient, direction))
        return Found(
            step=low.t,
            x=low.x,
            value=low.value,
            gradient=low.gradient,
            error=jnp.maximum(error, 0).astype(first.dtype),
            failed=~last.done,
            trials=last.trials,
            values=last.trials,
            gradients=last.trials,
        )
