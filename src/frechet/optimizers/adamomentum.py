"""AdaMomentum: the second moment of the momentum."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32, bias_correction
from frechet.optimizers.registry import optimizer


def scale_by_adamomentum(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> optax.GradientTransformation:
    r"""Rescales gradients by AdaMomentum, which averages the square of the momentum and not of the gradient.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      \nu_t = \beta_2 \nu_{t-1} + (1 - \beta_2) m_t^2 + \epsilon, \qquad
      u_t = \frac{m_t}{1 - \beta_1^t} \Big/ \sqrt{\frac{\nu_t}{1 - \beta_2^t}}$$

    The momentum in the square is not corrected for its bias, so that the first step is $1 / (1 - \beta_1)$
    times Adam's and the next ones approach it: warm up, or lower the learning rate.

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to $\nu$ at every step; at least 1e-37 in float32.

    Returns:
        A transformation with the state of `optax.scale_by_adam`.

    Source:
        Wang, Kang, Qin, Wang, Xu, Zhang, Fu 2021, Rethinking Adam: a twofold exponential moving average
        approach, arXiv 2106.11514.

    Example:
        >>> tx = scale_by_adamomentum()
        >>> grad = jnp.array([1.0, -2.0])
        >>> tx.update(grad, tx.init(grad))[0].round(1)
        Array([ 10., -10.], dtype=float32)
    """

    def init_fn(params):
        mu, nu = optax.tree.zeros_like(params), optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), mu, nu)

    def update_fn(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        g, mu, nu = at_least_float32((updates, state.mu, state.nu))
        mu = optax.tree.update_moment(g, mu, b1, 1)
        # Summed in this order XLA reads nu back from memory; eps added last, it computes all of it twice.
        nu = jax.tree.map(lambda m, v: b2 * v + ((1 - b2) * m**2 + eps), mu, nu)
        c1, c2 = bias_correction(b1, count), bias_correction(b2, count)
        u = jax.tree.map(lambda m, v: m / c1 / jnp.sqrt(v / c2), mu, nu)
        new_state = optax.tree.cast_like(optax.ScaleByAdamState(count, mu, nu), state)
        return optax.tree.cast_like(u, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.9, 0.95),
        "eps": Choice(1e-8, 1e-16),
    }
)
def adamomentum(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaMomentum: Adam with the second moment of the momentum in place of the gradient's.

    $\theta_{t+1} = (1 - \eta \lambda) \theta_t - \eta u_t$ with $u_t$ of `scale_by_adamomentum`.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the second moment at every step.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.

    Returns:
        A transformation.

    Source:
        Wang, Kang, Qin, Wang, Xu, Zhang, Fu 2021, Rethinking Adam: a twofold exponential moving average
        approach, arXiv 2106.11514.

    Example:
        >>> tx = adamomentum(learning_rate=0.01)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates.round(3)
        Array([-0.1,  0.1], dtype=float32)
    """
    return optax.chain(
        scale_by_adamomentum(b1, b2, eps),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
