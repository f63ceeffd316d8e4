"""The Euclidean ball."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.parameters import feasible, floating, norm, parameter
from frechet.convex.vector import Vector, scalar


class L2Ball(Vector):
    r"""Indicator of $\{x : \|x\|_2 \le r\}$; all leaves of ``x`` together are one vector.

    On the sphere the derivative of the projection is that of the interior: the identity.

    Args:
        radius: $r > 0$, a scalar.

    Raises:
        ValueError: a radius not above zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.L2Ball(2.5).prox(jnp.array([3.0, -4.0]), 1.0).tolist()
        [1.5, -2.0]
    """

    compact: ClassVar[bool] = True

    radius: Any = eqx.field(default=1.0, converter=lambda r: parameter("radius", r, positive=True))

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        radius = scalar("radius", self.radius, x)
        return feasible(norm(x) - radius, radius)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        radius, length = scalar("radius", self.radius, x), norm(x)
        inside = length <= radius
        return jnp.where(inside, x, (radius / jnp.where(inside, 1, length)) * x)

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        flat, unravel = ravel_pytree(floating(direction))
        length = norm(flat)
        return unravel(-(scalar("radius", self.radius, flat) / jnp.where(length > 0, length, 1)) * flat)
