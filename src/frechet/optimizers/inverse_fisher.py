"""Products with the inverse of a damped empirical Fisher matrix that is never formed."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, PyTree


class InverseFisher(eqx.Module):
    r"""The inverse of a damped empirical Fisher matrix, in memory for $m$ gradients.

    $$F = \lambda I + \frac{1}{m} \sum_{i=1}^{m} g_i g_i^T$$

    With $V, \sigma$ the left singular vectors and the singular values of the gradients,

    $$F^{-1} = \frac{1}{\lambda} I - V \operatorname{diag}\!\left(
        \frac{1}{\lambda} - \frac{1}{\lambda + \sigma^2 / m}\right) V^T.$$

    The paper builds the same matrix gradient by gradient. Singular values keep what inner products of the
    gradients would lose: rounding grows with their condition number, not with its square, and in float32 a
    damping of 1e-5 is resolved beside gradients of any usual size. Setting up takes $O(d m^2)$, a product or
    the diagonal $O(d m)$, an entry $O(m)$.

    Args:
        gradients: a pytree like the parameters, a leading axis of size $m$ on every leaf; a matrix of shape
            (m, d) for a single vector. Rows are gradients of mini-batches.
        damping: $\lambda$, positive.
        block_size: entries a block, where parameters of different blocks are taken to be independent; at most
            so many vectors are kept. One block when left out.

    Raises:
        ValueError: there are no gradients, leaves disagree about how many, or the block size is not positive.

    Source:
        Elias Frantar, Eldar Kurtic, Dan Alistarh 2021, M-FAC: Efficient Matrix-Free Approximations of
        Second-Order Information, arXiv 2107.03356, section 3.

    Example:
        >>> import jax.numpy as jnp
        >>> inverse = InverseFisher(jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), damping=0.5)
        >>> inverse.diagonal().tolist()  # of F = diag(1, 2.5, 0.5)
        [1.0, 0.4000000059604645, 2.0]
        >>> inverse.product(jnp.array([1.0, 5.0, 1.0])).tolist()
        [1.0, 2.0, 2.0]
    """

    damping: Array
    vectors: Array  # (blocks, rank, entries a block): the rows of a block are orthonormal
    curvatures: Array  # (blocks, rank): eigenvalues of F - λI
    like: tuple[Any, tuple[jax.ShapeDtypeStruct, ...]] = eqx.field(static=True)

    def __init__(self, gradients: PyTree[Array], damping: ArrayLike = 1e-5, block_size: int | None = None):
        leaves, structure = jax.tree.flatten(gradients)
        counts = {jnp.shape(leaf)[:1] for leaf in leaves}
        if len(counts) != 1 or counts & {(), (0,)}:
            raise ValueError(
                "gradients need the same leading axis on every leaf, one entry a gradient, "
                f"got leaves of shapes {[jnp.shape(leaf) for leaf in leaves]}"
            )
        if block_size is not None and block_size < 1:
            raise ValueError(f"block_size must be positive, got {block_size}")
        (m,) = counts.pop()
        dtype = jnp.result_type(jnp.float32, *leaves)
        flat = jnp.concatenate([jnp.reshape(leaf, (m, -1)).astype(dtype) for leaf in leaves], axis=1)
        d = flat.shape[1]
        size = min(block_size or d, d)
        blocks = math.ceil(d / size)
        padded = jnp.pad(flat, ((0, 0), (0, blocks * size - d))).reshape(m, blocks, size)
        _, sigma, vectors = jnp.linalg.svd(jnp.swapaxes(padded, 0, 1), full_matrices=False)
        self.damping = jnp.asarray(damping, dtype)
        self.vectors, self.curvatures = vectors, sigma**2 / m
        one = [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in map(jnp.asarray, leaves)]
        self.like = (structure, tuple(one))

    def product(self, x: PyTree[Array]) -> PyTree[Array]:
        r"""$F^{-1} x$.

        Args:
            x: like one gradient.

        Returns:
            Like ``x``.
        """
        flat, unravel = ravel_pytree(x)
        blocks = self._blocked(flat.astype(self.vectors.dtype))
        inside = jnp.einsum("bkn,bn->bk", self.vectors, blocks, precision="highest")
        removed = jnp.einsum("bkn,bk->bn", self.vectors, self._removed * inside, precision="highest")
        return unravel((blocks / self.damping - removed).ravel()[: flat.size].astype(flat.dtype))

    def diagonal(self) -> PyTree[Array]:
        """The diagonal, like one gradient; every entry is at least the reciprocal of that of F."""
        squares = self.vectors**2
        diagonal = 1 / self.damping - jnp.einsum("bkn,bk->bn", squares, self._removed)
        # rounding may take the difference below what every positive definite matrix obeys
        fisher = self.damping + jnp.einsum("bkn,bk->bn", squares, self.curvatures)
        structure, leaves = self.like
        one = jax.tree.unflatten(structure, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in leaves])
        flat, unravel = ravel_pytree(one)
        return unravel(jnp.maximum(diagonal, 1 / fisher).ravel()[: flat.size].astype(flat.dtype))

    def entry(self, i: ArrayLike, j: ArrayLike) -> Array:
        r"""The entry $[F^{-1}]_{ij}$, in time of the order of the number of gradients.

        Args:
            i: row, counted through the raveled parameters.
            j: column, likewise.
        """
        (block_i, i), (block_j, j) = (jnp.divmod(k, self.vectors.shape[2]) for k in (i, j))
        left, right = self.vectors[block_i, :, i], self.vectors[block_j, :, j]
        inside = jnp.where(i == j, 1 / self.damping, 0) - jnp.sum(left * right * self._removed[block_i])
        return jnp.where(block_i == block_j, inside, 0)

    @property
    def _removed(self) -> Array:
        # 1/λ - 1/(λ + c) without the difference of two near numbers
        return self.curvatures / (self.damping * (self.damping + self.curvatures))

    def _blocked(self, flat: Array) -> Array:
        blocks, _, size = self.vectors.shape
        return jnp.pad(flat, (0, blocks * size - flat.size)).reshape(blocks, size)
