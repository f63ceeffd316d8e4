"""Equilibration: rows, columns and cost of a quadratic program scaled to comparable sizes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.problems.quadratic_program import Matrix, is_sparse
from frechet.solvers.quadratic.rows import Rows


class Scaling(NamedTuple):
    r"""New variables $\hat x = D^{-1}x$, rows multiplied by $E$, cost by $c$; bounds stay bounds.

    Multipliers go with $\hat y = c E^{-1} y$ and, of the bounds, $\hat w = c D w$.

    Attributes:
        columns: the diagonal of $D$, shape (n,).
        rows: the diagonal of $E$, shape (m,).
        cost: $c$.
    """

    columns: Float[Array, " n"]
    rows: Float[Array, " m"]
    cost: Scalar

    def apply(self, p: Rows) -> Rows:
        """The scaled program."""
        D, E, c = self
        P = None if p.P is None else scaled(p.P, c * D, D)
        return Rows(P, c * D * p.q, scaled(p.K, E, D), E * p.l, E * p.u, p.lower / D, p.upper / D)

    def shrink(self, x: Array, y: Array) -> tuple[Array, Array]:
        """A point and its rows' multipliers in the scaled program."""
        return x / self.columns, self.cost * y / self.rows

    def expand(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The inverse of `shrink`."""
        return self.columns * x, self.rows * y / self.cost


def equilibrate(p: Rows, rounds: int = 10) -> Scaling:
    r"""Ruiz's scaling of $\begin{pmatrix} P & K^\top \\ K & 0\end{pmatrix}$, then of the cost.

    Each round divides every row and column by the square root of its largest modulus, so that these tend to
    1; the cost is then divided by the larger of $\|q\|_\infty$ and the mean largest modulus of $P$'s columns.

    Args:
        p: the program.
        rounds: how often.

    Returns:
        The scaling; 1 where there is nothing to scale by.

    Source:
        Ruiz 2001, A scaling algorithm to equilibrate both rows and columns norms in matrices; Stellato et
        al. 2020, OSQP, arXiv 1711.08013 (section 5.1).
    """

    def one(_: int, s: Scaling) -> Scaling:
        D, E, c = s
        columns = largest(p.K, 1, E) * D
        if p.P is not None:
            columns = jnp.maximum(columns, largest(p.P, 1, D) * D)
        return Scaling(D / jnp.sqrt(_size(columns)), E / jnp.sqrt(_size(largest(p.K, 0, D) * E)), c)

    start = Scaling(jnp.ones_like(p.q), jnp.ones_like(p.l), jnp.ones((), p.q.dtype))
    D, E, c = jax.lax.fori_loop(0, rounds, one, start)
    cost = jnp.max(jnp.abs(D * p.q), initial=0)
    if p.P is not None:
        cost = jnp.maximum(cost, jnp.mean(largest(p.P, 1, D) * D))
    return Scaling(D, E, c / _size(cost))


def _size(v: Array) -> Array:
    """What to divide by: 1 for zero, and nothing extreme."""
    return jnp.where(v > 0, jnp.clip(v, 1e-4, 1e4), 1)


def scaled(M: Matrix, left: Float[Array, " m"], right: Float[Array, " n"]) -> Matrix:
    """``diag(left) M diag(right)``."""
    if not is_sparse(M):
        return left[:, None] * M * right
    # Entries that only fill up a batch lie outside the matrix.
    i, j = M.indices[:, 0], M.indices[:, 1]
    data = left.at[i].get(mode="clip") * M.data * right.at[j].get(mode="clip")
    return type(M)(
        (data, M.indices),
        shape=M.shape,
        indices_sorted=M.indices_sorted,
        unique_indices=M.unique_indices,
    )


def largest(M: Matrix, axis: int, weights: Array) -> Array:
    """The largest modulus of each column (``axis`` 1) or row (0), entries weighted along the other axis."""
    if not is_sparse(M):
        weighted = jnp.abs(M) * (weights[:, None] if axis else weights)
        return jnp.max(weighted, axis=1 - axis, initial=0)
    entries = jnp.abs(M.data) * weights.at[M.indices[:, 1 - axis]].get(mode="clip")
    return jnp.maximum(jax.ops.segment_max(entries, M.indices[:, axis], M.shape[axis]), 0)
