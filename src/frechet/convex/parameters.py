"""Checking and matching the parameters of functions: weights, bounds, radii, and pytree prefixes of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


def parameter(name: str, value: PyTree[Any], *, least: float | None = None) -> PyTree[Any]:
    """A parameter as differentiable leaves: Python numbers become floats, arrays inexact JAX arrays.

    Args:
        name: what to call it in an error.
        value: a number, an array or a pytree of them.
        least: the least value allowed; checked wherever the value is known (that is, not traced).

    Returns:
        A pytree of the same structure.

    Raises:
        TypeError: a leaf is neither a number nor an array.
        ValueError: a known entry is below ``least``.
    """

    def convert(leaf):
        if isinstance(leaf, int | float | np.number) and not isinstance(leaf, bool):
            leaf = float(leaf)
        elif isinstance(leaf, np.ndarray | jax.Array):
            leaf = jnp.asarray(leaf)
            leaf = leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)
        else:
            raise TypeError(f"{name} must be a number or an array, got {type(leaf).__name__}")
        if least is not None and not isinstance(leaf, jax.core.Tracer):
            smallest = np.min(np.asarray(leaf), initial=np.inf)
            if smallest < least:
                raise ValueError(f"{name} must be at least {least:g}, got {smallest:g}")
        return leaf

    return jax.tree.map(convert, value)


def floating(x: PyTree[Any]) -> PyTree[Array]:
    """Leaves as arrays; numbers and integers in the default float dtype, floats in their own."""

    def convert(leaf):
        leaf = jnp.asarray(leaf)
        return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)

    return jax.tree.map(convert, x)


def matched(name: str, value: PyTree[Any], x: PyTree[Array]) -> PyTree[Array]:
    """A prefix pytree broadcast to the leaves of ``x``, each in the dtype of its leaf.

    Every array keeps its own shape, which has to broadcast to the shape of the leaf.
    """
    try:
        full = jax.tree.broadcast(value, x)
    except ValueError as error:
        structures = f"{jax.tree.structure(value)} against {jax.tree.structure(x)}"
        raise ValueError(f"the structure of {name} is no prefix of that of x: {structures}") from error

    def match(leaf, target):
        leaf = jnp.asarray(leaf, target.dtype)
        try:
            fits = jnp.broadcast_shapes(leaf.shape, target.shape) == target.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{name} of shape {leaf.shape} does not broadcast to x of shape {target.shape}")
        return leaf

    return jax.tree.map(match, full, x)


def feasible(violation: Array, magnitude: Array) -> Array:
    r"""0 where a constraint holds and infinity where it does not, in the dtype of ``violation``.

    Up to $\sqrt{\varepsilon}\max(1, |\text{magnitude}|)$, with $\varepsilon$ the dtype's rounding unit, a violation
    does not count, so that a projected point is feasible in its own precision.
    """
    tolerance = jnp.sqrt(jnp.finfo(violation.dtype).eps) * jnp.maximum(1, jnp.abs(magnitude))
    return jnp.where(violation <= tolerance, 0, jnp.inf).astype(violation.dtype)
