r"""Linear systems $(P + \delta I + K^\top W K + V)x = r$: all that splitting and polishing solve."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Scalar

from frechet.problems.quadratic_program import is_sparse
from frechet.solvers.quadratic.rows import Rows

# Sparse matrices with no more entries than this in all are made dense: a factorisation is then cheap.
DENSE_UP_TO = 1_000_000


class Penalised(eqx.Module):
    r"""The matrix for row weights $W \ge 0$ and bound weights $V \ge 0$, ready to be solved with.

    Attributes:
        shift: $\delta$, which keeps it positive definite.
    """

    shift: eqx.AbstractVar[Scalar]

    @abc.abstractmethod
    def solve(self, p: Rows, r: Float[Array, " n"], guess: Float[Array, " n"]) -> tuple[Array, Any]:
        """The solution, and how many products with ``P`` and ``K`` it took."""


class Factorised(Penalised):
    """By a Cholesky factorisation."""

    factor: Float[Array, "n n"]
    shift: Scalar

    def solve(self, p: Rows, r: Float[Array, " n"], guess: Float[Array, " n"]) -> tuple[Array, Any]:
        return jax.scipy.linalg.cho_solve((self.factor, True), r), 0


class Iterated(Penalised):
    """By conjugate gradients with the diagonal as preconditioner, for what is too large to factorise."""

    rows: Float[Array, " m"]
    bounds: Float[Array, " n"]
    diagonal: Float[Array, " n"]
    shift: Scalar

    def solve(self, p: Rows, r: Float[Array, " n"], guess: Float[Array, " n"]) -> tuple[Array, Any]:
        def product(v: Array) -> Array:
            return p.curvature(v) + p.K.T @ (self.rows * (p.K @ v)) + (self.bounds + self.shift) * v

        left = r - product(guess)
        size = jnp.max(jnp.abs(left))
        size = jnp.where(size > 0, size, 1)
        form = jax.ShapeDtypeStruct(r.shape, r.dtype)
        operator = lx.FunctionLinearOperator(product, form, lx.positive_semidefinite_tag)
        preconditioner = lx.TaggedLinearOperator(
            lx.DiagonalLinearOperator(1 / self.diagonal), lx.positive_semidefinite_tag
        )
        # The guess is the last iterate, so a tenth of what is left keeps up with the outer iteration.
        cg = lx.CG(rtol=1e-3, atol=1e-3, stabilise_every=None, max_steps=50)
        found = lx.linear_solve(
            operator, left / size, cg, options={"preconditioner": preconditioner}, throw=False
        )
        correction = jnp.where(jnp.all(jnp.isfinite(found.value)), found.value, 0)
        return guess + size * correction, (2 + found.stats["num_steps"]) * products(p)


def products(p: Rows) -> int:
    """What one product with the whole matrix costs."""
    return 2 + (p.P is not None)


def shape_up(p: Rows) -> Rows:
    """The program with dense matrices where that is affordable."""
    n, m = p.q.size, p.l.size
    if n * (n + m) > DENSE_UP_TO:
        return p
    P, K = (M.todense() if is_sparse(M) else M for M in (p.P, p.K))  # pyright: ignore
    return p._replace(P=P, K=K)


def penalised(p: Rows, rows: Float[Array, " m"], bounds: Float[Array, " n"], shift: float) -> Penalised:
    """The system of some weights.

    Args:
        p: the program.
        rows: the diagonal of $W$.
        bounds: the diagonal of $V$.
        shift: $\\delta$ at least; more where rounding asks for it.
    """
    eps = jnp.finfo(p.q.dtype).eps
    if not is_sparse(p.P) and not is_sparse(p.K):
        M = (p.K.T * rows) @ p.K + jnp.diag(bounds)
        M = M if p.P is None else M + p.P
        extra = jnp.maximum(shift, 8 * eps * jnp.max(jnp.diagonal(M)))
        return Factorised(jnp.linalg.cholesky(M + extra * jnp.eye(p.q.size, dtype=M.dtype)), extra)
    diagonal = _squares(p.K, rows) + bounds + (0 if p.P is None else _diagonal(p.P))
    extra = jnp.maximum(shift, 8 * eps * jnp.max(diagonal))
    return Iterated(rows, bounds, diagonal + extra, extra)


def factorisations(p: Rows) -> int:
    """How many factorisations `penalised` makes."""
    return int(not is_sparse(p.P) and not is_sparse(p.K))


def _squares(K: Any, weights: Array) -> Float[Array, " n"]:
    """The diagonal of ``K^T diag(weights) K``."""
    if not is_sparse(K):
        return weights @ K**2
    i, j = K.indices[:, 0], K.indices[:, 1]
    return jax.ops.segment_sum(weights.at[i].get(mode="clip") * K.data**2, j, K.shape[1])


def _diagonal(P: Any) -> Float[Array, " n"]:
    if not is_sparse(P):
        return jnp.diagonal(P)
    i, j = P.indices[:, 0], P.indices[:, 1]
    return jax.ops.segment_sum(jnp.where(i == j, P.data, 0), j, P.shape[1])
