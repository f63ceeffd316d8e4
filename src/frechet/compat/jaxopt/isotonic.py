"""``jaxopt.isotonic``: isotonic regression."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.convex.isotonic import isotonic_l2


def isotonic_l2_pav(
    y: Float[Array, " n"], y_min: Any = -jnp.inf, y_max: Any = jnp.inf, increasing: bool = True
) -> Float[Array, " n"]:
    """The nearest monotone vector, clipped to ``[y_min, y_max]``; see `frechet.convex.isotonic_l2`."""
    return jnp.clip(isotonic_l2(y, increasing=increasing), y_min, y_max)
