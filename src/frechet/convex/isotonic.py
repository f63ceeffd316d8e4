"""Isotonic regression, and the cone of sorted vectors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from frechet.convex.leafwise import Leafwise
from frechet.convex.parameters import feasible, floating, known


def isotonic_l2(
    y: Float[Array, "... n"], weights: Float[Array, "... n"] | None = None, *, increasing: bool = True
) -> Float[Array, "... n"]:
    r"""$\arg\min_{v_1 \le \dots \le v_n} \sum_i w_i (y_i - v_i)^2$ along the last axis; others are a batch.

    Pool adjacent violators: exact, $2n$ steps of constant cost, with the whole batch in each. The
    same $v$ minimises $\sum_i w_i D(y_i, v_i)$ for every Bregman divergence $D$, Kullback-Leibler's for one.

    The solution is the weighted mean of ``y`` over each block of equal values, and so is the derivative;
    neighbours that are just equal count as one block.

    Args:
        y: shape (..., n).
        weights: positive, broadcasts to ``y``; None for ones.
        increasing: False for $v_1 \ge \dots \ge v_n$.

    Returns:
        The solution, in the shape and dtype of ``y``; NaN all along where ``y`` or a weight is NaN.

    Raises:
        ValueError: a scalar ``y``, or known weights that are not positive.

    Source: Ayer, Brunk, Ewing, Reid and Silverman, 1955, "An empirical distribution function for sampling
    with incomplete information", Annals of Mathematical Statistics 26; Best and Chakravarti, 1990, "Active
    set algorithms for isotonic regression", Mathematical Programming 47.

    Example:
        >>> import jax.numpy as jnp
        >>> isotonic_l2(jnp.array([1.0, 3.0, 2.0, 4.0])).tolist()
        [1.0, 2.5, 2.5, 4.0]
    """
    y = floating(y)
    weights = jnp.ones_like(y) if weights is None else jnp.asarray(weights, y.dtype)
    if known(weights) and not bool(jnp.all((weights > 0) | jnp.isnan(weights))):
        raise ValueError(f"weights must be above zero, got {float(jnp.min(weights)):g}")

    def solve(y: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
        # Centred, so that sums over long blocks keep their digits.
        centre = lax.stop_gradient(jnp.mean(y))
        total, mass = w * (y - centre), w
        block = pooled(jnp.add, jnp.divide, *lax.stop_gradient((total, mass)))
        total, mass = (jax.ops.segment_sum(v, block, y.size, indices_are_sorted=True) for v in (total, mass))
        return centre + (total / jnp.where(mass == 0, 1, mass))[block]

    return _along_last(solve, y, weights, increasing)


def isotonic_kl(
    y: Float[Array, "... n"], log_weights: Float[Array, "... n"] | None = None, *, increasing: bool = True
) -> Float[Array, "... n"]:
    r"""$\arg\min_{v_1 \le \dots \le v_n} \sum_i e^{y_i - v_i} + e^{w_i} v_i$ along the last axis.

    The entropic kind of fast soft sorting and ranking. Pool adjacent violators in logarithms; the value of a
    block is $\log \sum e^{y_i} - \log \sum e^{w_i}$, hence $e^v$ is the isotonic regression of $e^{y - w}$
    with weights $e^w$. The derivative keeps the blocks.

    Args:
        y: shape (..., n).
        log_weights: $w$, broadcasts to ``y``; None for zeros.
        increasing: False for $v_1 \ge \dots \ge v_n$.

    Returns:
        The solution, in the shape and dtype of ``y``; NaN all along where an input is NaN.

    Source: Blondel, Teboul, Berthet and Djolonga, 2020, "Fast differentiable sorting and ranking", ICML,
    arXiv 2002.08871.

    Example:
        >>> import jax.numpy as jnp
        >>> jnp.exp(isotonic_kl(jnp.log(jnp.array([1.0, 3.0, 2.0, 4.0])))).round(4).tolist()
        [1.0, 2.5, 2.5, 4.0]
    """
    y = floating(y)
    log_weights = jnp.zeros_like(y) if log_weights is None else jnp.asarray(log_weights, y.dtype)

    def solve(y: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
        block = pooled(jnp.logaddexp, jnp.subtract, *lax.stop_gradient((y, w)))

        def total(v: Array) -> Array:
            # Relative to the largest of the block.
            top = lax.stop_gradient(jax.ops.segment_max(v, block, v.size, indices_are_sorted=True))[block]
            top = jnp.where(jnp.isfinite(top), top, 0)
            sums = jax.ops.segment_sum(jnp.exp(v - top), block, v.size, indices_are_sorted=True)[block]
            return top + jnp.log(sums)

        return total(y) - total(w)

    return _along_last(solve, y, log_weights, increasing)


def pooled(
    merge: Callable[[Array, Array], Array],
    level: Callable[[Array, Array], Array],
    total: Float[Array, " n"],
    mass: Float[Array, " n"],
) -> Int[Array, " n"]:
    """The number of each entry's block, after all adjacent blocks of falling or equal level are merged.

    Args:
        merge: how totals, and masses, of two blocks add up.
        level: a block's value from its total and mass.
        total: of each entry alone.
        mass: likewise.
    """
    n = total.size

    # Blocks are on a stack. A step merges the two topmost or, where they rise, puts the next entry on top. No
    # loop in the loop: under vmap every member does its own step, and writes one place of each array.
    def step(_: int, carry: tuple) -> tuple:
        totals, masses, starts, size, taken = carry
        top, under = jnp.maximum(size - 1, 0), jnp.maximum(size - 2, 0)
        upper, lower = (totals[top], masses[top]), (totals[under], masses[under])
        falls = (size > 1) & ~(level(*lower) < level(*upper))
        push = ~falls & (taken < n)
        following = jnp.minimum(taken, n - 1)
        # Where there is nothing left to do the top is written over by itself.
        place = jnp.where(falls, under, jnp.where(push, size, top))
        block = [
            jnp.where(falls, merge(b, t), jnp.where(push, entry[following], t))
            for b, t, entry in zip(lower, upper, (total, mass), strict=True)
        ]
        start = jnp.where(falls, starts[under], jnp.where(push, taken, starts[top]))
        return (
            totals.at[place].set(block[0]),
            masses.at[place].set(block[1]),
            starts.at[place].set(start),
            size + push - falls,
            taken + push,
        )

    zero = jnp.asarray(0, jnp.int32)
    begun = (total, mass, jnp.zeros(n, jnp.int32), zero, zero)
    _, _, starts, size, _ = lax.fori_loop(0, 2 * n, step, begun)
    first = jnp.zeros(n, jnp.int32).at[jnp.where(jnp.arange(n) < size, starts, n)].set(1, mode="drop")
    return jnp.cumsum(first) - 1


def _along_last(solve: Callable, y: Array, weights: Array, increasing: bool) -> Array:
    if y.ndim == 0:
        raise ValueError("isotonic regression takes arrays with at least one axis, got a scalar")
    if y.size == 0:
        return y
    weights = jnp.broadcast_to(weights, y.shape)
    if not increasing:
        y, weights = y[..., ::-1], weights[..., ::-1]
    v = jnp.vectorize(solve, signature="(n),(n)->(n)")(y, weights)
    return v if increasing else v[..., ::-1]


class Monotone(Leafwise):
    r"""Indicator of $\{x : x_1 \le \dots \le x_n\}$ along the last axis of each leaf; others are a batch.

    The projection is isotonic regression, exact. Its derivative averages over each block of equal values;
    neighbours that are just equal count as one block.

    Args:
        increasing: False for $x_1 \ge \dots \ge x_n$; static.

    Source: as `isotonic_l2`.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.Monotone().prox(jnp.array([1.0, 3.0, 2.0]), 1.0).tolist()
        [1.0, 2.5, 2.5]
    """

    increasing: bool = eqx.field(default=True, static=True)

    def parameters(self) -> dict[str, Any]:
        return {}

    def leaf_value(self, value: Array) -> Array:
        falls = -jnp.diff(value) if self.increasing else jnp.diff(value)
        return feasible(falls, jnp.max(jnp.abs(value), initial=0))

    def leaf_prox(self, value: Array, step: Array) -> Array:
        return isotonic_l2(value, increasing=self.increasing)
