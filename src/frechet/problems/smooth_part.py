"""Oracles of a smooth function that comes with a proximable one."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.core import lift
from frechet.problems.differentiable import Differentiable


class SmoothPart(Differentiable):
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

    def prox(self: Any, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step * g``."""
        return self.g.prox(x, step)
