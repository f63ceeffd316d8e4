"""Oracles of a smooth function that comes with a proximable one."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.core import lift
from frechet.core.problem import Problem


class SmoothPart(Problem):
    """A problem with a smooth function ``f`` and a proximable ``g`` of the same point.

    The kinds declare these fields themselves, each in the order of its own arguments.
    """

    def __check_init__(self: Any):
        if not isinstance(self.g, Function):
            raise TypeError(f"g must be a frechet.convex.Function, got {type(self.g).__name__}")

    def value(self: Any, x: PyTree[Array]) -> Scalar:
        """The smooth part, ``f(x)``."""
        out = lift.call(self.f, x)
        if jnp.shape(out) != ():
            raise TypeError(
                f"the objective must return a scalar, got shape {jnp.shape(out)}; take its sum or mean"
            )
        return out

    def gradient(self, x: PyTree[Array]) -> PyTree[Array]:
        """Gradient of the smooth part."""
        return jax.grad(self.value)(x)

    def value_and_gradient(self, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
        """The smooth part and its gradient, for one evaluation of each."""
        return jax.value_and_grad(self.value)(x)

    def hvp(self, x: PyTree[Array], v: PyTree[Array]) -> PyTree[Array]:
        """Hessian of the smooth part at ``x`` applied to ``v``."""
        return jax.jvp(jax.grad(self.value), (x,), (v,))[1]

    def prox(self: Any, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step * g``."""
        return self.g.prox(x, step)
