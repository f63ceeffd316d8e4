"""Half the squared Euclidean norm, weighted."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.parameters import parameter
from frechet.convex.separable import Separable


class SquaredL2(Separable):
    r"""$g(x) = \tfrac12 \sum_i w_i x_i^2$, the ridge penalty. Mind the half.

    Args:
        weight: $w \ge 0$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        ValueError: a weight below zero.

    Source: Hoerl and Kennard, 1970, "Ridge Regression", Technometrics 12(1).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.SquaredL2(2.0)
        >>> float(g(jnp.array([1.0, 2.0]))), g.prox(jnp.array([4.0]), 0.5).tolist()
        (5.0, [2.0])
    """

    weight: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))

    def leaf_value(self, value: Array, weight: Array) -> Array:
        return weight * jnp.square(value) / 2

    def leaf_prox(self, value: Array, step: Array, weight: Array) -> Array:
        return value / (1 + step * weight)
