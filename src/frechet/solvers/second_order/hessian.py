"""The Hessian at a point as a linear map."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.problems.composite import Composite


def hessian(problem: Composite, x: PyTree[Array]) -> Callable[[PyTree[Array]], PyTree[Array]]:
    """``problem.hvp`` at ``x``, linearised once: a product repeats nothing that depends on ``x`` alone."""
    return jax.linearize(lambda v: problem.hvp(x, v), jax.tree.map(jnp.zeros_like, x))[1]
