"""Where a solve begins."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.convex.function import Function


def within_bounds(g: Function, x0: PyTree[Array]) -> PyTree[Array]:
    """``x0``, moved into ``g`` where that is a box: outside bounds a smooth part may not be defined.

    An infinite entry stays what it is, so that it is reported.
    """
    return _projected(g, x0) if g.box and not g.smooth else x0


@jax.jit
def _projected(g: Function, x: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda v, inside: jnp.where(jnp.isfinite(v), inside, v), x, g.prox(x, 1.0))
