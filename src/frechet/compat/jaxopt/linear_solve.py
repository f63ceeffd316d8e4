"""``jaxopt.linear_solve``: solvers of ``A x = b`` from products ``matvec(x) = A x``, on those of JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.compat.jaxopt.tree_util import tree_add_scalar_mul
from frechet.convex.parameters import known

Matvec = Callable[[Any], Any]


def _regularised(matvec: Matvec, ridge: Any) -> Matvec:
    return matvec if ridge is None else lambda v: tree_add_scalar_mul(matvec(v), ridge, v)


def _dense(matvec: Matvec, b: Array, ridge: Any, solve: Callable[[Array, Array], Array]) -> Array:
    """Forms the matrix and hands it to ``solve``; ``b`` may have any shape."""
    flat, unravel = ravel_pytree(b)
    product = _regularised(matvec, ridge)
    A = jax.jacfwd(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.zeros_like(flat))
    if jnp.ndim(b) == 0 and known(A) and A[0, 0] == 0:
        raise ValueError("A should be non-zero for scalar b.")
    return unravel(solve(A, flat))


def solve_lu(matvec: Matvec, b: Array, ridge: float | None = None) -> Array:
    """By LU decomposition of the matrix; see `jax.numpy.linalg.solve`."""
    return _dense(matvec, b, ridge, jnp.linalg.solve)


def solve_cholesky(matvec: Matvec, b: Array, ridge: float | None = None) -> Array:
    """By Cholesky decomposition of the matrix, which is symmetric positive definite."""
    return _dense(matvec, b, ridge, lambda A, v: jsp.linalg.solve(A, v, assume_a="pos"))


def solve_inv(matvec: Matvec, b: Array, ridge: float | None = None) -> Array:
    """By the inverse matrix."""
    return _dense(matvec, b, ridge, lambda A, v: jnp.linalg.inv(A) @ v)


def solve_qr(matvec: Matvec, b: Array, ridge: float | None = None) -> Array:
    """By QR decomposition of the matrix."""

    def solve(A: Array, v: Array) -> Array:
        Q, R = jnp.linalg.qr(A)
        return jsp.linalg.solve_triangular(R, Q.T @ v)

    return _dense(matvec, b, ridge, solve)


def solve_cg(
    matvec: Matvec, b: PyTree, ridge: float | None = None, init: PyTree | None = None, **kwargs: Any
) -> PyTree:
    """By conjugate gradients, for a Hermitian positive definite ``A``; keywords go to JAX's ``cg``."""
    return jsp.sparse.linalg.cg(_regularised(matvec, ridge), b, x0=init, **kwargs)[0]


def solve_normal_cg(
    matvec: Matvec, b: PyTree, ridge: float | None = None, init: PyTree | None = None, **kwargs: Any
) -> PyTree:
    """``A^T A x = A^T b`` by conjugate gradients; for a nonsquare ``A`` ``init`` says what ``x`` is like.

    Raises:
        TypeError: a nonsquare ``A`` without ``init``.
    """
    try:
        transpose = jax.linear_transpose(matvec, b if init is None else init)
        right = transpose(b)[0]
    except TypeError as error:
        raise TypeError(
            "a nonsquare `matvec` needs `init`, a pytree like the solution; zeros would do"
        ) from error
    product = _regularised(lambda v: transpose(matvec(v))[0], ridge)
    return jsp.sparse.linalg.cg(product, right, x0=init, **kwargs)[0]


def solve_gmres(
    matvec: Matvec,
    b: PyTree,
    ridge: float | None = None,
    init: PyTree | None = None,
    tol: float = 1e-5,
    **kwargs: Any,
) -> PyTree:
    """By GMRES; keywords go to JAX's ``gmres``."""
    return jsp.sparse.linalg.gmres(_regularised(matvec, ridge), b, tol=tol, x0=init, **kwargs)[0]


def solve_bicgstab(
    matvec: Matvec, b: PyTree, ridge: float | None = None, init: PyTree | None = None, **kwargs: Any
) -> PyTree:
    """By BiCGStab; keywords go to JAX's ``bicgstab``."""
    return jsp.sparse.linalg.bicgstab(_regularised(matvec, ridge), b, x0=init, **kwargs)[0]


def solve_iterative_refinement(
    matvec: Matvec,
    b: PyTree,
    init: PyTree | None = None,
    maxiter: int = 10,
    tol: float = 1e-7,
    solve: Callable[..., PyTree] = solve_gmres,
    **kwargs: Any,
) -> PyTree:
    """By ``solve`` for the residual, again and again; keywords go to `IterativeRefinement`."""
    from frechet.compat import jaxopt

    refinement = jaxopt.IterativeRefinement(
        matvec_A=lambda _, x: matvec(x), solve=solve, maxiter=maxiter, tol=tol, **kwargs
    )
    return refinement.run(init, A=None, b=b)[0]
