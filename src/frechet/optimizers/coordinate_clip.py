"""Clipping the largest coordinates of the gradient, pooled over the whole tree."""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree, Scalar
from optax import ScalarOrSchedule

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.registry import optimizer


def clip_largest_coordinates(
    fraction: float = 0.1,
    threshold_scale: float = 1.0,
    *,
    normalize: bool = False,
    bits: int | None = None,
) -> optax.GradientTransformation:
    r"""Clips the fraction $q$ of coordinates that are largest in modulus to the largest of the others.

    $$\tau = |g|_{(\lfloor N q\rfloor)}, \qquad u_i = \operatorname{clip}(g_i, -s\tau, s\tau)$$

    Here $|g|_{(k)}$ is the modulus of rank $k$ (0 the largest) among all $N$ coordinates of all leaves: a
    threshold a leaf would be another method. Before a base optimizer it clips the gradient, after one it
    clips the update. The threshold is found exactly, without sorting, by bisection of the numbers'
    binary representation: a pass of counting a bit, over leaves as they lie on their devices.

    Args:
        fraction: $q$ in [0, 1]. With 0 nothing changes; with 1, where no coordinate is left to set the
            threshold, every coordinate becomes its sign times ``threshold_scale``.
        threshold_scale: $s$.
        normalize: whether each leaf is then scaled to a root mean square of 1.
        bits: passes, if fewer than the 32 of exactness (64 in float64): the threshold is then too low by a
            factor of at most $1 - 2^{9 - b}$ (for float64 $1 - 2^{12 - b}$).

    Returns:
        An `optax.GradientTransformation` without state.

    Raises:
        ValueError: ``fraction`` is not in [0, 1], or ``bits`` is fewer than the exponent has.

    Source: Pan and Li, 2023, "Toward Understanding Why Adam Converges Faster Than SGD for Transformers",
    arXiv 2306.00204.

    Example:
        >>> tx = clip_largest_coordinates(0.4)
        >>> g = {"w": jnp.array([9.0, -0.5, 1.0]), "b": jnp.array([-7.0, 2.0])}
        >>> clipped, _ = tx.update(g, tx.init(g))
        >>> clipped["w"].tolist(), clipped["b"].tolist()
        ([2.0, -0.5, 1.0], [-2.0, 2.0])
    """
    if isinstance(fraction, float | int) and not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if bits is not None and bits < 12:
        raise ValueError(f"bits must be 12 or more, to hold the exponent, got {bits}")

    def update_fn(updates, state, params=None):
        del params
        if not jax.tree.leaves(updates):
            return updates, state
        size = sum(g.size for g in jax.tree.leaves(updates))
        known = isinstance(fraction, float | int)  # then the product is not rounded to float32
        rank = math.floor(size * fraction) if known else jnp.floor(size * fraction).astype(jnp.int32)
        threshold = threshold_scale * _of_rank(updates, jnp.minimum(rank, size - 1), bits)
        threshold = jnp.where(jnp.asarray(fraction) > 0, threshold, jnp.inf)

        def clip(g: Array) -> Array:
            u = jnp.where(rank < size, jnp.clip(g, -threshold, threshold), threshold_scale * jnp.sign(g))
            if normalize:
                rms = jnp.sqrt(jnp.mean(u**2))
                u = u / jnp.where(rms > 0, rms, 1)
            return u

        clipped = jax.tree.map(clip, at_least_float32(updates))
        return optax.tree.cast_like(clipped, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def _of_rank(updates: PyTree[Array], rank: Array, bits: int | None) -> Scalar:
    """The modulus that exactly ``rank`` others exceed (fewer with ties), over all leaves.

    The bits of positive floats are ordered like the floats, so the answer is built a bit at a time from the
    highest: a bit stays set where more than ``rank`` moduli reach the number so far.
    """
    leaves = jax.tree.leaves(updates)
    wide = functools.reduce(jnp.promote_types, [g.dtype for g in leaves], jnp.float32)
    width = jnp.finfo(wide).bits
    unsigned = jnp.dtype(f"uint{width}")
    moduli = [jax.lax.bitcast_convert_type(jnp.abs(g).astype(wide), unsigned) for g in leaves]

    def set_bit(i: Array, found: Array) -> Array:
        trial = found | (jnp.ones((), unsigned) << (width - 2 - i).astype(unsigned))
        reach = functools.reduce(operator.add, [jnp.sum(m >= trial, dtype=jnp.int32) for m in moduli])
        return jnp.where(reach > rank, trial, found)

    turns = min(width, bits or width) - 1  # the sign's bit is never set
    found = jax.lax.fori_loop(0, turns, set_bit, jnp.zeros((), unsigned))
    return jax.lax.bitcast_convert_type(found, wide)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-4, 1.0),
        "fraction": Choice(0.01, 0.1, 0.5),
        "momentum": Choice(0.0, 0.9),
    }
)
def coordinate_clip(
    learning_rate: ScalarOrSchedule = 5e-3,
    fraction: float = 0.1,
    momentum: float = 0.9,
    *,
    threshold_scale: float = 1.0,
    normalize: bool = False,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD with momentum on gradients whose largest coordinates are clipped.

    $$u_t = \operatorname{clip}_q(g_t), \qquad m_t = \mu\, m_{t-1} + u_t, \qquad x_{t+1} = x_t - \eta\, m_t$$

    Args:
        learning_rate: $\eta$, a number or a schedule.
        fraction: $q$, see `clip_largest_coordinates`.
        momentum: $\mu$.
        threshold_scale: by what the threshold is multiplied.
        normalize: whether each leaf of the clipped gradient is scaled to a root mean square of 1.
        nesterov: whether momentum looks ahead.
        weight_decay: L2, added to the clipped gradient.

    Returns:
        An `optax.GradientTransformation`.

    Source: Pan and Li, 2023, "Toward Understanding Why Adam Converges Faster Than SGD for Transformers",
    arXiv 2306.00204.

    Example:
        >>> tx = coordinate_clip(0.5, fraction=0.5)
        >>> g = jnp.array([8.0, 1.0])
        >>> tx.update(g, tx.init(g), g)[0].tolist()
        [-0.5, -0.5]
    """
    return optax.chain(
        clip_largest_coordinates(fraction, threshold_scale, normalize=normalize),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )
