"""Step sizes of samplers that move in the coordinates of a mirror map."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.legendre import Legendre


def relative(curvature: Any, mirror: Legendre, x: PyTree[Array]) -> Any:
    """A bound of a function's curvature at ``x`` in units of the mirror's; None of None."""
    if curvature is None:
        return None
    least = [jnp.min(v) for v in jax.tree.leaves(mirror.curvature(x))]
    return curvature / functools.reduce(jnp.minimum, least)
