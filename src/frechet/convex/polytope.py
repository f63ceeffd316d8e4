"""Sets that are the hull of few points."""

import abc
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from frechet.convex.parameters import floating
from frechet.convex.vector import Vector


class Polytope(Vector):
    """The convex hull of ``m`` points, few enough to keep a weight for each.

    Methods that remember which vertices a point is made of (away steps) need no more than these maps.

    Source: Lacoste-Julien and Jaggi, 2015, "On the global linear convergence of Frank-Wolfe optimization
    variants", arXiv 1511.05932.
    """

    compact: ClassVar[bool] = True
    polytope: ClassVar[bool] = True

    @abc.abstractmethod
    def products(self, direction: Float[Array, " n"]) -> Float[Array, " m"]:
        """Inner products of the vertices with a direction."""

    @abc.abstractmethod
    def combination(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        """The point with these weights."""

    @abc.abstractmethod
    def weights(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """Nonnegative weights, of sum one, of a point of the set."""

    def vertex_products(self, direction: PyTree[Array]) -> Float[Array, " m"]:
        """Inner products of all vertices with ``direction``, shape (m,)."""
        return self.products(ravel_pytree(floating(direction))[0])

    def vertex_combination(self, weights: Float[Array, " m"], like: PyTree[Array]) -> PyTree[Array]:
        """The point with these weights, in the form of ``like``."""
        return ravel_pytree(like)[1](self.combination(weights))

    def vertex_weights(self, x: PyTree[Array]) -> Float[Array, " m"]:
        """Weights of ``x``, shape (m,); meaningful for points of the set."""
        return self.weights(ravel_pytree(floating(x))[0])

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        products = self.vertex_products(direction)
        one = jax.nn.one_hot(jnp.argmin(products), products.size, dtype=products.dtype)
        return self.vertex_combination(one, direction)
