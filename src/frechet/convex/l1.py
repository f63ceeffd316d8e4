"""The l1 norm, weighted."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.parameters import modulus, parameter
from frechet.convex.separable import Separable


def soft_threshold(value: Array, threshold: Array) -> Array:
    r"""$\mathrm{sign}(x)\max(|x| - t, 0)$, elementwise; at $|x| = t > 0$ its derivative is 0."""
    # Written so that NaN stays NaN, both branches have finite derivatives, and t = 0 gives the identity.
    zero = (jnp.abs(value) <= threshold) & (threshold > 0)
    return jnp.where(zero, 0, value - jnp.sign(value) * threshold)


class L1(Separable):
    r"""$g(x) = \sum_i w_i |x_i|$, the lasso penalty.

    The proximal map is soft thresholding. At $|x_i| = s w_i$ its derivative is that of the zero piece: 0.

    Args:
        weight: $w \ge 0$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        ValueError: a weight below zero.

    Source: Tibshirani, 1996, "Regression Shrinkage and Selection via the Lasso", JRSS B 58(1).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.L1(1.0).prox(jnp.array([3.0, -0.2, -2.0]), 0.5).tolist()
        [2.5, 0.0, -1.5]
    """

    homogeneous: ClassVar[bool] = True

    weight: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))

    def leaf_value(self, value: Array, weight: Array) -> Array:
        return weight * modulus(value)

    def leaf_prox(self, value: Array, step: Array, weight: Array) -> Array:
        return soft_threshold(value, step * weight)
