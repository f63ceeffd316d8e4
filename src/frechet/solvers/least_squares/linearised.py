"""A residual and its whole Jacobian."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from frechet.problems.least_squares import LeastSquares


def residual(problem: LeastSquares, x: PyTree[Array]) -> Float[Array, " m"]:
    """The residual, raveled."""
    return ravel_pytree(problem.residual(x))[0]


def linearised(problem: LeastSquares, x: PyTree[Array]) -> tuple[Float[Array, " m"], Float[Array, "m n"]]:
    """The residual and its Jacobian, both raveled: a value and as many products as unknowns."""
    flat, unravel = ravel_pytree(x)
    r, push = jax.linearize(lambda z: residual(problem, unravel(z)), flat)
    return r, jax.vmap(push, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))
