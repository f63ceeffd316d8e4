"""Adan: adaptive Nesterov momentum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import ArrayLike

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32, bias_correction
from frechet.optimizers.registry import optimizer
from frechet.optimizers.weight_decay import proximal_weight_decay


class ScaleByAdanState(NamedTuple):
    """Averages of the gradient, of its differences and of the squared look-ahead; the gradient before."""

    count: ArrayLike
    m: optax.Updates
    v: optax.Updates
    n: optax.Updates
    previous_grad: optax.Updates


def scale_by_adan(
    b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8
) -> optax.GradientTransformation:
    r"""Rescales gradients by Adan.

    $$d_t = g_t - g_{t-1}, \qquad m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      v_t = \beta_2 v_{t-1} + (1 - \beta_2) d_t,$$
    $$n_t = \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 d_t)^2, \qquad
      u_t = \frac{\hat m_t + \beta_2 \hat v_t}{\sqrt{\hat n_t} + \epsilon}$$

    with $d_1 = 0$ and hats for the bias correction by $1 - \beta_i^t$. The decay rates are those of the
    authors' code; the paper's $\beta$ is one minus them.

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of their differences, and how far the gradient is extrapolated.
        b3: decay rate of the average of squares.
        eps: added to the denominator, outside the root as in the authors' code.

    Returns:
        A transformation. Its state is four times as large as the parameters.

    Source:
        Xie, Zhou, Li, Lin, Yan 2024, Adan: adaptive Nesterov momentum algorithm for faster optimizing deep
        models, IEEE TPAMI, arXiv 2208.06677.

    Example:
        >>> tx = scale_by_adan()
        >>> _, state = tx.update(jnp.array([-2.0]), tx.init(jnp.zeros(1)))
        >>> tx.update(jnp.array([1.0]), state)[0].round(4)
        Array([0.3159], dtype=float32)
    """

    def init_fn(params):
        m, v, n, previous = (optax.tree.zeros_like(params) for _ in range(4))
        return ScaleByAdanState(jnp.zeros([], jnp.int32), m, v, n, previous)

    def update_fn(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        g, (_, m, v, n, previous) = at_least_float32(updates), at_least_float32(state)
        d = jax.tree.map(lambda g, previous: jnp.where(count == 1, 0, g - previous), g, previous)
        m = optax.tree.update_moment(g, m, b1, 1)
        v = optax.tree.update_moment(d, v, b2, 1)
        n = optax.tree.update_moment_per_elem_norm(optax.tree.add_scale(g, b2, d), n, b3, 2)
        c1, c2, c3 = (bias_correction(b, count) for b in (b1, b2, b3))
        u = jax.tree.map(lambda m, v, n: (m / c1 + b2 * v / c2) / (jnp.sqrt(n / c3) + eps), m, v, n)
        new_state = optax.tree.cast_like(ScaleByAdanState(count, m, v, n, g), state)
        return optax.tree.cast_like(u, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-4, 1e-1),
        "b1": Choice(0.9, 0.95, 0.98),
        "b3": Choice(0.99, 0.999),
    }
)
def adan(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.98,
    b2: Any = 0.92,
    b3: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    proximal: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""Adan, with proximal weight decay.

    $$\theta_{t+1} = \frac{\theta_t - \eta u_t}{1 + \eta \lambda}, \qquad u_t \text{ of `scale_by_adan`}$$

    The authors recommend learning rates 5 to 10 times those of AdamW, and in their training scripts a weight
    decay of 0.02. To clip gradients, chain `optax.clip_by_global_norm` before it: differences are then of
    clipped gradients, as they should be.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of their differences.
        b3: decay rate of the average of squares.
        eps: added to the denominator.
        weight_decay: $\lambda \ge 0$.
        proximal: whether decay divides by $1 + \eta \lambda$; otherwise it is decoupled as in AdamW,
            $\theta_{t+1} = (1 - \eta \lambda) \theta_t - \eta u_t$.

    Returns:
        A transformation.

    Source:
        Xie, Zhou, Li, Lin, Yan 2024, Adan: adaptive Nesterov momentum algorithm for faster optimizing deep
        models, IEEE TPAMI, arXiv 2208.06677.

    Example:
        >>> tx = adan(learning_rate=0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates.round(3)
        Array([-0.1,  0.1], dtype=float32)
    """
    if proximal:
        return optax.chain(
            scale_by_adan(b1, b2, b3, eps),
            optax.scale_by_learning_rate(learning_rate),
            proximal_weight_decay(learning_rate, weight_decay),
        )
    return optax.chain(
        scale_by_adan(b1, b2, b3, eps),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
