"""The l-infinity ball."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.parameters import feasible, floating, parameter
from frechet.convex.separable import Separable


class LinfBall(Separable):
    r"""Indicator of $\{x : |x_i| \le r_i\}$, for one $r$ the ball of $\|x\|_\infty$.

    The projection clips. At $|x_i| = r_i$ its derivative is that of the interior: 1.

    Args:
        radius: $r > 0$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        ValueError: a radius not above zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.LinfBall(1.0).prox(jnp.array([0.5, -3.0]), 1.0).tolist()
        [0.5, -1.0]
    """

    box: ClassVar[bool] = True
    compact: ClassVar[bool] = True

    radius: PyTree[Any] = eqx.field(default=1.0, converter=lambda r: parameter("radius", r, positive=True))

    def leaf_value(self, value: Array, radius: Array) -> Array:
        return feasible(jnp.abs(value) - radius, radius)

    def leaf_prox(self, value: Array, step: Array, radius: Array) -> Array:
        return jnp.where(jnp.abs(value) > radius, jnp.sign(value) * radius, value)

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        direction = floating(direction)
        (radius,) = self._matched(direction, radius=self.radius)
        return jax.tree.map(lambda d, r: -jnp.sign(d) * r, direction, radius)
