"""Adam with its epsilon beside the uncorrected root, on which several methods are built."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from frechet.optimizers.moments import at_least_float32, bias_correction


def scale_by_adam_epsilon_hat(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, initial_nu: Any = 0.0, debias: bool = True
) -> optax.GradientTransformation:
    r"""Rescales gradients by Adam in the reordered form that Kingma and Ba give after their Algorithm 1.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      \nu_t = \beta_2 \nu_{t-1} + (1 - \beta_2) g_t^2, \qquad
      u_t = \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \cdot \frac{m_t}{\sqrt{\nu_t} + \hat\epsilon}$$

    It differs from `optax.scale_by_adam` in where $\epsilon$ is added: here it is weighed against the
    uncorrected root, so that it matters more in the first steps.

    Args:
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: $\hat\epsilon$, added to the root.
        initial_nu: $\nu_0 \ge 0$, with ``debias=False``.
        debias: whether to correct the bias of averages that start at zero; otherwise
            $u_t = m_t / (\sqrt{\nu_t} + \hat\epsilon)$.

    Returns:
        A transformation with the state of `optax.scale_by_adam`.

    Source:
        Kingma, Ba 2015, Adam: a method for stochastic optimization, arXiv 1412.6980, section 2.

    Example:
        >>> tx = scale_by_adam_epsilon_hat(eps=1e-3)
        >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0].round(4)
        Array([0.9693], dtype=float32)
    """

    def init_fn(params):
        nu = optax.tree.full_like(params, initial_nu)
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params), nu)

    def update_fn(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        g, mu, nu = at_least_float32((updates, state.mu, state.nu))
        mu = optax.tree.update_moment(g, mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(g, nu, b2, 2)
        size = jnp.sqrt(bias_correction(b2, count)) / bias_correction(b1, count) if debias else 1
        u = jax.tree.map(lambda m, v: size * m / (jnp.sqrt(v) + eps), mu, nu)
        new_state = optax.tree.cast_like(optax.ScaleByAdamState(count, mu, nu), state)
        return optax.tree.cast_like(u, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)
