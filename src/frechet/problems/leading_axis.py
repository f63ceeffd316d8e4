"""Data whose arrays share their leading axis."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def length(data: PyTree[Array]) -> int:
    """How long the axis is.

    Raises:
        ValueError: the leaves do not share it, or there is none.
    """
    lengths = {jnp.shape(v)[:1] for v in jax.tree.leaves(data)}
    if len(lengths) != 1 or () in lengths:
        shapes = [jnp.shape(v) for v in jax.tree.leaves(data)]
        raise ValueError(f"every leaf of data needs the same leading axis, got shapes {shapes}")
    return lengths.pop()[0]
