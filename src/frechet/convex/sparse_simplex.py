"""The sparse points of the simplex, a nonconvex set."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import feasible, parameter
from frechet.convex.simplex import project_simplex
from frechet.convex.vector import Vector, scalar


def project_sparse_simplex(x: Float[Array, " n"], k: int, scale: Array) -> Float[Array, " n"]:
    """A nearest point among the vectors of the simplex with at most ``k`` nonzero entries."""
    values, places = lax.top_k(x, min(k, x.size))
    return jnp.zeros_like(x).at[places].set(project_simplex(values, scale))


class SparseSimplex(Vector):
    r"""Indicator of $\{x : x_i \ge 0,\ \sum_i x_i = c,\ \|x\|_0 \le k\}$; all leaves together are one vector.

    **Not convex**: solvers find stationary points, and the projection is neither single-valued nor
    nonexpansive. The simplex projection of the ``k`` largest entries is a nearest point; of equal entries the
    first are kept. The derivative is that of the face of the positive entries, given which are kept.

    Args:
        k: how many entries may be nonzero, a static positive integer.
        scale: $c > 0$, a scalar.

    Raises:
        ValueError: ``k`` below one, or a scale not above zero.

    Source: Kyrillidis, Becker, Cevher and Koch, 2013, "Sparse projections onto the simplex", ICML,
    arXiv 1206.1529.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.SparseSimplex(2).prox(jnp.array([0.5, 1.0, 0.25]), 1.0).tolist()
        [0.25, 0.75, 0.0]
    """

    convex: ClassVar[bool] = False

    k: int = eqx.field(static=True)
    scale: Any = eqx.field(default=1.0, converter=lambda s: parameter("scale", s, positive=True))

    def __check_init__(self):
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        scale = scalar("scale", self.scale, x)
        # The entries beyond the k largest must be zero.
        rest = jnp.sum(jnp.abs(x)) - jnp.sum(lax.top_k(jnp.abs(x), min(self.k, x.size))[0])
        wrong = jnp.maximum(jnp.max(-x), jnp.abs(jnp.sum(x) - scale))
        return feasible(jnp.maximum(wrong, rest), scale)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        return project_sparse_simplex(x, self.k, scalar("scale", self.scale, x))
