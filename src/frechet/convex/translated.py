"""A function moved to another origin."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function, function
from frechet.convex.parameters import entry, floating, matched, parameter


class Translated(Function):
    r"""$g(x - c)$ with $c$ = ``shift``: a ball around $c$, a penalty on the distance to $c$.

    Args:
        g: a function.
        shift: a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        TypeError: ``g`` is not a function of this kind.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> ball = fr.convex.Translated(fr.convex.L2Ball(1.0), jnp.array([2.0, 0.0]))
        >>> ball.prox(jnp.zeros(2), 1.0).tolist()
        [1.0, 0.0]
    """

    g: Function = eqx.field(converter=function)
    shift: PyTree[Any] = eqx.field(converter=lambda c: parameter("shift", c))

    @property
    def separable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.g.separable

    def __call__(self, x: PyTree[Array]) -> Scalar:
        x = floating(x)
        return self.g(jax.tree.map(jnp.subtract, x, matched("shift", self.shift, x)))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        x = floating(x)
        shift = matched("shift", self.shift, x)
        return jax.tree.map(jnp.add, shift, self.g.prox(jax.tree.map(jnp.subtract, x, shift), step))

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        value = floating(value)
        shift = entry("shift", self.shift, index, value.dtype)
        return shift + self.g.prox_coordinate(value - shift, index, step)
