"""Conjugate gradients on a Newton system, stopped early or by negative curvature."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.core import tree


def truncated_cg(
    hessian: Callable[[PyTree[Array]], PyTree[Array]], gradient: PyTree[Array], eta: Scalar, limit: int
) -> tuple[PyTree[Array], Int[Array, ""]]:
    r"""A descent direction $d$ with $\|H d + g\| \le \eta\|g\|$ where $H$ is positive definite.

    Along a direction of curvature $c \le 0$ the last step is taken as if it were $|c|$: both the slope and
    the curvature make that a descent, and the result is as long as the curvature's size suggests.

    Args:
        hessian: the symmetric map $v \mapsto Hv$.
        gradient: $g$.
        eta: relative accuracy.
        limit: products at most.

    Returns:
        The direction and how many products it took.

    Source: Nocedal, Wright 2006, Numerical Optimization, algorithm 7.1; Dembo, Steihaug 1983,
    Truncated-Newton algorithms for large-scale unconstrained optimization.
    """
    length = tree.norm(gradient)
    eps = jnp.finfo(length.dtype).eps
    # For a unit gradient, so that squares neither overflow nor underflow.
    unit = jax.tree.map(lambda v: (v / jnp.where(length > 0, length, 1)).astype(v.dtype), gradient)

    def go_on(carry: tuple) -> Any:
        _, _, _, rr, k, stop = carry
        return (rr > eta**2) & (k < limit) & ~stop

    def body(carry: tuple) -> tuple:
        d, r, p, rr, k, _ = carry
        Hp = hessian(p)
        curvature = tree.vdot(p, Hp)
        # The scale that curvature is judged against; a linear function has none, then the step is unit.
        scale = tree.largest(Hp) * tree.norm(p)
        bent = curvature <= eps * scale
        size = jnp.where(bent, jnp.maximum(jnp.abs(curvature), 1e-3 * scale), curvature)
        alpha = jnp.where(size > 0, rr / jnp.where(size > 0, size, 1), 1)
        r = tree.axpy(alpha, Hp, r)
        rr_next = tree.vdot(r, r)
        next_p = jax.tree.map(lambda p, r: (rr_next / rr * p - r).astype(p.dtype), p, r)
        return tree.axpy(alpha, p, d), r, next_p, rr_next, k + 1, bent

    zero = jax.tree.map(jnp.zeros_like, unit)
    start = (
        zero,
        unit,
        jax.tree.map(jnp.negative, unit),
        tree.vdot(unit, unit),
        jnp.zeros((), int),
        jnp.asarray(False),
    )
    d, _, _, _, products, _ = jax.lax.while_loop(go_on, body, start)
    return jax.tree.map(lambda v: (length * v).astype(v.dtype), d), products
