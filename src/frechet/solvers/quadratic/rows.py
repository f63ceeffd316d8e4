"""A quadratic program in one form: rows between two limits, variables between two bounds."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import Matrix, QuadraticProgram, is_sparse


class Rows(NamedTuple):
    r"""Minimise $\tfrac12 x^\top P x + q^\top x$ with $l \le Kx \le u$ and bounds on $x$.

    $K$ stacks $A$ (where $l = u = b$) on $G$ (where $l = -\infty$, $u = h$). At a solution
    $Px + q + K^\top y + w = 0$ with $y$, $w$ positive only at an upper limit, negative only at a lower one.

    Attributes:
        P: shape (n, n), dense or a `BCOO`; None for zero.
        q: shape (n,).
        K: shape (m, n), dense or, where ``A`` or ``G`` is, a `BCOO`; m may be 0.
        l: shape (m,).
        u: shape (m,).
        lower: shape (n,), infinite where there is no bound.
        upper: shape (n,), likewise.
    """

    P: Matrix | None
    q: Float[Array, " n"]
    K: Matrix
    l: Float[Array, " m"]
    u: Float[Array, " m"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """``P x``."""
        return jnp.zeros_like(x) if self.P is None else self.P @ x

    def slope(self, x: Float[Array, " n"], y: Float[Array, " m"]) -> Float[Array, " n"]:
        """``P x + q + K^T y``; its negative are the multipliers of the bounds."""
        return self.curvature(x) + self.q + self.K.T @ y

    def violation(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """The largest violation of a row or a bound."""
        Kx = self.K @ x
        rows = jnp.maximum(self.l - Kx, Kx - self.u)
        bounds = jnp.maximum(self.lower - x, x - self.upper)
        return jnp.maximum(jnp.max(rows, initial=0), jnp.max(bounds, initial=0))


def stack(problem: QuadraticProgram, like: Float[Array, " n"]) -> Rows:
    """The program's rows; ``like`` is a primal point, for shape and dtype."""
    (A, b), (G, h) = problem.equations(), problem.inequalities()
    lower, upper = problem.g.bounds(like)
    given = [M for M in (A, G) if M is not None]
    if any(is_sparse(M) for M in given):
        from jax.experimental.sparse import bcoo_concatenate

        K = bcoo_concatenate([_sparse(M) for M in given], dimension=0)
    else:
        K = jnp.concatenate([jnp.zeros((0, like.size), like.dtype), *given])
    none = jnp.zeros(0, like.dtype)
    b, h = none if b is None else b, none if h is None else h
    limits = jnp.concatenate([b, jnp.full_like(h, -jnp.inf)]), jnp.concatenate([b, h])
    P = problem.P
    if P is not None and not is_sparse(P):
        P = (P + P.T) / 2  # all that the quadratic form sees of a traced one that nobody could check
    return Rows(P, problem.q, K, *limits, lower, upper)


def multipliers(z: KKTPoint) -> Float[Array, " m"]:
    """The multipliers of the rows in a point's two parts."""
    parts = [v for v in (z.dual_eq, z.dual_ineq) if v is not None]
    return jnp.concatenate([jnp.zeros(0, z.primal.dtype), *parts])


def point(like: KKTPoint, x: Float[Array, " n"], y: Float[Array, " m"]) -> KKTPoint:
    """A primal point and the rows' multipliers in the form of ``like``."""
    m = 0 if like.dual_eq is None else like.dual_eq.size
    dual_eq = None if like.dual_eq is None else y[:m]
    return KKTPoint(x, dual_eq, None if like.dual_ineq is None else jnp.maximum(y[m:], 0))


def _sparse(M: Matrix) -> Any:
    from jax.experimental.sparse import BCOO

    return M if is_sparse(M) else BCOO.fromdense(M, nse=M.size)
