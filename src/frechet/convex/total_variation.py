"""Total variation along one axis."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from frechet.convex.leafwise import Leafwise
from frechet.convex.parameters import modulus, parameter


def denoise(y: Float[Array, " n"], weight: Float[Array, " n-1"]) -> Float[Array, " n"]:
    r"""$\arg\min_u \tfrac12\|u - y\|^2 + \sum_i w_i |u_{i+1} - u_i|$ by dynamic programming, in linear time.

    Let $h_i$ be the derivative of the least cost of the first $i$ terms as a function of $u_i$: increasing
    and piecewise linear. $h_{i+1}(u) = u - y_{i+1} + \mathrm{clip}(h_i(u), -w_i, w_i)$, and the minimiser
    satisfies $u_i = \mathrm{clip}(u_{i+1}, l_i, r_i)$, where $h_i(l_i) = -w_i$ and $h_i(r_i) = w_i$. A clip
    drops the breakpoints outside of $[l_i, r_i]$ and adds those two, so each is added and dropped once.
    """
    n = y.size
    zero, one = jnp.zeros((), y.dtype), jnp.ones((), y.dtype)

    # Breakpoints live in slots first..last: their places, and how slope and intercept of h change there. The
    # two new ones are written at the start of the next round, before any read: a read of the arrays as they
    # were before a write would make XLA copy them in every round.
    def forward(carry, term):
        arrays, first, last, pending = carry
        y_i, before, after = term
        arrays = [a.at[first].set(l).at[last].set(r) for a, (l, r) in zip(arrays, pending, strict=True)]
        places, slopes, intercepts = arrays

        def below(state):
            k, slope, intercept = state
            return (k <= last) & (slope * places[k] + intercept <= -after)

        def right(state):
            k, slope, intercept = state
            return k + 1, slope + slopes[k], intercept + intercepts[k]

        k_l, slope_l, intercept_l = lax.while_loop(below, right, (first, one, -y_i - before))

        def above(state):
            k, slope, intercept = state
            return (k >= k_l) & (slope * places[k] + intercept >= after)

        def left(state):
            k, slope, intercept = state
            return k - 1, slope - slopes[k], intercept - intercepts[k]

        k_r, slope_r, intercept_r = lax.while_loop(above, left, (last, one, -y_i + before))
        lower, upper = (-after - intercept_l) / slope_l, (after - intercept_r) / slope_r
        pending = [(lower, upper), (slope_l, -slope_r), (intercept_l + after, after - intercept_r)]
        return (arrays, k_l - 1, k_r + 1, pending), (lower, upper)

    # It starts with two breakpoints where nothing changes.
    start = ([jnp.zeros(2 * n + 2, y.dtype)] * 3, jnp.asarray(n), jnp.asarray(n + 1), [(zero, zero)] * 3)
    terms = (y, jnp.append(zero, weight), jnp.append(weight, zero))
    _, (lower, upper) = lax.scan(forward, start, terms)

    def backward(after, bounds):
        here = jnp.minimum(jnp.maximum(after, bounds[0]), bounds[1])
        return here, here

    _, u = lax.scan(backward, lower[-1], (lower[:-1], upper[:-1]), reverse=True)
    return jnp.append(u, lower[-1])


@jax.jit
def prox_total_variation(y: Float[Array, " n"], weight: Float[Array, " n-1"]) -> Float[Array, " n"]:
    """`denoise`, with its exact derivatives.

    Which neighbours are equal, and which way the others jump, is constant near a generic ``y``. Given that,
    the value of a segment is the mean of ``y`` over it, moved by the weights of the jumps at its ends.
    """
    n = y.size
    # Centred, so that sums over long segments keep their digits.
    centre = lax.stop_gradient(jnp.mean(y))
    jumps = jnp.sign(jnp.diff(denoise(lax.stop_gradient(y) - centre, lax.stop_gradient(weight))))
    segment = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(jumps != 0)])
    pull = jnp.pad(jumps * weight, (0, 1)) - jnp.pad(jumps * weight, (1, 0))
    total = jax.ops.segment_sum(y - centre + pull, segment, n, indices_are_sorted=True)
    count = jax.ops.segment_sum(jnp.ones_like(y), segment, n, indices_are_sorted=True)
    return centre + (total / jnp.maximum(count, 1))[segment]


class TotalVariation1D(Leafwise):
    r"""$g(x) = \sum_i w_i |x_{i+1} - x_i|$ along the last axis of each leaf of ``x``; other axes are a batch.

    The proximal map (the fused lasso, TV denoising) is computed exactly in linear time. Its derivative
    averages over each segment of equal values; neighbours that are just equal count as one segment.

    Args:
        weight: $w \ge 0$; a number, an array that broadcasts to the differences of ``x``, shape
            ``(..., n - 1)``, or a prefix pytree of ``x``.

    Raises:
        ValueError: a weight below zero, or a leaf that is a scalar.

    Source: Johnson, 2013, "A dynamic programming algorithm for the fused lasso and L0-segmentation", Journal
    of Computational and Graphical Statistics 22(2); Condat, 2013, "A direct algorithm for 1-D total variation
    denoising", IEEE Signal Processing Letters 20(11).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.TotalVariation1D(1.0).prox(jnp.array([0.0, 1.0, 5.0, 6.0]), 1.0).tolist()
        [1.0, 1.0, 5.0, 5.0]
    """

    weight: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not shape:
            raise ValueError("TotalVariation1D takes arrays with at least one axis, got a scalar")
        return (*shape[:-1], max(shape[-1] - 1, 0))

    def leaf_value(self, value: Array, weight: Array) -> Array:
        return weight * modulus(jnp.diff(value))

    def leaf_prox(self, value: Array, step: Array, weight: Array) -> Array:
        if value.size == 0:
            return value
        weights = jnp.broadcast_to(step * weight, self.parameter_shape(value.shape))
        return jnp.vectorize(prox_total_variation, signature="(n),(m)->(n)")(value, weights)
