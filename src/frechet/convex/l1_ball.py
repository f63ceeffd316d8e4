"""The l1 ball."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import feasible, parameter
from frechet.convex.polytope import Polytope
from frechet.convex.simplex import project_simplex
from frechet.convex.vector import scalar


class L1Ball(Polytope):
    r"""Indicator of $\{x : \|x\|_1 \le r\}$; all leaves of ``x`` together are one vector.

    On the sphere the derivative of the projection is that of the interior: the identity. Outside, an entry
    exactly on the edge of being nonzero counts as zero.

    Args:
        radius: $r > 0$, a scalar.

    Raises:
        ValueError: a radius not above zero.

    Source: Duchi et al., 2008, "Efficient projections onto the l1-ball for learning in high dimensions",
    ICML.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.L1Ball(1.0).prox(jnp.array([0.5, -1.0, 0.0]), 1.0).tolist()
        [0.25, -0.75, 0.0]
    """

    radius: Any = eqx.field(default=1.0, converter=lambda r: parameter("radius", r, positive=True))

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        radius = scalar("radius", self.radius, x)
        return feasible(jnp.sum(jnp.abs(x)) - radius, radius)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        radius = scalar("radius", self.radius, x)
        sign, inside = jnp.sign(x), jnp.sum(jnp.abs(x)) <= radius
        # Zeros stay zero; put far below, rounding cannot bring them into the support.
        size = jnp.where(x == 0, -radius, sign * x)
        return jnp.where(inside, x, sign * project_simplex(size, radius))

    def products(self, direction: Float[Array, " n"]) -> Float[Array, " 2*n"]:
        radius = scalar("radius", self.radius, direction)
        return radius * jnp.concatenate([direction, -direction])

    def combination(self, weights: Float[Array, " 2*n"]) -> Float[Array, " n"]:
        plus, minus = jnp.split(weights, 2)
        return scalar("radius", self.radius, weights) * (plus - minus)

    def weights(self, x: Float[Array, " n"]) -> Float[Array, " 2*n"]:
        scaled = x / scalar("radius", self.radius, x)
        both = jnp.stack([jnp.maximum(scaled, 0), jnp.maximum(-scaled, 0)])
        # What is left of the total goes to opposite vertices alike.
        return jnp.ravel(both.at[:, 0].add(jnp.maximum(1 - jnp.sum(both), 0) / 2))
