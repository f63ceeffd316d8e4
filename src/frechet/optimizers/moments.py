"""What exponential moving averages share: their bias, and the precision they are computed in."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def bias_correction(decay: Any, count: Any) -> Array:
    r"""The weight $1 - \beta^t$ that a moving average started at zero has after ``count`` steps.

    Computed as $-\mathrm{expm1}(t \log(1 + (\beta - 1)))$: in float32 the difference $1 - \beta^t$ itself
    is off by 1e-5 at the first step for $\beta = 0.999$.

    Args:
        decay: $\beta$ in [0, 1), a scalar.
        count: $t$, at least 1.

    Example:
        >>> float(bias_correction(0.5, 3))
        0.875
    """
    return -jnp.expm1(count * jnp.log1p(decay - 1))


def at_least_float32(tree: PyTree[Array]) -> PyTree[Array]:
    """A tree with half precision widened: squares of small numbers vanish in it, and moments stand still.

    Args:
        tree: of floating-point or complex arrays.

    Example:
        >>> at_least_float32(jnp.zeros(2, jnp.bfloat16)).dtype, at_least_float32(jnp.zeros(2)).dtype
        (dtype('float32'), dtype('float32'))
    """
    return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree)
