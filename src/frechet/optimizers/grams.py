"""Grams: momentum gives the size of a step, the gradient its sign."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.adam_epsilon_hat import scale_by_adam_epsilon_hat
from frechet.optimizers.registry import optimizer


def with_gradient_sign(base: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    r"""Gives each entry of what a transformation returns the sign of the incoming gradient.

    $$u \mapsto \mathrm{sign}(g) \cdot |u|, \qquad \mathrm{sign}(0) = 0$$

    Negated, it is a direction of descent whatever the base: $\langle -\mathrm{sign}(g) |u|, g \rangle \le 0$.

    Args:
        base: any transformation of gradients. The learning rate, which is negative, belongs behind the
            wrapper and not in it, and so does weight decay: both would lose their sign.

    Returns:
        A transformation with the state of ``base``.

    Source:
        Cao, Li, Song 2024, Grams: gradient descent with adaptive momentum scaling, arXiv 2412.17107.

    Example:
        >>> tx = optax.chain(with_gradient_sign(optax.trace(0.9)), optax.scale_by_learning_rate(0.1))
        >>> state = tx.init(jnp.zeros(2))
        >>> _, state = tx.update(jnp.array([2.0, 2.0]), state)
        >>> tx.update(jnp.array([-1.0, 0.0]), state)[0].round(2)
        Array([ 0.08, -0.  ], dtype=float32)
    """
    base = optax.with_extra_args_support(base)

    def update_fn(updates, state, params=None, **extra_args):
        steps, state = base.update(updates, state, params, **extra_args)
        signed = jax.tree.map(lambda g, u: jnp.sign(g).astype(u.dtype) * abs(u), updates, steps)
        return signed, state

    return optax.GradientTransformationExtraArgs(base.init, update_fn)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.9, 0.95),
        "b2": Choice(0.95, 0.99, 0.999),
    }
)
def grams(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    weight_decay: Any = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Grams: the size of Adam's step, the sign of the gradient.

    $$\theta_{t+1} = (1 - \eta \lambda) \theta_t - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \cdot
      \frac{\mathrm{sign}(g_t) |m_t|}{\sqrt{\nu_t} + \epsilon}$$

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of Adam's average of gradients.
        b2: decay rate of Adam's average of squares.
        eps: added to the uncorrected root.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.

    Returns:
        A transformation with Adam's state.

    Source:
        Cao, Li, Song 2024, Grams: gradient descent with adaptive momentum scaling, arXiv 2412.17107.

    Example:
        >>> tx = grams(learning_rate=0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates.round(3)
        Array([-0.1,  0.1], dtype=float32)
    """
    return optax.chain(
        with_gradient_sign(scale_by_adam_epsilon_hat(b1, b2, eps)),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
