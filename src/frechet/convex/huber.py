"""The Huber function."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.parameters import parameter
from frechet.convex.separable import Separable


class Huber(Separable):
    r"""$g(x) = \sum_i w_i h_{\delta_i}(x_i)$: quadratic near zero, linear in the tails.

    $h_\delta(t) = t^2/2$ for $|t| \le \delta$ and $\delta |t| - \delta^2/2$ beyond, the Moreau envelope of
    $\delta |t|$ with step 1. At $|x_i| = \delta_i (1 + s w_i)$ the derivative of the proximal map is that of
    the quadratic piece.

    Args:
        weight: $w \ge 0$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.
        delta: $\delta > 0$, likewise.

    Raises:
        ValueError: a weight below zero or a delta not above it.

    Source: Huber, 1964, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Huber(weight=1.0, delta=1.0)
        >>> float(g(jnp.array([1.0, 3.0]))), g.prox(jnp.array([1.0, 3.0]), 1.0).tolist()
        (3.0, [0.5, 2.0])
    """

    weight: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))
    delta: PyTree[Any] = eqx.field(default=1.0, converter=lambda d: parameter("delta", d, positive=True))

    def leaf_value(self, value: Array, weight: Array, delta: Array) -> Array:
        size = jnp.abs(value)
        # The inner `where` keeps an overflow out of the branch not chosen: its derivative would be NaN.
        square = jnp.square(jnp.where(size <= delta, value, 0)) / 2
        return weight * jnp.where(size <= delta, square, delta * (size - delta / 2))

    def leaf_prox(self, value: Array, step: Array, weight: Array, delta: Array) -> Array:
        scale = step * weight
        quadratic = jnp.abs(value) <= delta * (1 + scale)
        return jnp.where(quadratic, value / (1 + scale), value - jnp.sign(value) * scale * delta)
