"""Functions of a pytree taken as one vector."""

import abc
from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import floating


class Vector(Function):
    """A function of all leaves of ``x`` joined into one vector, as `jax.flatten_util.ravel_pytree` does."""

    @abc.abstractmethod
    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        """The function of one vector."""

    @abc.abstractmethod
    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        """The proximal map for one vector."""

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return self.vector_value(ravel_pytree(floating(x))[0])

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        flat, unravel = ravel_pytree(floating(x))
        return unravel(self.vector_prox(flat, jnp.asarray(step, flat.dtype)))


def scalar(name: str, value: Any, x: Array) -> Array:
    """A scalar parameter in the dtype of ``x``."""
    value = jnp.asarray(value, x.dtype)
    if value.shape != ():
        raise ValueError(f"{name} must be a scalar, got shape {value.shape}")
    return value
