"""Where a weight keeps its output channels: Flax and Haiku last (dense and HWIO kernels), Equinox first."""

from jaxtyping import Array

FLAX = -1
EQUINOX = 0


def within_channel(w: Array, channel_axis: int) -> tuple[int, ...]:
    """The axes to reduce over so that one number a channel is left; none of a vector or scalar.

    Args:
        w: a weight of any shape.
        channel_axis: the axis of the output channels: `FLAX` or `EQUINOX`.

    Example:
        >>> import jax.numpy as jnp
        >>> within_channel(jnp.zeros((3, 3, 8, 16)), FLAX), within_channel(jnp.zeros((16, 8)), EQUINOX)
        ((0, 1, 2), (1,))
    """
    if w.ndim < 2:
        return ()
    return tuple(i for i in range(w.ndim) if i != channel_axis % w.ndim)
