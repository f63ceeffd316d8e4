"""What a ground cost offers: its columns and rows, one after the other or all at once."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Scalar

STORED_UP_TO = 2**24
"""Entries of a cost that are kept as a matrix where nobody says otherwise."""
AT_ONCE = 2**16
"""Entries computed at once of a cost that is not kept: what a core's cache holds."""
LOOKED_AT = 1024
"""Columns that stand for all where an unstored cost's scale is asked for."""


class GroundCost(eqx.Module):
    r"""Costs $C_{ij}$ of moving mass from source $i$ to target $j$.

    What is asked of a cost are passes over it: a function applied to every column or row. So costs need not
    be stored; a subclass gives ``shape``, ``dtype``, ``column`` and ``T``.

    Source: the separation of geometry, problem and solver follows Cuturi, Meng-Papaxanthos, Tian, Bunne,
    Davis, Teboul 2022, Optimal Transport Tools (OTT): A JAX Toolbox for all things Wasserstein,
    arXiv 2201.12324.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """How many sources and targets."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The dtype of its entries."""

    @property
    @abc.abstractmethod
    def T(self) -> "GroundCost":
        """The transposed cost."""

    @abc.abstractmethod
    def column(self, j: Int[Array, ""]) -> Float[Array, " m"]:
        """The costs to target ``j``."""

    def columnwise(self, fun: Callable[..., PyTree[Array]], *per_column: Array) -> PyTree[Array]:
        """``fun(column, *entries)`` for every column and its entries of ``per_column``, stacked.

        Columns are computed anew, in the backward pass too: memory is linear in the numbers of points.
        """
        one = jax.checkpoint(lambda j, *given: fun(self.column(j), *given))
        places = jnp.arange(self.shape[1])
        return lax.map(lambda t: one(*t), (places, *per_column), batch_size=self._at_once())

    def columnwise_sum(self, fun: Callable[..., PyTree[Array]], *per_column: Array) -> PyTree[Array]:
        """The sum over columns of ``fun(column, *entries)``."""
        n, size = self.shape[1], self._at_once()
        places = jnp.arange(-(-n // size) * size).reshape(-1, size)
        one = jax.checkpoint(lambda j, *given: fun(self.column(j), *given))

        def block(total: PyTree[Array], places: Int[Array, " block"]) -> tuple[PyTree[Array], None]:
            held = jnp.minimum(places, n - 1)
            outs = jax.vmap(one)(held, *(v[held] for v in per_column))
            kept = lambda v: jnp.where((places < n).reshape(-1, *[1] * (v.ndim - 1)), v, 0)  # noqa: E731
            return jax.tree.map(lambda t, v: t + jnp.sum(kept(v), 0), total, outs), None

        like = jax.eval_shape(one, places[0, 0], *(v[0] for v in per_column))
        return lax.scan(block, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like), places)[0]

    def rowwise(self, fun: Callable[..., PyTree[Array]], *per_row: Array) -> PyTree[Array]:
        """``fun(row, *entries)`` for every row and its entries of ``per_row``, stacked."""
        return self.T.columnwise(fun, *per_row)

    def soft_columns(
        self, f: Float[Array, " m"], log_weights: Float[Array, " m"], epsilon: Scalar
    ) -> Float[Array, " n"]:
        r"""$-\varepsilon\log\sum_i w_i e^{(f_i - C_{ij})/\varepsilon}$ for every column."""
        start = f / epsilon + log_weights
        return self.columnwise(lambda c: -epsilon * jax.nn.logsumexp(start - c / epsilon))

    def entrywise(
        self, fun: Callable[..., Array], row: Float[Array, " m"], column: Float[Array, " n"]
    ) -> Float[Array, "m n"]:
        """The matrix of ``fun(cost, row entry, column entry)``, a function of arrays that broadcast."""
        return self.columnwise(lambda c, v: fun(c, row, v), column).T

    def entrywise_sums(
        self, fun: Callable[..., Array], row: Float[Array, " m"], column: Float[Array, " n"]
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        """Row and column sums of that matrix, in one pass."""
        n, size = self.shape[1], self._at_once()
        places = jnp.arange(-(-n // size) * size).reshape(-1, size)
        one = jax.checkpoint(lambda j: fun(self.column(j), row, column[j]))

        def block(total: Array, places: Int[Array, " block"]) -> tuple[Array, Array]:
            entries = jax.vmap(one)(jnp.minimum(places, n - 1))
            entries = jnp.where((places < n)[:, None], entries, 0)
            return total + jnp.sum(entries, 0), jnp.sum(entries, 1)

        rows, columns = lax.scan(block, jnp.zeros_like(row), places)
        return rows, columns.ravel()[:n]

    def exponential_sums(
        self, row: Float[Array, " m"], column: Float[Array, " n"], epsilon: Scalar
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        r"""Row and column sums of $e^{r_i + s_j - C_{ij}/\varepsilon}$; never infinite.

        Exponents are cut where numbers so large that their sums' squares overflow begin.
        """
        most = 0.35 * jnp.log(jnp.finfo(self.dtype).max)
        entry = lambda c, r, s: jnp.exp(jnp.minimum(r + s - c / epsilon, most))  # noqa: E731
        return self.entrywise_sums(entry, row, column)

    def matrix(self) -> Float[Array, "m n"]:
        """All of it."""
        return self.columnwise(lambda c: c).T

    def stored(self) -> "GroundCost":
        """This cost, as a matrix where that is the better form."""
        return self

    def mean(self) -> Scalar:
        """The mean of its finite entries; of an unstored cost, over a thousand columns."""
        total, count = self._over_some(
            lambda c: (jnp.sum(jnp.where(jnp.isfinite(c), c, 0)), jnp.sum(jnp.where(jnp.isfinite(c), 1, 0)))
        )
        return jnp.where(jnp.any(jnp.isnan(total)), jnp.nan, jnp.sum(total) / jnp.sum(count))

    def largest(self) -> Scalar:
        """The largest modulus of its finite entries; of an unstored cost, over a thousand columns."""
        return jnp.max(self._over_some(lambda c: jnp.max(jnp.abs(c), where=~jnp.isinf(c), initial=0)))

    def _over_some(self, fun: Callable[[Array], PyTree[Array]]) -> PyTree[Array]:
        n = self.shape[1]
        places = jnp.linspace(0, n - 1, min(n, LOOKED_AT)).astype(int)
        return lax.map(lambda j: fun(self.column(j)), places, batch_size=self._at_once())

    def _at_once(self) -> int:
        return max(1, min(self.shape[1], AT_ONCE // self.shape[0]))
