"""The nonnegative orthant."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.parameters import feasible
from frechet.convex.separable import Separable


class NonNegative(Separable):
    r"""Indicator of $\{x : x_i \ge 0\}$. At 0 the derivative of the projection is that of the interior: 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.NonNegative().prox(jnp.array([3.0, -2.0]), 1.0).tolist()
        [3.0, 0.0]
    """

    box: ClassVar[bool] = True
    entropic: ClassVar[bool] = True

    def leaf_value(self, value: Array) -> Array:
        return feasible(-value, value)

    def leaf_prox(self, value: Array, step: Array) -> Array:
        return jnp.where(value < 0, 0, value)

    def entropy_prox(self, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        return jax.tree.map(jnp.exp, dual)
