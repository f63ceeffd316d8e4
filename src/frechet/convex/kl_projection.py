r"""Projections $\arg\min_{p \in C} \sum_i p_i \log (p_i / y_i) - p_i + y_i$, Kullback-Leibler's divergence.

They take $\log y$, as dual methods have it (mirror descent, attention, entropic transport), so that neither
tiny nor huge entries are lost. All are differentiable, to any order.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Scalar

from frechet.convex.parameters import known
from frechet.convex.semi_dual import project_columns
from frechet.convex.transport_polytope import require_equal_totals


def kl_project_simplex(log_y: Float[Array, " n"], scale: ArrayLike = 1.0) -> Float[Array, " n"]:
    r"""Onto $\{p \ge 0,\ \sum_i p_i = c\}$: the softmax, times $c$ = ``scale``.

    Example:
        >>> import jax.numpy as jnp
        >>> p = kl_project_simplex(jnp.log(jnp.array([1.0, 3.0])))
        >>> [round(float(v), 3) for v in p]
        [0.25, 0.75]
    """
    return jnp.asarray(scale, log_y.dtype) * jax.nn.softmax(log_y)


def kl_project_box_section(
    log_y: Float[Array, " n"], lower: ArrayLike, upper: ArrayLike, w: ArrayLike = 1.0, c: ArrayLike = 1.0
) -> Float[Array, " n"]:
    r"""Onto $\{l \le p \le u,\ \langle w, p\rangle = c\}$.

    It is $\mathrm{clip}(y e^{\tau w}, l, u)$, with $\tau$ from bisection. An entry on a bound moves with it.

    Args:
        log_y: shape (n,).
        lower: $l \ge 0$, a number or shape (n,).
        upper: $u$, likewise; may be infinite.
        w: weights of any signs, likewise.
        c: a scalar.

    Returns:
        The projection, shape (n,). Where the set is empty, the end of the box that comes nearest.

    Raises:
        ValueError: known data with a negative lower bound or an empty set.

    Example:
        >>> import jax.numpy as jnp
        >>> p = kl_project_box_section(jnp.log(jnp.array([1.0, 1.0, 6.0])), 0.0, 0.5)
        >>> [round(float(v), 3) for v in p]
        [0.25, 0.25, 0.5]
    """
    l, u, weight = (jnp.broadcast_to(jnp.asarray(v, log_y.dtype), log_y.shape) for v in (lower, upper, w))
    total = jnp.asarray(c, log_y.dtype)
    if known(l, u, weight, total):
        _require_reachable(l, u, weight, total)

    def point(tau: Scalar) -> Array:
        moved = jnp.exp(log_y + tau * weight)
        return jnp.where(moved <= l, l, jnp.where(moved >= u, u, moved))

    def excess(tau: Scalar) -> Scalar:
        return jnp.sum(jnp.where(weight == 0, 0, weight * point(tau))) - total

    def tangent_solve(product: Callable, rhs: Scalar) -> Scalar:
        slope = product(jnp.ones_like(rhs))
        return jnp.where(slope == 0, 0, rhs / jnp.where(slope == 0, 1, slope))

    tau = lax.custom_root(excess, jnp.zeros_like(total), _increasing_root, tangent_solve)
    return point(tau)


def kl_project_transport(
    log_y: Float[Array, "m n"], a: Float[Array, " m"], b: Float[Array, " n"]
) -> Float[Array, "m n"]:
    r"""Onto the matrices with row and column sums ``a`` and ``b``: $\mathrm{diag}(u)\, y\, \mathrm{diag}(v)$.

    With $\log y = -C / \gamma$ it is entropic optimal transport of cost $C$. The semi-dual in $\log u$ is
    minimised by a damped Newton method, at $m^3$ a step, where Sinkhorn's needs many cheap ones.

    Args:
        log_y: shape (m, n).
        a: row sums, positive, shape (m,).
        b: column sums, positive, shape (n,); scaled to the total of ``a``.

    Raises:
        ValueError: known sums whose totals differ, or shapes that do not fit.

    Source: Cuturi, 2013, "Sinkhorn distances", NeurIPS, arXiv 1306.0895; Blondel, Seguy and Rolet, 2018,
    "Smooth and sparse optimal transport", AISTATS, arXiv 1710.06276.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b = jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0])
        >>> P = kl_project_transport(jnp.zeros((2, 2)), a, b)
        >>> bool(jnp.allclose(P, jnp.array([[0.5, 0.5], [1.5, 1.5]])))
        True
    """
    a, b = jnp.asarray(a, log_y.dtype), jnp.asarray(b, log_y.dtype)
    if log_y.shape != a.shape + b.shape or a.ndim != 1:
        raise ValueError(
            f"log_y has shape {log_y.shape}; with {a.shape} rows' and {b.shape} columns' sums it cannot"
        )
    if known(a, b):
        require_equal_totals(a, b)

    def column(x: Float[Array, " m"], mass: Scalar) -> tuple[Array, Array, Scalar]:
        p = mass * jax.nn.softmax(x)
        return p, p, mass * jax.nn.logsumexp(x)

    return project_columns(column, log_y, a, b * (jnp.sum(a) / jnp.sum(b)))


def kl_project_birkhoff(log_y: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""Onto the doubly stochastic matrices; see `kl_project_transport`.

    Example:
        >>> import jax.numpy as jnp
        >>> P = kl_project_birkhoff(jnp.log(jnp.array([[4.0, 1.0], [1.0, 1.0]])))
        >>> bool(jnp.allclose(P, jnp.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])))
        True
    """
    if log_y.ndim != 2 or log_y.shape[0] != log_y.shape[1]:
        raise ValueError(f"log_y has shape {log_y.shape}; doubly stochastic matrices are square")
    ones = jnp.ones(log_y.shape[0], log_y.dtype)
    return kl_project_transport(log_y, ones, ones)


def _increasing_root(f: Callable[[Scalar], Scalar], start: Scalar) -> Scalar:
    """A root of an increasing function by doubling and bisection, to the last digit; NaN in, NaN out."""
    info = jnp.finfo(start.dtype)

    def grow(ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        return jnp.where(f(ends[0]) > 0, 2 * ends[0], ends[0]), jnp.where(
            f(ends[1]) < 0, 2 * ends[1], ends[1]
        )

    def open_ended(ends: tuple[Scalar, Scalar]) -> Array:
        far = jnp.sqrt(info.max)
        return ((f(ends[0]) > 0) & (ends[0] > -far)) | ((f(ends[1]) < 0) & (ends[1] < far))

    def halve(_: int, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        middle = ends[0] / 2 + ends[1] / 2
        low = f(middle) < 0
        return jnp.where(low, middle, ends[0]), jnp.where(low, ends[1], middle)

    one = jnp.ones_like(start)
    right = lax.fori_loop(0, info.nmant + 12, halve, lax.while_loop(open_ended, grow, (-one, one)))[1]
    return jnp.where(jnp.isnan(f(right)), jnp.nan, right)


def _require_reachable(l: Array, u: Array, w: Array, c: Scalar) -> None:
    if jnp.any(l < 0) or jnp.any(l > u):
        raise ValueError("lower must be at least 0 and at most upper")
    ends = jnp.where(w == 0, 0, jnp.stack([l, u]) * jnp.where(w == 0, 1, w))
    least, most = jnp.sum(jnp.min(ends, axis=0)), jnp.sum(jnp.max(ends, axis=0))
    slack = jnp.sqrt(jnp.finfo(l.dtype).eps) * (1 + jnp.abs(c))
    if least > c + slack or most < c - slack:
        raise ValueError(f"no point of the box has <w, p> = {c:g}: it lies in [{least:g}, {most:g}]")
