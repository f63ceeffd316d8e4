"""Matrices with given row and column sums."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import feasible, floating, known, parameter
from frechet.convex.semi_dual import project_columns
from frechet.convex.simplex import project_simplex


def _face(x: Float[Array, " m"], mass: Scalar) -> tuple[Float[Array, " m"], Float[Array, " m"], Scalar]:
    """One column: a simplex projection, the entries that may move, and the conjugate's value."""
    held = mass > 0
    p = jnp.where(held, project_simplex(x, jnp.where(held, mass, 1)), 0)
    return p, jnp.where(p > 0, 1, 0).astype(x.dtype), p @ (x - p / 2)


def project_transport(
    x: Float[Array, "m n"], a: Float[Array, " m"], b: Float[Array, " n"]
) -> Float[Array, "m n"]:
    r"""The nonnegative matrix nearest to ``x`` with row sums ``a`` and column sums ``b``."""
    # In units of a column's mean sum, to which the entries of x are then large or small.
    unit = lax.stop_gradient(jnp.mean(b))
    return unit * project_columns(_face, x / unit, a / unit, b / unit)


class TransportPolytope(Function):
    r"""Indicator of $\{X \in \mathbb{R}^{m \times n}_+ : X 1 = a,\ X^\top 1 = b\}$.

    Each leaf is a matrix; leading axes are a batch.

    The projection (quadratically regularised optimal transport) solves its semi-dual, one multiplier a row,
    by a damped semismooth Newton method that ends at rounding level. The derivative is that of the face of
    the positive entries: an entry exactly on the edge of being positive counts as zero. With
    multipliers that are not unique the derivative is the least-norm one, and the same for the matrix itself.

    Args:
        a: row sums, nonnegative, shape ``(m,)``.
        b: column sums, nonnegative, shape ``(n,)``. Scaled to the total of ``a``.

    Raises:
        ValueError: negative sums, totals that differ, or matrices of another shape.

    Source: Blondel, Seguy and Rolet, 2018, "Smooth and sparse optimal transport", AISTATS, arXiv 1710.06276;
    Li, Sun and Toh, 2020, "On the efficient computation of a generalized Jacobian of the projector over the
    Birkhoff polytope", Mathematical Programming 179, arXiv 1702.05934.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.TransportPolytope(jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75]))
        >>> g.prox(jnp.array([[1.0, 0.0], [0.0, 1.0]]), 1.0).round(3).tolist()
        [[0.25, 0.25], [0.0, 0.5]]
    """

    a: Float[Array, " m"] = eqx.field(converter=lambda v: parameter("a", v, least=0))
    b: Float[Array, " n"] = eqx.field(converter=lambda v: parameter("b", v, least=0))

    def __check_init__(self):
        for name, v in (("a", self.a), ("b", self.b)):
            if jnp.ndim(v) != 1:
                raise ValueError(f"{name} must be a vector of sums, got shape {jnp.shape(v)}")
        if known(self.a, self.b):
            require_equal_totals(self.a, self.b)

    def marginals(self, x: Array) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        """Row and column sums for a leaf, with equal totals."""
        if x.shape[-2:] != (self.a.size, self.b.size):
            raise ValueError(
                f"x has shape {x.shape}; the sums are those of {self.a.size, self.b.size} matrices"
            )
        a, b = self.a.astype(x.dtype), self.b.astype(x.dtype)
        return a, b * (jnp.sum(a) / jnp.sum(b))

    def __call__(self, x: PyTree[Array]) -> Scalar:
        def value(v: Array) -> Scalar:
            a, b = self.marginals(v)
            rows, columns = jnp.abs(jnp.sum(v, -1) - a), jnp.abs(jnp.sum(v, -2) - b)
            return jnp.sum(feasible(-v, v)) + jnp.sum(feasible(rows, a)) + jnp.sum(feasible(columns, b))

        return jnp.asarray(sum(value(v) for v in jax.tree.leaves(floating(x))))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        def project(v: Array) -> Array:
            a, b = self.marginals(v)
            return jnp.vectorize(lambda u: project_transport(u, a, b), signature="(m,n)->(m,n)")(v)

        return jax.tree.map(project, floating(x))


def require_equal_totals(a: Array, b: Array) -> None:
    """Raises unless known row and column sums have the same, positive total."""
    total, other = (float(np.sum(np.asarray(v, float))) for v in (a, b))
    tolerance = float(np.sqrt(jnp.finfo(a.dtype).eps))
    if total <= 0 or abs(total - other) > tolerance * total:
        raise ValueError(
            f"row sums add up to {total:g} and column sums to {other:g}; they must agree, above 0"
        )
