"""Row multipliers that give a matrix its row sums, where its columns' sums are met by construction."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Scalar

# One column ``x`` of mass ``m``: the maximiser of <p, x> - R(p) over the p >= 0 of sum m, weights v for which
# its Jacobian is diag(v) - v v^T / sum(v), and the maximum.
Column = Callable[[Float[Array, " m"], Scalar], tuple[Float[Array, " m"], Float[Array, " m"], Scalar]]


class _Newton(NamedTuple):
    """``left`` is the row sums' error at ``alpha``, ``stuck`` how often in a row it got no smaller."""

    alpha: Float[Array, " m"]
    left: Scalar
    best: Float[Array, " m"]
    least: Scalar
    stuck: Int[Array, ""]
    count: Int[Array, ""]


def project_columns(
    column: Column, x: Float[Array, "m n"], a: Float[Array, " m"], b: Float[Array, " n"]
) -> Float[Array, "m n"]:
    r"""The $P$ that maximises $\langle P, X\rangle - \sum_j R(P_j)$ with row sums ``a``, column sums ``b``.

    The multipliers of the rows minimise $\sum_j R_j^*(X_j + \alpha) - \langle a, \alpha\rangle$ by
    Newton's method with a shift that vanishes with the error (its Hessian is singular along constants, and
    more so where few entries are positive) and Armijo's rule. Their derivatives are those of the equation
    that they solve.

    Args:
        column: $P_j$, its Jacobian and $R_j^*$ for one column.
        x: shape (m, n).
        a: shape (m,), of the same total as ``b``.
        b: shape (n,).
    """
    every = jax.vmap(column, in_axes=(1, 0), out_axes=(1, 1, 0))

    def excess(alpha: Float[Array, " m"]) -> Float[Array, " m"]:
        return jnp.sum(every(x + alpha[:, None], b)[0], axis=1) - a

    def tangent_solve(product: Callable[[Array], Array], rhs: Array) -> Array:
        # Of the columns of the Jacobian that JAX can make from products.
        hessian = jax.vmap(product)(jnp.eye(a.size, dtype=a.dtype))
        return jnp.linalg.pinv(hessian, hermitian=True) @ rhs

    def solve(_: Callable, start: Array) -> Array:
        fixed, rows, columns = lax.stop_gradient((x, a, b))

        # Where X is large against R, first for less of X: multipliers far away are slow to get near.
        def nearer(stage: tuple[Array, Array]) -> tuple[Array, Array]:
            near, t = stage
            return t * _minimise(every, fixed / t, rows, columns, near / t, 0.1), jnp.maximum(t / 4, 1)

        begun = start, jnp.max(fixed) / 50 - jnp.min(fixed) / 50
        near = lax.while_loop(lambda stage: stage[1] > 1, nearer, begun)[0]
        return _minimise(every, fixed, rows, columns, near, 0.0)

    alpha = jnp.asarray(lax.custom_root(excess, jnp.zeros_like(a), solve, tangent_solve))
    return every(x + alpha[:, None], b)[0]


def _minimise(every: Callable, x: Array, a: Array, b: Array, start: Array, rtol: float) -> Array:
    eps = jnp.finfo(x.dtype).eps
    total = jnp.sum(a)
    enough = jnp.maximum(4 * eps, rtol) * total

    def semi_dual(alpha: Array) -> Scalar:
        return jnp.sum(every(x + alpha[:, None], b)[2]) - a @ alpha

    def unfinished(at: _Newton) -> Bool[Array, ""]:
        return (at.least > enough) & (at.stuck < 5) & (at.count < 200)

    def step(at: _Newton) -> _Newton:
        P, V, _ = every(x + at.alpha[:, None], b)
        gradient = jnp.sum(P, axis=1) - a
        weight = jnp.sum(V, axis=0)
        scaled = V / jnp.sqrt(jnp.where(weight > 0, weight, 1))
        curvature = jnp.sum(V, axis=1)
        shift = jnp.clip(jnp.sum(jnp.abs(gradient)) / total, eps**0.75, 1e-2) * jnp.max(curvature)
        hessian = jnp.diag(curvature + shift) - scaled @ scaled.T
        direction = -jnp.linalg.solve(hessian, gradient)
        value, slope = semi_dual(at.alpha), gradient @ direction
        # What rounding makes of the value cannot tell steps apart.
        noise = 8 * eps * (jnp.abs(value) + jnp.sum(jnp.abs(a * at.alpha)))

        def rejected(trial: tuple[Array, Array]) -> Array:
            t, k = trial
            return (semi_dual(at.alpha + t * direction) > value + 1e-4 * t * slope + noise) & (k < 30)

        t, _ = lax.while_loop(
            rejected, lambda v: (v[0] / 2, v[1] + 1), (jnp.ones((), x.dtype), jnp.asarray(0))
        )
        alpha = at.alpha + t * direction
        left = jnp.sum(jnp.abs(jnp.sum(every(x + alpha[:, None], b)[0], axis=1) - a))
        better = left < at.least
        lower = semi_dual(alpha) < value - noise
        return _Newton(
            alpha,
            left,
            jnp.where(better, alpha, at.best),
            jnp.where(better, left, at.least),
            jnp.where(lower | (left < 0.9 * at.least), 0, at.stuck + 1),
            at.count + 1,
        )

    infinite = jnp.asarray(jnp.inf, x.dtype)
    zero = jnp.asarray(0)
    found = lax.while_loop(unfinished, step, _Newton(start, infinite, start, infinite, zero, zero))
    # NaN in, NaN out.
    return jnp.where(jnp.isnan(found.left), found.alpha, found.best)
