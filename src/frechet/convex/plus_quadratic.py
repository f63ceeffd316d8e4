"""A function plus a quadratic."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function, function
from frechet.convex.parameters import entry, floating, matched, parameter


class PlusQuadratic(Function):
    r"""$g(x) + \tfrac{a}{2}\|x\|_2^2 + \langle b, x\rangle$.

    Its proximal map is that of $g$ with step $s / (1 + s a)$ at $(x - s b) / (1 + s a)$.

    Args:
        g: a function.
        a: $a \ge 0$, a scalar.
        b: a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        TypeError: ``g`` is not a function of this kind.
        ValueError: ``a`` is below zero.

    Source: Parikh and Boyd, 2014, "Proximal Algorithms", section 2.2.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.PlusQuadratic(fr.convex.NonNegative(), a=1.0, b=-2.0)
        >>> g.prox(jnp.array([2.0, -4.0]), 1.0).tolist()
        [2.0, 0.0]
    """

    g: Function = eqx.field(converter=function)
    a: Any = eqx.field(default=0.0, converter=lambda a: parameter("a", a, least=0))
    b: PyTree[Any] = eqx.field(default=0.0, converter=lambda b: parameter("b", b))

    @property
    def separable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.g.separable

    def __call__(self, x: PyTree[Array]) -> Scalar:
        x = floating(x)

        def quadratic(v, b):
            return jnp.sum(jnp.asarray(self.a, v.dtype) / 2 * jnp.square(v) + b * v)

        return self.g(x) + sum(
            jax.tree.leaves(jax.tree.map(quadratic, x, matched("b", self.b, x))), start=0.0
        )

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        x = floating(x)

        def moved(v, s, b):
            return ((v - s * b) / (1 + s * self.a)).astype(v.dtype)

        shifted = jax.tree.map(moved, x, matched("step", step, x), matched("b", self.b, x))
        return self.g.prox(shifted, jax.tree.map(lambda s: s / (1 + s * self.a), step))

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        value = floating(value)
        step, b = jnp.asarray(step, value.dtype), entry("b", self.b, index, value.dtype)
        scale = 1 + step * jnp.asarray(self.a, value.dtype)
        return self.g.prox_coordinate((value - step * b) / scale, index, step / scale)
