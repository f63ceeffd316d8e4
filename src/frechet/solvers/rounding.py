"""How far values of a function may be off, which every test of decrease allows."""

import jax.numpy as jnp
from jaxtyping import Scalar


def rounding(a: Scalar, b: Scalar) -> Scalar:
    """A few units in the last place of the larger of two values of $f$."""
    info = jnp.finfo(a.dtype)
    return 4 * info.eps * jnp.maximum(jnp.maximum(jnp.abs(a), jnp.abs(b)), info.tiny)
