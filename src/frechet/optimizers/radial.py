"""The part of a step along the weights themselves: how much it is, and how to leave it out."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def _divide(a: Any, b: Array) -> Array:
    """The quotient; zero where ``b`` is."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


def _norm(square: Array) -> Array:
    """The root of a squared norm; at zero its derivative is zero, not infinite."""
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def radial_coefficient(uw: Array, ww: Array, eps: Any = 0.0) -> Array:
    r"""$\langle u, w\rangle / (\|w\| + \epsilon)^2$: that many $w$ are in $u$, and none where $w = 0$.

    Args:
        uw: inner products of $u$ and $w$, of a tensor or of each of its channels.
        ww: squared norms of $w$, of the same shape.
        eps: $\epsilon \ge 0$.

    Example:
        >>> float(radial_coefficient(jnp.array(6.0), jnp.array(4.0)))
        1.5
    """
    return _divide(uw, (_norm(ww) + eps) ** 2)


def remove_radial(u: Array, w: Array, renormalise: bool = False) -> Array:
    r"""What of $u$ is orthogonal to the weights: $u_\perp = u - \frac{\langle u, w\rangle}{\|w\|^2} w$.

    Where $u$ is parallel to $w$ up to rounding, as anything of one element is, zero comes out: no noise is
    scaled up.

    Args:
        u: a gradient or an update, of any shape and at least float32.
        w: the weights, of the same shape and dtype.
        renormalise: whether $u_\perp$ is scaled to the norm of $u$.

    Example:
        >>> remove_radial(jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0]))
        Array([0., 4.], dtype=float32)
        >>> remove_radial(jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0]), renormalise=True)
        Array([0., 5.], dtype=float32)
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(u), initial=0))  # squares of small ones would underflow
    u = _divide(u, largest)
    orthogonal = u - radial_coefficient(jnp.sum(u * w), jnp.sum(w * w)) * w
    norm, kept = (_norm(jnp.sum(x * x)) for x in (u, orthogonal))
    kept = jnp.where(kept > 8 * jnp.finfo(u.dtype).eps * norm, kept, 0)
    scale = _divide(norm, kept) if renormalise else (kept > 0).astype(u.dtype)
    return orthogonal * (scale * largest)
