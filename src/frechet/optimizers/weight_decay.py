"""Weight decay as a proximal step: by division, where AdamW's is by subtraction."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import ArrayLike

from frechet.optimizers.moments import at_least_float32


class ProximalWeightDecayState(NamedTuple):
    """``count`` is the number of steps taken, where a schedule of learning rates stands."""

    count: ArrayLike


def proximal_weight_decay(
    learning_rate: optax.ScalarOrSchedule, weight_decay: Any
) -> optax.GradientTransformation:
    r"""Follows a step by the proximal operator of $\frac{\eta \lambda}{2} \|\theta\|^2$.

    $$u \mapsto \frac{\theta + u}{1 + \eta \lambda} - \theta
      = \frac{u - \eta \lambda \theta}{1 + \eta \lambda}$$

    It goes last in a chain, after the learning rate. Unlike decoupled decay (`optax.add_decayed_weights`),
    which multiplies by $1 - \eta \lambda$, it shrinks the weights however large $\eta \lambda$ is.

    Args:
        learning_rate: $\eta$, a scalar or a schedule; the one of the step before.
        weight_decay: $\lambda \ge 0$, a scalar. A literal zero leaves the step as it is.

    Returns:
        A transformation; its ``update`` needs the parameters unless ``weight_decay`` is a literal zero.

    Source:
        Zhuang, Liu, Cutkosky, Orabona 2022, Understanding AdamW through proximal methods and
        scale-freeness, arXiv 2202.00089.

    Example:
        >>> tx = optax.chain(optax.sgd(0.5), proximal_weight_decay(0.5, 2.0))
        >>> theta = jnp.array([4.0])
        >>> updates, _ = tx.update(jnp.zeros(1), tx.init(theta), theta)
        >>> optax.apply_updates(theta, updates)
        Array([2.], dtype=float32)
    """

    def init_fn(params):
        del params
        return ProximalWeightDecayState(jnp.zeros([], jnp.int32))

    def update_fn(updates, state, params=None):
        new_state = ProximalWeightDecayState(optax.safe_increment(state.count))
        if isinstance(weight_decay, int | float) and weight_decay == 0:
            return updates, new_state
        if params is None:
            raise ValueError("proximal weight decay needs the parameters: update(grads, state, params)")
        eta = learning_rate(state.count) if callable(learning_rate) else learning_rate
        s = eta * weight_decay
        u, p = at_least_float32((updates, params))
        decayed = jax.tree.map(lambda u, p: (u - s * p) / (1 + s), u, p)
        return optax.tree.cast_like(decayed, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)
