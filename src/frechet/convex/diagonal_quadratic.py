"""Half the squared norm in a diagonal metric."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.legendre import Legendre
from frechet.convex.parameters import parameter


class DiagonalQuadratic(Legendre):
    r"""$\varphi(x) = \tfrac12\sum_i m_i x_i^2$; with $m = 1$ the Euclidean geometry.

    Args:
        metric: $m$, above zero; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        ValueError: an entry of ``metric`` that is not above zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> geometry = DiagonalQuadratic(jnp.array([1.0, 4.0]))
        >>> geometry.left_prox(fr.convex.L1(1.0), jnp.array([2.0, 2.0]), 1.0).tolist()
        [1.0, 1.75]
    """

    metric: PyTree[Any] = eqx.field(default=1.0, converter=lambda v: parameter("metric", v, positive=True))

    def value(self, x: PyTree[Array]) -> Scalar:
        terms = jax.tree.map(lambda v, m: jnp.sum(m * v**2) / 2, x, self._metric(x))
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, m: m * v, x, self._metric(x))

    def inverse(self, dual: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda y, m: y / m, dual, self._metric(dual))

    def curvature(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, m: jnp.broadcast_to(m, v.shape), x, self._metric(x))

    def prox(self, g: Function, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        return g.prox(self.inverse(dual), jax.tree.map(lambda m: step / m, self._metric(dual)))

    def right_prox(self, g: Function, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.left_prox(g, x, step)  # the divergence is symmetric

    def _metric(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.matched("metric", self.metric, x)
