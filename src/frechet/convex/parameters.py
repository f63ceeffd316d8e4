"""Checking and matching the parameters of functions: weights, bounds, radii, and pytree prefixes of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


def parameter(
    name: str, value: PyTree[Any], *, least: float | None = None, positive: bool = False
) -> PyTree[Any]:
    """A parameter as differentiable leaves: Python numbers become floats, arrays inexact JAX arrays.

    Args:
        name: what to call it in an error.
        value: a number, an array or a pytree of them.
        least: the least value allowed; checked wherever the value is known (that is, not traced).
        positive: whether it has to be above zero; checked likewise.

    Returns:
        A pytree of the same structure.

    Raises:
        TypeError: a leaf is neither a number nor an array.
        ValueError: a known entry is below ``least`` or, of a positive parameter, not above zero.
    """

    def convert(leaf):
        if isinstance(leaf, int | float | np.number) and not isinstance(leaf, bool):
            leaf = float(leaf)
        elif isinstance(leaf, np.ndarray | jax.Array):
            leaf = jnp.asarray(leaf)
            leaf = leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)
        else:
            raise TypeError(f"{name} must be a number or an array, got {type(leaf).__name__}")
        if known(leaf):
            smallest = np.min(np.asarray(leaf), initial=np.inf)
            if least is not None and smallest < least:
                raise ValueError(f"{name} must be at least {least:g}, got {smallest:g}")
            if positive and smallest <= 0:
                raise ValueError(f"{name} must be above zero, got {smallest:g}")
        return leaf

    return jax.tree.map(convert, value)


def known(*leaves: Any) -> bool:
    """Whether no leaf is traced, so that entries may be looked at."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def float_array(x: Any) -> Array:
    """What may be an array or nested lists, as an array of floats."""
    return floating(jnp.asarray(x))


def floating(x: PyTree[Any]) -> PyTree[Array]:
    """Leaves as arrays; numbers and integers in the default float dtype, floats in their own."""

    def convert(leaf):
        leaf = jnp.asarray(leaf)
        return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)

    return jax.tree.map(convert, x)


def matched(
    name: str, value: PyTree[Any], x: PyTree[Array], shape: Callable[[tuple], tuple] = lambda shape: shape
) -> PyTree[Array]:
    """A prefix pytree broadcast to the leaves of ``x``, each in the dtype of its leaf.

    Args:
        name: what to call it in an error.
        value: a number, an array or a prefix pytree of ``x`` with such leaves.
        x: a pytree of arrays.
        shape: the shape that a parameter has at most, for the shape of a leaf of ``x``.

    Returns:
        A pytree with the structure of ``x``; every array keeps its own shape.

    Raises:
        ValueError: the structure is no prefix, or a shape does not fit.
    """
    try:
        full = jax.tree.broadcast(value, x)
    except ValueError as error:
        structures = f"{jax.tree.structure(value)} against {jax.tree.structure(x)}"
        raise ValueError(f"the structure of {name} is no prefix of that of x: {structures}") from error

    def match(leaf, target):
        leaf, most = jnp.asarray(leaf, target.dtype), shape(target.shape)
        try:
            fits = jnp.broadcast_shapes(leaf.shape, most) == most
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name} of shape {leaf.shape} does not fit x of shape {target.shape}; at most {most} would"
            )
        return leaf

    return jax.tree.map(match, full, x)


def entry(name: str, value: Any, index: Any, dtype: Any) -> Array:
    """The entry of a parameter that belongs to coordinate ``index`` of the raveled ``x``."""
    if not isinstance(value, float | jax.Array):
        raise TypeError(f"prox_coordinate takes a number or an array as {name}, not a pytree of them")
    value = jnp.asarray(value, dtype)
    return jnp.reshape(value, ()) if value.size == 1 else jnp.ravel(value)[index]


def feasible(violation: Array, magnitude: Array) -> Array:
    r"""0 where a constraint holds and infinity where it does not, in the dtype of ``violation``.

    A violation up to $\sqrt{\varepsilon}\max(1, |\text{magnitude}|)$ is forgiven, with $\varepsilon$ the
    rounding unit of the dtype, so that a projected point is feasible in its own precision.
    """
    tolerance = jnp.sqrt(jnp.finfo(violation.dtype).eps) * jnp.maximum(1, jnp.abs(magnitude))
    beyond = jnp.where(jnp.isnan(violation), jnp.nan, jnp.inf)  # so that no solve succeeds on bounds of NaN
    return jnp.where(violation <= tolerance, 0, beyond).astype(violation.dtype)


def modulus(x: Array) -> Array:
    r"""$|x|$, elementwise; its derivative at zero is zero (an element of the subdifferential), not one."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


def norm(x: Array, axis: Any = None) -> Array:
    r"""Euclidean norm whose derivative at zero is zero (an element of the subdifferential), not NaN."""
    squares = jnp.sum(jnp.square(x), axis=axis)
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))
