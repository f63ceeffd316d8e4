"""The l1 norm plus half the squared Euclidean norm."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.l1 import soft_threshold
from frechet.convex.parameters import modulus, parameter
from frechet.convex.separable import Separable


class ElasticNet(Separable):
    r"""$g(x) = \sum_i a_i |x_i| + \tfrac12 b_i x_i^2$ with $a$ = ``l1`` and $b$ = ``l2``.

    scikit-learn's ``alpha`` and ``l1_ratio`` are ``l1 = alpha * l1_ratio``, ``l2 = alpha * (1 - l1_ratio)``.
    At $|x_i| = s a_i$ the derivative of the proximal map is that of the zero piece: 0.

    Args:
        l1: $a \ge 0$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.
        l2: $b \ge 0$, likewise.

    Raises:
        ValueError: a weight below zero.

    Source: Zou and Hastie, 2005, "Regularization and variable selection via the elastic net", JRSS B 67(2).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.ElasticNet(l1=1.0, l2=1.0).prox(jnp.array([3.0, 0.5]), 1.0).tolist()
        [1.0, 0.0]
    """

    l1: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("l1", w, least=0))
    l2: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("l2", w, least=0))

    def leaf_value(self, value: Array, l1: Array, l2: Array) -> Array:
        return l1 * modulus(value) + l2 * jnp.square(value) / 2

    def leaf_prox(self, value: Array, step: Array, l1: Array, l2: Array) -> Array:
        return soft_threshold(value, step * l1) / (1 + step * l2)
