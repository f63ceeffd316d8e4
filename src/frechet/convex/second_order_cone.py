"""The second-order cone."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import feasible, norm
from frechet.convex.vector import Vector


class SecondOrderCone(Vector):
    r"""Indicator of $\{(t, z) : \|z\|_2 \le t\}$, with $t$ the first entry of ``x`` and $z$ the rest.

    All leaves of ``x`` together are one vector, so a pair ``(t, z)`` will do. On the boundary of the cone the
    derivative of the projection is that of the interior, the identity; on that of the polar cone it is 0.

    Source: Fukushima, Luo and Tseng, 2002, "Smoothing functions for second-order-cone complementarity
    problems", SIAM Journal on Optimization 12(2).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.SecondOrderCone().prox(jnp.array([0.0, 3.0, 4.0]), 1.0).tolist()
        [2.5, 1.5, 2.0]
    """

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        return feasible(norm(x[1:]) - x[0], x[0])

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        t, z = x[0], x[1:]
        length = norm(z)
        inside, polar = length <= t, length <= -t
        height = (t + length) / 2
        direction = z / jnp.where(inside | polar, 1, length)
        boundary = jnp.concatenate([height[None], height * direction])
        return jnp.where(inside, x, jnp.where(polar, 0, boundary))
