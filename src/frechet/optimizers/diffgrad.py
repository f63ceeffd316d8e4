"""diffGrad: friction where the gradient hardly changes."""

from typing import Any, NamedTuple

import jax
import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.adam_epsilon_hat import scale_by_adam_epsilon_hat
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.registry import optimizer


class ScaleByDiffgradState(NamedTuple):
    """Adam's state and the gradient of the step before."""

    adam: optax.OptState
    previous_grad: optax.Updates


def scale_by_diffgrad(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> optax.GradientTransformation:
    r"""Rescales gradients by diffGrad: Adam times a friction between 1/2 and 1, an entry each.

    $$u_t = \xi_t \cdot \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \cdot
      \frac{m_t}{\sqrt{\nu_t} + \epsilon}, \qquad \xi_t = \sigma(|g_{t-1} - g_t|)$$

    with Adam's averages $m$, $\nu$, the logistic function $\sigma$ and $g_0 = 0$. The friction depends on
    the scale of the loss, which Adam does not: gradients much smaller than one always halve the step.

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the uncorrected root.

    Returns:
        A transformation. Its state is three times as large as the parameters.

    Source:
        Dubey, Chakraborty, Roy, Mukherjee, Singh, Chaudhuri 2020, diffGrad: an optimization method for
        convolutional neural networks, IEEE TNNLS, arXiv 1909.11015.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_diffgrad()
        >>> grad = jnp.array([0.0, 0.1, -4.0])
        >>> tx.update(grad, tx.init(grad))[0]
        Array([ 0.        ,  0.52497..., -0.98201...], dtype=float32)
    """
    adam = scale_by_adam_epsilon_hat(b1, b2, eps)

    def init_fn(params):
        return ScaleByDiffgradState(adam.init(params), optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None):
        del params
        g, previous = at_least_float32((updates, state.previous_grad))
        u, adam_state = adam.update(g, state.adam)
        u = jax.tree.map(lambda u, g, previous: jax.nn.sigmoid(abs(previous - g)) * u, u, g, previous)
        new_state = ScaleByDiffgradState(adam_state, optax.tree.cast_like(updates, state.previous_grad))
        return optax.tree.cast_like(u, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(space={"learning_rate": LogUniform(1e-5, 1e-1), "b1": Choice(0.9, 0.95)})
def diffgrad(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    decoupled: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""diffGrad: Adam with friction where the gradient hardly changes.

    $\theta_{t+1} = \theta_t - \eta u_t$ with $u_t$ of `scale_by_diffgrad`. Reported results came from code in
    which the friction was always 1/2, as its authors say; treat them as Adam's at half the learning rate.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the uncorrected root.
        weight_decay: $\lambda \ge 0$.
        decoupled: whether $\lambda \theta$ is added to $u_t$ as in AdamW; otherwise it is the L2 form, added
            to the gradient.

    Returns:
        A transformation.

    Source:
        Dubey, Chakraborty, Roy, Mukherjee, Singh, Chaudhuri 2020, diffGrad: an optimization method for
        convolutional neural networks, IEEE TNNLS, arXiv 1909.11015.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = diffgrad(learning_rate=0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates
        Array([-0.0952...,  0.0982...], dtype=float32)
    """
    steps = [scale_by_diffgrad(b1, b2, eps), optax.add_decayed_weights(weight_decay)]
    return optax.chain(*(steps if decoupled else steps[::-1]), optax.scale_by_learning_rate(learning_rate))
