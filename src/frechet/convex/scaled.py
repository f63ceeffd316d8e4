"""A function times a nonnegative number."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function, function
from frechet.convex.parameters import parameter


class Scaled(Function):
    r"""$c\, g(x)$. Its proximal map is that of $g$ with step $c s$; an indicator stays what it is.

    Args:
        c: $c \ge 0$, a scalar.
        g: a function.

    Raises:
        TypeError: ``g`` is not a function of this kind.
        ValueError: ``c`` is below zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.Scaled(2.0, fr.convex.L1()).prox(jnp.array([3.0, 1.0]), 1.0).tolist()
        [1.0, 0.0]
    """

    c: Any = eqx.field(converter=lambda c: parameter("c", c, least=0))
    g: Function = eqx.field(converter=function)

    @property
    def separable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.g.separable

    def __call__(self, x: PyTree[Array]) -> Scalar:
        value = self.g(x)
        outside = jnp.isinf(value)
        return jnp.where(outside, value, jnp.asarray(self.c, value.dtype) * jnp.where(outside, 0, value))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.g.prox(x, jax.tree.map(lambda s: self.c * s, step))

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        return self.g.prox_coordinate(value, index, self.c * step)
