"""A ground cost that is given as a matrix."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Scalar

from frechet.convex.parameters import float_array
from frechet.transport.ground_cost import GroundCost

BLOCK = 2**17
"""About how many entries a block of rows has."""


class CostMatrix(GroundCost):
    r"""The costs as a matrix; an entry may be $+\infty$, of a pair between which nothing may move.

    Args:
        C: shape (m, n).

    Raises:
        ValueError: not a matrix, or one without entries.

    Example:
        >>> import jax.numpy as jnp
        >>> float(CostMatrix(jnp.array([[0.0, 1.0], [2.0, 3.0]])).mean())
        1.5
    """

    C: Float[Array, "m n"] = eqx.field(converter=float_array)

    def __check_init__(self):
        if jnp.ndim(self.C) != 2 or not self.C.size:
            raise ValueError(
                f"a cost is a matrix of at least one source and one target, got shape {jnp.shape(self.C)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.C.shape
        return m, n

    @property
    def dtype(self) -> Any:
        return self.C.dtype

    @property
    def T(self) -> "CostMatrix":
        return CostMatrix(self.C.T)

    def column(self, j: Int[Array, ""]) -> Float[Array, " m"]:
        return self.C[:, j]

    def columnwise(self, fun: Callable[..., PyTree[Array]], *per_column: Array) -> PyTree[Array]:
        return jax.vmap(fun, in_axes=(1, *[0] * len(per_column)))(self.C, *per_column)

    def columnwise_sum(self, fun: Callable[..., PyTree[Array]], *per_column: Array) -> PyTree[Array]:
        return jax.tree.map(lambda v: jnp.sum(v, 0), self.columnwise(fun, *per_column))

    def rowwise(self, fun: Callable[..., PyTree[Array]], *per_row: Array) -> PyTree[Array]:
        return jax.vmap(fun)(self.C, *per_row)

    def entrywise(
        self, fun: Callable[..., Array], row: Float[Array, " m"], column: Float[Array, " n"]
    ) -> Float[Array, "m n"]:
        return fun(self.C, row[:, None], column)

    def entrywise_sums(
        self, fun: Callable[..., Array], row: Float[Array, " m"], column: Float[Array, " n"]
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        # By blocks of rows, so that entries that both sums need are never stored: touching new memory takes
        # longer than computing them.
        m, n = self.shape
        size = _block(m, n)

        def block(total: Array, rows: tuple[Array, Array]) -> tuple[Array, Array]:
            costs, row = rows
            entries = fun(costs, row[:, None], column)
            return total + jnp.sum(entries, 0), jnp.sum(entries, 1)

        begun = jnp.zeros(n, jnp.result_type(self.C, row, column))
        if size == m:
            columns, rows = block(begun, (self.C, row))
        else:
            columns, rows = lax.scan(block, begun, (self.C.reshape(-1, size, n), row.reshape(-1, size)))
        return rows.ravel(), columns

    def soft_columns(
        self, f: Float[Array, " m"], log_weights: Float[Array, " m"], epsilon: Scalar
    ) -> Float[Array, " n"]:
        # By products, which are fused with both passes over the columns, where quotients are stored.
        z = (f / epsilon + log_weights)[:, None] - self.C * (1 / epsilon)
        return -epsilon * jax.nn.logsumexp(z, axis=0)

    def largest(self) -> Scalar:
        # In one reduction: by rows it takes as long as all the rest of a short solve.
        return jnp.max(jnp.abs(self.C), where=~jnp.isinf(self.C), initial=0)

    def matrix(self) -> Float[Array, "m n"]:
        return self.C

    def _over_some(self, fun: Callable[[Array], PyTree[Array]]) -> PyTree[Array]:
        return jax.vmap(fun)(self.C)


def _block(m: int, n: int) -> int:
    """A number of rows that divides ``m``, of about `BLOCK` entries."""
    divisors = (d for d in range(1, m + 1) if m % d == 0)
    return min(divisors, key=lambda d: abs(math.log(d * n / BLOCK)))
