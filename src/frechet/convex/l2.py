"""The Euclidean norm, not squared."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import norm, parameter
from frechet.convex.vector import Vector, scalar


def shrink(length: Array, threshold: Array) -> Array:
    r"""The factor $\max(1 - t / \|x\|, 0)$ of block soft thresholding, with 1 where $t = 0$."""
    inside = (length <= threshold) & (threshold > 0)
    safe = jnp.where(inside | (length == 0), 1, length)
    return jnp.where(inside, 0, 1 - threshold / safe)


class L2(Vector):
    r"""$g(x) = w \|x\|_2$, the norm itself; all leaves of ``x`` together are one vector.

    The proximal map shrinks the whole vector. At $\|x\| = s w$ its derivative is that of the zero piece: 0.

    Args:
        weight: $w \ge 0$, a scalar.

    Raises:
        ValueError: a weight below zero.

    Source: Yuan and Lin, 2006, "Model selection and estimation in regression with grouped variables",
    JRSS B 68(1).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.L2(2.5)
        >>> float(g(jnp.array([3.0, 4.0]))), g.prox(jnp.array([3.0, 4.0]), 1.0).tolist()
        (12.5, [1.5, 2.0])
    """

    weight: Any = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        return scalar("weight", self.weight, x) * norm(x)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        return shrink(norm(x), step * scalar("weight", self.weight, x)) * x
