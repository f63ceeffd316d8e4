"""The part of a hyperplane that lies in a box."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import feasible, floating, known, matched, parameter
from frechet.convex.vector import scalar

Vec = Float[Array, " n"]


def section_root(x: Vec, lower: Vec, upper: Vec, w: Vec, c: Scalar) -> Scalar:
    r"""A root $\tau$ of $\langle w, \mathrm{clip}(x + \tau w, l, u)\rangle = c$, not differentiable.

    The left side increases and is linear between breaks: a binary search over the sorted breaks finds the
    piece, and that is solved in closed form. Where there is no root, the end of the last piece.
    """
    ends = jnp.stack([lower - x, upper - x]) / jnp.where(w == 0, 1, w)
    enter, leave = (jnp.where(w == 0, 0, end(ends, axis=0)) for end in (jnp.min, jnp.max))
    breaks = jnp.sort(jnp.concatenate([enter, leave]))

    def below(k: Array) -> Array:
        tau = breaks[k]
        finite = jnp.isfinite(tau)
        reached = w @ jnp.clip(x + jnp.where(finite, tau, 0) * w, lower, upper)
        return (tau == -jnp.inf) | (finite & (reached <= c))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        first, last = ends
        k = (first + last) // 2
        yes = below(jnp.minimum(k, breaks.size - 1))
        more = first < last
        return jnp.where(more & yes, k + 1, first), jnp.where(more & ~yes, k, last)

    rounds = int(np.ceil(np.log2(breaks.size + 1)))
    count = lax.fori_loop(0, rounds, halve, (jnp.asarray(0), jnp.asarray(breaks.size)))[0]
    padded = jnp.pad(breaks, 1, constant_values=(-jnp.inf, jnp.inf))
    left, right = padded[count], padded[count + 1]
    past, ahead = leave <= left, enter >= right
    bound = jnp.where(past == (w > 0), upper, lower)
    # A NaN is on neither side, so it reaches the root.
    free = ~(past | ahead)
    slope = jnp.sum(jnp.where(free, w * w, 0))
    root = (c - w @ jnp.where(free | (w == 0), x, bound)) / slope
    return jnp.where(slope == 0, jnp.where(jnp.isfinite(left), left, right), root)


def project_box_section(x: Vec, lower: Vec, upper: Vec, w: Vec, c: Scalar) -> Vec:
    r"""Euclidean projection onto $\{p : l \le p \le u,\ \langle w, p\rangle = c\}$."""
    tau = lax.stop_gradient(section_root(*lax.stop_gradient((x, lower, upper, w, c))))
    # Given which entries are off their bounds, a formula, which JAX differentiates by itself.
    y = lax.stop_gradient(x + tau * w)
    low, high = (y <= lower) & (w != 0), (y >= upper) & (w != 0)
    free = ~(low | high)
    slope = jnp.sum(jnp.where(free, w * w, 0))
    rest = c - jnp.sum(w * jnp.where(low, lower, jnp.where(high, upper, x)))
    moved = jnp.where(slope == 0, x, x + rest / jnp.where(slope == 0, 1, slope) * w)
    inside = jnp.where(moved < lower, lower, jnp.where(moved > upper, upper, moved))
    return jnp.where(low, lower, jnp.where(high, upper, inside))


class BoxSection(Function):
    r"""Indicator of $\{x : l_i \le x_i \le u_i,\ \langle w, x\rangle = c\}$; bounds may be infinite.

    The projection is exact, in $O(n \log n)$. An entry that it puts exactly on a bound moves with the bound;
    where $w_i = 0$ the rule is that of a `Box`. Traced data for which the set is empty are not
    noticed: the projection is then the end of the box that comes nearest, and the value is infinite there.

    Args:
        lower: $l$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.
        upper: $u$, likewise.
        w: $w$, of any signs, likewise.
        c: a scalar.

    Raises:
        ValueError: a lower bound above its upper bound; when called, a set that is empty.

    Source: Brucker, 1984, "An O(n) algorithm for quadratic knapsack problems", Operations Research Letters 3.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.BoxSection(0.0, 0.5, w=1.0, c=1.0).prox(jnp.array([2.0, 0.25, 0.0]), 1.0).tolist()
        [0.5, 0.375, 0.125]
    """

    lower: PyTree[Any] = eqx.field(default=0.0, converter=lambda v: parameter("lower", v))
    upper: PyTree[Any] = eqx.field(default=1.0, converter=lambda v: parameter("upper", v))
    w: PyTree[Any] = eqx.field(default=1.0, converter=lambda v: parameter("w", v))
    c: Any = eqx.field(default=1.0, converter=lambda v: parameter("c", v))

    def _vectors(self, x: PyTree[Array]) -> tuple[Vec, Vec, Vec, Scalar]:
        """Bounds, weights and offset as vectors; where all are known, checked to leave a point."""

        def flat(name: str, value: Any) -> Vec:
            full = jax.tree.map(lambda p, v: jnp.broadcast_to(p, v.shape), matched(name, value, x), x)
            return ravel_pytree(full)[0]

        lower, upper, w = flat("lower", self.lower), flat("upper", self.upper), flat("w", self.w)
        c = scalar("c", self.c, w)
        if known(lower, upper, w, c):
            if np.any(np.asarray(lower) > np.asarray(upper)):
                raise ValueError("lower must not exceed upper; swap the bounds where it does")
            ends = np.where(w == 0, 0, np.stack([lower, upper]) * np.where(w == 0, 1, w))
            least, most = np.sum(np.min(ends, axis=0)), np.sum(np.max(ends, axis=0))
            slack = np.sqrt(np.finfo(w.dtype).eps) * (1 + np.abs(c))
            if least > c + slack or most < c - slack:
                raise ValueError(f"no point of the box has <w, x> = {c:g}: it lies in [{least:g}, {most:g}]")
        return lower, upper, w, c

    def __call__(self, x: PyTree[Array]) -> Scalar:
        x = floating(x)
        lower, upper, w, c = self._vectors(x)
        flat = ravel_pytree(x)[0]
        size = jnp.abs(w) @ jnp.abs(flat) + jnp.abs(c)
        outside = jnp.sum(feasible(jnp.maximum(lower - flat, flat - upper), flat))
        return outside + feasible(jnp.abs(w @ flat - c), size)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        flat, unravel = ravel_pytree(floating(x))
        return unravel(project_box_section(flat, *self._vectors(floating(x))))
