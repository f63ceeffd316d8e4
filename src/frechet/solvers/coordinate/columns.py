"""Some columns of a design, laid out so that one of them is read and added fast."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Float, Int, Scalar

from frechet.losses.linear_model import LinearModel

# Columns that a product takes at a time. Small blocks keep a product in cache and on one thread.
BLOCK = 64


class Columns(eqx.Module):
    """A matrix A of shape (n, m), of which the first ``size`` columns are in use."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Its shape (n, m)."""

    @abc.abstractmethod
    def rows(self, j: Int[Array, ""], u: Array) -> Array:
        """The entries of ``u``, of shape (n,) or a scalar, in the rows that column j stores."""

    @abc.abstractmethod
    def entries(self, j: Int[Array, ""]) -> Array:
        """What column j stores in those rows."""

    @abc.abstractmethod
    def add(self, z: Float[Array, " n"], j: Int[Array, ""], c: Scalar) -> Float[Array, " n"]:
        """``z + c A[:, j]``."""

    @abc.abstractmethod
    def block(self, start: Int[Array, ""], count: int) -> "Columns":
        """``count`` columns from ``start`` on."""

    @abc.abstractmethod
    def add_all(self, z: Float[Array, " n"], v: Float[Array, " m"]) -> Float[Array, " n"]:
        """``z + A v``."""

    @abc.abstractmethod
    def correlate_all(self, u: Float[Array, " n"]) -> Float[Array, " m"]:
        """``A^T u``."""

    def times(self, v: Float[Array, " m"], size: Int[Array, ""]) -> Float[Array, " n"]:
        """``A v`` for a v that is zero beyond ``size``."""
        n, m = self.shape
        b = min(BLOCK, m)

        def add(k: Int[Array, ""], z: Array) -> Array:
            # The last block may reach back into the one before it.
            start = jnp.minimum(k * b, m - b)
            part = jnp.where(start + jnp.arange(b) >= k * b, lax.dynamic_slice_in_dim(v, start, b), 0)
            return self.block(start, b).add_all(z, part)

        return lax.fori_loop(0, -(-size // b), add, jnp.zeros(n, v.dtype))

    def correlate(self, u: Float[Array, " n"], size: Int[Array, ""]) -> Float[Array, " m"]:
        """``A^T u``; what it has beyond ``size`` is of no meaning."""
        m = self.shape[1]
        b = min(BLOCK, m)

        def put(k: Int[Array, ""], out: Array) -> Array:
            start = jnp.minimum(k * b, m - b)
            return lax.dynamic_update_slice_in_dim(out, self.block(start, b).correlate_all(u), start, 0)

        return lax.fori_loop(0, -(-size // b), put, jnp.zeros(m, u.dtype))


class DenseColumns(Columns):
    """Columns as the contiguous rows of ``A^T``."""

    transposed: Float[Array, "m n"]

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.transposed.shape
        return n, m

    def rows(self, j: Int[Array, ""], u: Array) -> Array:
        return u

    def entries(self, j: Int[Array, ""]) -> Array:
        return self.transposed[j]

    def add(self, z: Array, j: Int[Array, ""], c: Scalar) -> Array:
        return z + c * self.transposed[j]

    def block(self, start: Int[Array, ""], count: int) -> "DenseColumns":
        return DenseColumns(lax.dynamic_slice_in_dim(self.transposed, start, count))

    def add_all(self, z: Array, v: Array) -> Array:
        return z + v @ self.transposed

    def correlate_all(self, u: Array) -> Array:
        return self.transposed @ u


class SparseColumns(Columns):
    """The stored entries of each column and their rows, padded with zeros to the fullest column."""

    values: Float[Array, "m k"]
    at: Int[Array, "m k"]
    n: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n, self.values.shape[0]

    def rows(self, j: Int[Array, ""], u: Array) -> Array:
        return u if u.ndim == 0 else u.at[self.at[j]].get(mode="promise_in_bounds")

    def entries(self, j: Int[Array, ""]) -> Array:
        return self.values[j]

    def add(self, z: Array, j: Int[Array, ""], c: Scalar) -> Array:
        return z.at[self.at[j]].add(c * self.values[j], mode="promise_in_bounds")

    def block(self, start: Int[Array, ""], count: int) -> "SparseColumns":
        values, at = (lax.dynamic_slice_in_dim(v, start, count) for v in (self.values, self.at))
        return SparseColumns(values, at, self.n)

    def add_all(self, z: Array, v: Array) -> Array:
        return z.at[self.at].add(v[:, None] * self.values, mode="promise_in_bounds")

    def correlate_all(self, u: Array) -> Array:
        return jnp.sum(self.values * u.at[self.at].get(mode="promise_in_bounds"), axis=1)


def take_columns(f: LinearModel, which: Int[Array, " m"]) -> Columns:
    """Columns of a model's design, one for each number in ``which``; the number p gives zeros.

    A sparse design keeps its sparsity where no column is too full and the order of its entries by column is
    known (a design made under ``jit`` lacks it); otherwise these few columns become dense.
    """
    n, p = f.X.shape
    m = which.size
    if not isinstance(f.X, BCOO):
        return DenseColumns(f.X.at[:, which].get(mode="fill", fill_value=0).T)
    row, column = f.X.indices.T
    if f.by_column is None or 8 * f.column_entries > n:
        slot = jnp.full(p, m).at[which].set(jnp.arange(m), mode="drop")
        slot = slot.at[column].get(mode="fill", fill_value=m)
        return DenseColumns(jnp.zeros((m, n), f.X.dtype).at[slot, row].add(f.X.data, mode="drop"))
    order, starts = f.by_column
    first, end = (starts.at[at].get(mode="clip") for at in (which, which + 1))
    k = first[:, None] + jnp.arange(f.column_entries)
    entry = order.at[k].get(mode="clip")
    values, at = (jnp.where(k < end[:, None], v.at[entry].get(mode="clip"), 0) for v in (f.X.data, row))
    return SparseColumns(values, at, n)


def squared_norms(f: LinearModel) -> Float[Array, " p"]:
    r"""$\sum_i s_i x_{ij}^2$ for every column j, with the sample weights $s$."""
    s = f.sample_weight
    if isinstance(f.X, BCOO):
        row, column = f.X.indices.T
        squares = jnp.square(f.X.data)
        squares = squares if s is None else squares * s.at[row].get(mode="fill", fill_value=0)
        return jnp.zeros(f.X.shape[1], f.X.dtype).at[column].add(squares, mode="drop")
    return jnp.sum(jnp.square(f.X), axis=0) if s is None else s @ jnp.square(f.X)
