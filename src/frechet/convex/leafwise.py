"""Functions that are sums over the leaves of a pytree."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import floating, matched


class Leafwise(Function):
    r"""$g(x) = \sum_k \phi(x_k; \theta_k)$ over the leaves $x_k$ of ``x``.

    A subclass gives $\phi$ and its proximal map for one leaf. Its fields are the parameters $\theta$: each a
    number, an array that fits a leaf, or a prefix pytree of ``x`` with such leaves.
    """

    @abc.abstractmethod
    def leaf_value(self, value: Array, *parameters: Array) -> Array:
        """Terms whose sum is the function of one leaf; ``parameters`` are the fields in their order."""

    @abc.abstractmethod
    def leaf_prox(self, value: Array, step: Array, *parameters: Array) -> Array:
        """The proximal map for one leaf."""

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a parameter has at most, for a leaf of the given shape."""
        return shape

    def parameters(self) -> dict[str, PyTree[Any]]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _matched(self, x: PyTree[Array], **parameters: PyTree[Any]) -> list[PyTree[Array]]:
        return [matched(name, value, x, self.parameter_shape) for name, value in parameters.items()]

    def __call__(self, x: PyTree[Array]) -> Scalar:
        x = floating(x)
        parameters = self._matched(x, **self.parameters())
        values = jax.tree.map(lambda *leaves: jnp.sum(self.leaf_value(*leaves)), x, *parameters)
        return jnp.asarray(sum(jax.tree.leaves(values), start=0.0))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        x = floating(x)
        return jax.tree.map(self.leaf_prox, x, *self._matched(x, step=step, **self.parameters()))
