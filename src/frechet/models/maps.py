"""Maps made of others: an identity plus a correction, and the form of maps that are optimal for a cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float


class Residual(eqx.Module):
    r"""$T(x) = T_0(x) + N(x)$: a network corrects a map to start near.

    Args:
        network: $N$, from points to points.
        start: $T_0$, such as an `AffineMap`; the identity when left out.
        scale: what $N$ is multiplied by.

    Example:
        >>> import jax.numpy as jnp
        >>> Residual(lambda x: x**2, scale=0.5)(jnp.array([1.0, 2.0])).tolist()
        [1.5, 4.0]
    """

    network: Callable[[Array], Array]
    start: Callable[[Array], Array] | None = None
    scale: Any = 1.0

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return (x if self.start is None else self.start(x)) + self.scale * self.network(x)
