"""AdamP and SGDP: momentum without the part along scale-invariant weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.layout import FLAX, within_channel
from frechet.optimizers.moments import at_least_float32, bias_correction
from frechet.optimizers.radial import radial_coefficient
from frechet.optimizers.registry import optimizer


class ScaleByAdamPState(NamedTuple):
    """Adam's: the averages of gradients and of their squares."""

    count: ArrayLike
    mu: optax.Updates
    nu: optax.Updates


class ScaleBySGDPState(NamedTuple):
    """The sum of past gradients, discounted."""

    trace: optax.Updates


def _project(
    p: Array, g: Array, w: Array, decay: Any, delta: Any, wd_ratio: Any, eps: Any, channel_axis: int
) -> Array:
    """The direction without its radial part where ``w`` is scale-invariant, with the decay that suits."""
    if w.ndim < 2:
        return p + decay * w
    axes = within_channel(w, channel_axis)
    of_channels = [jnp.sum(a * b, axis=axes, keepdims=True) for a, b in ((p, w), (g, w), (g, g), (w, w))]
    # The barriers keep XLA from taking the sums again for the layer, and the quotients for every element.
    of_channels = jax.lax.optimization_barrier(of_channels)
    of_layer = [jnp.sum(s, keepdims=True) for s in of_channels]
    coefficient, ratio = jnp.zeros_like(of_layer[0]), 1.0
    for pw, gw, gg, ww in (of_layer, of_channels):  # channels last: they are preferred
        elements = w.size // max(ww.size, 1)
        cosine_bound = delta * max(elements, 1) ** -0.5
        invariant = jnp.all(jnp.abs(gw) < cosine_bound * jnp.maximum(jnp.sqrt(gg) * jnp.sqrt(ww), eps))
        coefficient = jnp.where(invariant, radial_coefficient(pw, ww, eps), coefficient)
        ratio = jnp.where(invariant, wd_ratio, ratio)
    return p + jax.lax.optimization_barrier(decay * ratio - coefficient) * w


def _projected(direction, updates, params, **settings) -> optax.Updates:
    if params is None:
        raise ValueError("AdamP and SGDP need the parameters: update(grads, state, params)")
    p = jax.tree.map(
        lambda *leaves: _project(*leaves, **settings), direction, *at_least_float32((updates, params))
    )
    return optax.tree.cast_like(p, updates)


def scale_by_adamp(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    delta: Any = 0.1,
    wd_ratio: Any = 0.1,
    nesterov: bool = False,
    channel_axis: int = FLAX,
) -> optax.GradientTransformation:
    r"""Rescales gradients by AdamP: Adam's direction, less its radial part for scale-invariant weights.

    $$p = \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}, \qquad
      u = p - \frac{\langle p, w\rangle}{(\|w\| + \epsilon)^2} w + \lambda \rho w
      \quad\text{where } |\cos(g, w)| < \delta / \sqrt{n}$$

    holds for each channel of $n$ weights, or else for the whole layer; otherwise, and for vectors and
    scalars always, $u = p + \lambda w$. It is the raw gradient $g$ that tells: of a loss that does not depend
    on the scale of $w$ it is orthogonal to $w$.

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: $\epsilon$, outside the root, and the least that norms are taken for.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.
        delta: $\delta$, how nearly orthogonal gradient and weights are to be; zero turns projection off.
        wd_ratio: $\rho$, how much of the decay scale-invariant weights get.
        nesterov: whether $\hat m_t$ is $(\beta_1 m_t + (1 - \beta_1) g_t) / (1 - \beta_1^t)$.
        channel_axis: where output channels are: `FLAX` (last) or `EQUINOX` (first, as in PyTorch).

    Returns:
        A transformation whose ``update`` needs the parameters. Its state is twice as large as they are.

    Source:
        Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha 2021, AdamP: slowing down the slowdown for momentum optimizers on
        scale-invariant weights, ICLR, arXiv 2006.08217.

    Example:
        >>> w = jnp.array([[1.0, 2.0], [2.0, 1.0]])
        >>> g = jnp.array([[2.0, 1.0], [-1.0, -2.0]])  # orthogonal to each column
        >>> tx = scale_by_adamp()
        >>> u, _ = tx.update(g, tx.init(w), w)
        >>> jnp.sum(u * w, axis=0).round(5)
        Array([0., 0.], dtype=float32)
    """
    settings = {"decay": weight_decay, "delta": delta, "wd_ratio": wd_ratio, "eps": eps}

    def init_fn(params):
        mu, nu = (optax.tree.zeros_like(params) for _ in range(2))
        return ScaleByAdamPState(jnp.zeros([], jnp.int32), mu, nu)

    def update_fn(updates, state, params=None):
        count = optax.safe_increment(state.count)
        g, (_, mu, nu) = at_least_float32(updates), at_least_float32(state)
        mu = optax.tree.update_moment(g, mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(g, nu, b2, 2)
        m = optax.tree.update_moment(g, mu, b1, 1) if nesterov else mu
        c1, c2 = bias_correction(b1, count), bias_correction(b2, count)
        p = jax.tree.map(lambda m, v: m / c1 / (jnp.sqrt(v / c2) + eps), m, nu)
        u = _projected(p, updates, params, **settings, channel_axis=channel_axis)
        return u, optax.tree.cast_like(ScaleByAdamPState(count, mu, nu), state)

    return optax.GradientTransformation(init_fn, update_fn)


def scale_by_sgdp(
    momentum: Any = 0.9,
    dampening: Any = 0.0,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    delta: Any = 0.1,
    wd_ratio: Any = 0.1,
    nesterov: bool = True,
    channel_axis: int = FLAX,
) -> optax.GradientTransformation:
    r"""Momentum less its radial part for scale-invariant weights, which are told as in `scale_by_adamp`.

    $$b_t = \mu b_{t-1} + (1 - \tau) g_t, \qquad p = g_t + \mu b_t, \qquad
      u = p - \frac{\langle p, w\rangle}{(\|w\| + \epsilon)^2} w + \frac{\lambda \rho}{1 - \mu} w$$

    The projection leaves the buffer $b$ as it is.

    Args:
        momentum: $\mu$ in [0, 1).
        dampening: $\tau$.
        eps: $\epsilon$, the least that norms are taken for.
        weight_decay: $\lambda \ge 0$, decoupled, and divided by $1 - \mu$.
        delta: how nearly orthogonal gradient and weights are to be; zero turns projection off.
        wd_ratio: $\rho$, how much of the decay scale-invariant weights get; others have $\rho = 1$.
        nesterov: whether $p$ is as above; otherwise $p = b_t$.
        channel_axis: where output channels are: `FLAX` (last) or `EQUINOX` (first, as in PyTorch).

    Returns:
        A transformation whose ``update`` needs the parameters. Its state is as large as they are.

    Source:
        Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha 2021, AdamP: slowing down the slowdown for momentum optimizers on
        scale-invariant weights, ICLR, arXiv 2006.08217.

    Example:
        >>> tx = scale_by_sgdp()
        >>> w, g = jnp.array([[3.0], [0.0]]), jnp.array([[0.0], [1.0]])
        >>> tx.update(g, tx.init(w), w)[0].ravel()
        Array([0. , 1.9], dtype=float32)
    """

    def init_fn(params):
        return ScaleBySGDPState(optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None):
        g, (b,) = at_least_float32(updates), at_least_float32(state)
        b = jax.tree.map(lambda g, b: momentum * b + (1 - dampening) * g, g, b)
        p = optax.tree.add_scale(g, momentum, b) if nesterov else b
        decay = weight_decay / (1 - momentum)
        settings = {"decay": decay, "delta": delta, "wd_ratio": wd_ratio, "eps": eps}
        u = _projected(p, updates, params, **settings, channel_axis=channel_axis)
        return u, optax.tree.cast_like(ScaleBySGDPState(b), state)

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(space={"learning_rate": LogUniform(1e-4, 1e-1), "weight_decay": LogUniform(1e-5, 1e-1)})
def adamp(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    delta: Any = 0.1,
    wd_ratio: Any = 0.1,
    nesterov: bool = False,
    channel_axis: int = FLAX,
) -> optax.GradientTransformationExtraArgs:
    r"""AdamP, for networks with normalisation layers: $w \leftarrow w - \eta u$ with $u$ of `scale_by_adamp`.

    Before a normalisation layer only the direction of the weights matters, and momentum lets their norm grow
    much faster than gradient descent does, which slows down training by a factor of the squared norm. Taking
    out the radial part of the step keeps the direction of the step on the sphere and stops this. On weights
    that are not scale-invariant it is AdamW.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the denominator, and the least that norms are taken for.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.
        delta: how nearly orthogonal gradient and weights are to be; zero turns projection off.
        wd_ratio: how much of the decay scale-invariant weights get.
        nesterov: whether the average of gradients looks ahead.
        channel_axis: where output channels are: `FLAX` (last) or `EQUINOX` (first, as in PyTorch).

    Returns:
        A transformation whose ``update`` needs the parameters.

    Source:
        Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha 2021, AdamP: slowing down the slowdown for momentum optimizers on
        scale-invariant weights, ICLR, arXiv 2006.08217.

    Example:
        >>> tx = adamp(learning_rate=0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates.round(3)
        Array([-0.1,  0.1], dtype=float32)
    """
    return optax.chain(
        scale_by_adamp(b1, b2, eps, weight_decay, delta, wd_ratio, nesterov, channel_axis),
        optax.scale_by_learning_rate(learning_rate),
    )


@optimizer(
    space={
        "learning_rate": LogUniform(1e-3, 1.0),
        "momentum": Choice(0.8, 0.9, 0.95),
        "weight_decay": LogUniform(1e-6, 1e-2),
    }
)
def sgdp(
    learning_rate: optax.ScalarOrSchedule = 0.1,
    momentum: Any = 0.9,
    dampening: Any = 0.0,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    delta: Any = 0.1,
    wd_ratio: Any = 0.1,
    nesterov: bool = True,
    channel_axis: int = FLAX,
) -> optax.GradientTransformationExtraArgs:
    r"""SGDP, for networks with normalisation layers: $w \leftarrow w - \eta u$ with $u$ of `scale_by_sgdp`.

    For a scale-invariant $w$ every step is orthogonal to it, so
    $\|w_{t+1}\|^2 = \|w_t\|^2 + \eta^2 \|u_t\|^2$ and momentum adds nothing more.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        momentum: $\mu$ in [0, 1).
        dampening: what the gradient is damped by as it enters the momentum.
        eps: the least that norms are taken for.
        weight_decay: $\lambda \ge 0$, decoupled: a step multiplies by $1 - \eta \lambda \rho / (1 - \mu)$.
        delta: how nearly orthogonal gradient and weights are to be; zero turns projection off.
        wd_ratio: $\rho$, how much of the decay scale-invariant weights get; others have $\rho = 1$.
        nesterov: whether the momentum looks ahead.
        channel_axis: where output channels are: `FLAX` (last) or `EQUINOX` (first, as in PyTorch).

    Returns:
        A transformation whose ``update`` needs the parameters.

    Source:
        Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha 2021, AdamP: slowing down the slowdown for momentum optimizers on
        scale-invariant weights, ICLR, arXiv 2006.08217.

    Example:
        >>> tx = sgdp(learning_rate=0.1, nesterov=False)
        >>> params = jnp.array([1.0, -2.0])
        >>> tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)[0].round(3)
        Array([-0.3,  0.4], dtype=float32)
    """
    return optax.chain(
        scale_by_sgdp(momentum, dampening, eps, weight_decay, delta, wd_ratio, nesterov, channel_axis),
        optax.scale_by_learning_rate(learning_rate),
    )
