"""Adam with one second moment a block of coordinates: Adam at one end, AdaSGD at the other."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.layout import FLAX, within_channel
from frechet.optimizers.moments import at_least_float32, bias_correction
from frechet.optimizers.registry import optimizer


class ScaleByBlockwiseAdamState(NamedTuple):
    """Attributes:
    count: updates so far.
    mu: the average of gradients, like the parameters.
    nu: the average of the blocks' mean squares, a number a block: arrays that broadcast against the
        parameters where blocks lie within a leaf, else one by each label.
    """

    count: Any
    mu: PyTree[Array]
    nu: PyTree[Array]


_WITHIN: dict[str, Callable[[Array, int], tuple[int, ...]]] = {
    "coordinate": lambda g, channel_axis: (),
    "channel": within_channel,
    "leaf": lambda g, channel_axis: tuple(range(g.ndim)),
}


def scale_by_blockwise_adam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    *,
    blocks: Any = "leaf",
    channel_axis: int = FLAX,
    debias: bool = True,
) -> optax.GradientTransformation:
    r"""Rescales gradients by Adam with a second moment that each block $b$ of $d_b$ coordinates shares.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      v_{b,t} = \beta_2 v_{b,t-1} + (1 - \beta_2) \frac{\|g_{b,t}\|_2^2}{d_b}, \qquad
      u_{b,t} = \frac{m_{b,t} / (1 - \beta_1^t)}{\sqrt{v_{b,t} / (1 - \beta_2^t) + \epsilon'} + \epsilon}$$

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: $\epsilon$, added to the root.
        eps_root: $\epsilon'$, added inside of the root.
        blocks: ``"coordinate"`` (Adam), ``"channel"``, ``"leaf"``, ``"tree"`` (AdaSGD: all coordinates of
            all leaves together), or a pytree of labels (a prefix of the parameters', or a function from
            these to one), where leaves of the same label form a block.
        channel_axis: where weights keep their channels: `layout.FLAX` or `layout.EQUINOX`. Each entry of a
            vector is a channel.
        debias: whether to correct the bias of averages that start at zero; the theory has it without,
            with ``b1=0`` and ``eps=0``.

    Returns:
        A transformation whose second moment has as many numbers as there are blocks.

    Raises:
        ValueError: ``blocks`` is a string that names none of these.

    Source:
        Xie, Mohamadi, Li 2025, Adam exploits l-infinity-geometry of loss landscape via coordinate-wise
        adaptivity, arXiv 2410.08198.

    Example:
        >>> tx = scale_by_blockwise_adam(blocks="tree")
        >>> grad = {"w": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}
        >>> updates, state = tx.update(grad, tx.init(grad))
        >>> updates["w"].round(1), len(jax.tree.leaves(state.nu))
        (Array([1.2, 1.6], dtype=float32), 1)
    """
    if isinstance(blocks, str) and blocks not in (*_WITHIN, "tree"):
        raise ValueError(f"blocks must be {', '.join(_WITHIN)}, tree or a pytree of labels, got {blocks!r}")
    within = _WITHIN.get(blocks) if isinstance(blocks, str) else None

    def mean_squares(g: PyTree[Array]) -> PyTree[Array]:
        if within is not None:
            mean = functools.partial(jnp.mean, keepdims=True)
            return jax.tree.map(lambda v, axes=within: mean(v**2, axes(v, channel_axis)), g)
        members: dict[Any, list[Array]] = {}
        for label, v in zip(*map(jax.tree.leaves, (_labels(blocks, g), g)), strict=True):
            members.setdefault(label, []).append(v)
        return {k: sum(jnp.sum(v**2) for v in vs) / sum(v.size for v in vs) for k, vs in members.items()}

    def spread(nu: PyTree[Array], g: PyTree[Array]) -> PyTree[Array]:
        return nu if within is not None else jax.tree.map(lambda label: nu[label], _labels(blocks, g))

    def init_fn(params):
        nu = optax.tree.zeros_like(mean_squares(params))
        if blocks != "coordinate":  # a few numbers, which half precision would let stand still
            nu = at_least_float32(nu)
        return ScaleByBlockwiseAdamState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params), nu)

    def update_fn(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        g, mu, nu = at_least_float32((updates, state.mu, state.nu))
        mu = optax.tree.update_moment(g, mu, b1, 1)
        nu = optax.tree.update_moment(mean_squares(g), nu, b2, 1)
        c1, c2 = (bias_correction(b1, count), bias_correction(b2, count)) if debias else (1.0, 1.0)
        scale = jax.tree.map(lambda v: c1 * (jnp.sqrt(v / c2 + eps_root) + eps), nu)
        u = jax.tree.map(lambda m, s: m / s, mu, spread(scale, g))
        new_state = optax.tree.cast_like(ScaleByBlockwiseAdamState(count, mu, nu), state)
        return optax.tree.cast_like(u, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)


def _labels(blocks: Any, like: PyTree[Array]) -> PyTree[Any]:
    """A label in the place of each leaf; what is masked out has none."""
    given = blocks(like) if callable(blocks) else blocks
    return jax.tree.map(lambda label, part: jax.tree.map(lambda _: label, part), given, like)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.9, 0.95),
        "blocks": Choice("leaf", "channel", "tree"),
    }
)
def blockwise_adam(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 1e-2,
    *,
    eps_root: Any = 0.0,
    blocks: Any = "leaf",
    channel_axis: int = FLAX,
) -> optax.GradientTransformationExtraArgs:
    r"""Blockwise Adam: AdamW with a second moment a block, whose memory is a number a block.

    $\theta_{t+1} = (1 - \eta \lambda)\, \theta_t - \eta u_t$ with $u_t$ of `scale_by_blockwise_adam`. With
    ``blocks="coordinate"`` it is AdamW, with ``blocks="tree"`` AdaSGD, which no rotation of the
    parameters changes.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the root.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.
        eps_root: added inside of the root.
        blocks: what shares a second moment, see `scale_by_blockwise_adam`.
        channel_axis: where weights keep their channels.

    Returns:
        A transformation; its ``update`` needs the parameters.

    Source:
        Xie, Mohamadi, Li 2025, Adam exploits l-infinity-geometry of loss landscape via coordinate-wise
        adaptivity, arXiv 2410.08198.

    Example:
        >>> tx = blockwise_adam(0.5, weight_decay=0.0, eps=0.0)
        >>> params = jnp.zeros(2)
        >>> updates, state = tx.update(jnp.array([2.0, -2.0]), tx.init(params), params)
        >>> updates.round(3)
        Array([-0.5,  0.5], dtype=float32)
    """
    return optax.chain(
        scale_by_blockwise_adam(b1, b2, eps, eps_root, blocks=blocks, channel_axis=channel_axis),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
