"""Linear maps between pytrees, given by matrices or by their products."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree


class FunctionalLinearOperator:
    """The linear map ``x -> fun(params, x)``.

    Args:
        fun: the products.
        params: its first argument.
    """

    def __init__(self, fun: Callable, params: Any):
        self.matvec = functools.partial(fun, params)

    def __call__(self, x: PyTree) -> PyTree:
        return self.matvec(x)

    def rmatvec(self, x: PyTree, y: PyTree) -> PyTree:
        """The transpose's product with ``y``; ``x`` says what it is like."""
        return self.matvec_and_rmatvec(x, y)[1]

    def matvec_and_rmatvec(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
        """Both products."""
        Ax, back = jax.vjp(self.matvec, x)
        return Ax, back(y)[0]

    def normal_matvec(self, x: PyTree) -> PyTree:
        """``A^T A x``."""
        Ax, back = jax.vjp(self.matvec, x)
        return back(Ax)[0]

    def dense(self, x: PyTree[Array]) -> Array:
        """The matrix over raveled pytrees, of the dtype of ``x``, which is like those it is applied to."""
        flat, unravel = ravel_pytree(x)
        product = lambda v: ravel_pytree(self.matvec(unravel(v)))[0].astype(flat.dtype)  # noqa: E731
        return jax.jacfwd(product)(jnp.zeros_like(flat))


class DenseLinearOperator(FunctionalLinearOperator):
    """A matrix, or a pytree of matrices each of which is applied to its own leaf.

    Args:
        pytree: the matrices.
    """

    def __init__(self, pytree: PyTree[Array]):
        super().__init__(lambda matrices, x: jax.tree.map(jnp.dot, matrices, x), pytree)
        self.pytree = pytree

    def diag(self) -> PyTree[Array]:
        """The diagonals."""
        return jax.tree.map(jnp.diag, self.pytree)

    def columns_l2_norms(self, squared: bool = False) -> PyTree[Array]:
        """Euclidean norms of the columns, or their squares."""
        squares = jax.tree.map(lambda w: jnp.sum(jnp.square(w), axis=0), self.pytree)
        return squares if squared else jax.tree.map(jnp.sqrt, squares)

    def dense(self, x: PyTree[Array]) -> Array:
        blocks = jax.tree.leaves(self.pytree)
        matrix = blocks[0] if len(blocks) == 1 else jax.scipy.linalg.block_diag(*blocks)
        return jnp.asarray(matrix, jnp.result_type(*jax.tree.leaves(x)))


def linear_operator(matvec: Callable | None, params: Any) -> FunctionalLinearOperator:
    """The map ``matvec(params, x)``; without ``matvec`` that of the matrices ``params``."""
    return DenseLinearOperator(params) if matvec is None else FunctionalLinearOperator(matvec, params)
