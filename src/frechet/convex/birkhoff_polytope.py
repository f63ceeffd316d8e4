"""Doubly stochastic matrices."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import floating
from frechet.convex.transport_polytope import TransportPolytope


class BirkhoffPolytope(Function):
    r"""Indicator of the doubly stochastic matrices, on every leaf; leading axes are a batch.

    The convex hull of the permutation matrices: a `TransportPolytope` whose sums are all one, with its
    derivative.

    Raises:
        ValueError: when called, a leaf whose last two axes differ in length.

    Source: as `TransportPolytope`.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.BirkhoffPolytope().prox(jnp.array([[0.5, 0.0], [0.0, 0.0]]), 1.0).round(4).tolist()
        [[0.625, 0.375], [0.375, 0.625]]
    """

    def _polytope(self, x: Array) -> TransportPolytope:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise ValueError(f"BirkhoffPolytope takes square matrices, got shape {x.shape}")
        ones = jnp.ones(x.shape[-1], x.dtype)
        return TransportPolytope(ones, ones)

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return jnp.asarray(sum(self._polytope(v)(v) for v in jax.tree.leaves(floating(x))))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return jax.tree.map(lambda v: self._polytope(v).prox(v, step), floating(x))
