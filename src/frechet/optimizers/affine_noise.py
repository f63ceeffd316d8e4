"""RMSProp and Adam as they provably converge under affine noise: uncorrected, with rates from the horizon."""

import math
from typing import Any, NamedTuple

import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.adam_epsilon_hat import scale_by_adam_epsilon_hat
from frechet.optimizers.registry import optimizer


class AffineNoiseHyperparameters(NamedTuple):
    """Arguments of `affine_noise_adam`; `affine_noise_rmsprop` takes all but ``b1``."""

    learning_rate: float
    b1: float
    b2: float


def affine_noise_hyperparameters(
    steps: int, learning_rate: float = 1.0, b1: float = 1.0, b2: float = 1.0
) -> AffineNoiseHyperparameters:
    r"""Learning rate and decay rates with which RMSProp and Adam find stationary points at the best rate.

    $$\eta = \frac{c_1}{\sqrt T}, \qquad \beta_1 = 1 - \frac{c_2}{\sqrt T}, \qquad
      \beta_2 = 1 - \frac{c_3}{\sqrt T}$$

    With them $E\|\nabla f\| \le \epsilon$ after $T = O(\epsilon^{-4})$ steps, where $f$ is coordinatewise
    $(L_0, L_1)$-smooth, $|\partial_i f(x) - \partial_i f(y)| \le (L_0 + L_1 |\partial_i f(x)|) \|x - y\|$
    for near points, and the noise of a gradient's entry is affine, $E|g_i - \partial_i f|^2 \le D_0 + D_1
    |\partial_i f|^2$. The constants depend on $L_0$, $L_1$, $D_0$ and $D_1$; the theorem fixes the order.

    Args:
        steps: the horizon $T$.
        learning_rate: $c_1 > 0$.
        b1: $c_2$ in $(0, \sqrt T]$.
        b2: $c_3$ in $(0, \sqrt T]$.

    Returns:
        Learning rate and decay rates, to be handed on by ``_asdict()``.

    Raises:
        ValueError: a constant is not positive, or makes a decay rate negative.

    Source:
        Zhang, Zhou, Zou 2025, Convergence guarantees for RMSProp and Adam in generalized-smooth non-convex
        optimization with affine noise variance, TMLR, arXiv 2404.01436.

    Example:
        >>> affine_noise_hyperparameters(10_000, learning_rate=0.1)
        AffineNoiseHyperparameters(learning_rate=0.001, b1=0.99, b2=0.99)
        >>> tx = affine_noise_adam(**affine_noise_hyperparameters(10_000)._asdict())
    """
    root = math.sqrt(steps) if steps > 0 else 0.0
    if not learning_rate > 0:
        raise ValueError(f"the learning rate's constant must be positive, got {learning_rate}")
    for name, c in (("b1", b1), ("b2", b2)):
        if not 0 < c <= root:
            raise ValueError(
                f"the constant of {name} must lie in (0, {root:.4g}], up to sqrt(steps), got {c}"
            )
    return AffineNoiseHyperparameters(learning_rate / root, 1 - b1 / root, 1 - b2 / root)


@optimizer(space={"learning_rate": LogUniform(1e-5, 1e-1), "b2": Choice(0.9, 0.99, 0.999, 0.9999)})
def affine_noise_rmsprop(
    learning_rate: optax.ScalarOrSchedule = 1e-3, b2: Any = 0.999, eps: Any = 1e-3, initial_nu: Any = 1.0
) -> optax.GradientTransformationExtraArgs:
    r"""RMSProp with a second moment that starts above zero.

    $$\nu_t = \beta_2 \nu_{t-1} + (1 - \beta_2) g_t^2, \qquad
      \theta_{t+1} = \theta_t - \eta \frac{g_t}{\sqrt{\nu_t} + \zeta}, \qquad \nu_0 > 0$$

    Args:
        learning_rate: $\eta$, a scalar or a schedule; the theory's is in `affine_noise_hyperparameters`.
        b2: decay rate of the average of squares.
        eps: $\zeta$, which the theory takes for a constant, not for a guard against division by zero.
        initial_nu: $\nu_0$.

    Returns:
        A transformation.

    Source:
        Zhang, Zhou, Zou 2025, Convergence guarantees for RMSProp and Adam in generalized-smooth non-convex
        optimization with affine noise variance, TMLR, arXiv 2404.01436.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = affine_noise_rmsprop(learning_rate=0.1)
        >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0].round(4)
        Array([-0.0999], dtype=float32)
    """
    return optax.chain(
        optax.scale_by_rms(b2, eps, initial_nu, eps_in_sqrt=False),
        optax.scale_by_learning_rate(learning_rate),
    )


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.9, 0.99, 0.999),
        "b2": Choice(0.9, 0.99, 0.999, 0.9999),
    }
)
def affine_noise_adam(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-3,
    initial_nu: Any = 1.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam without bias correction, with a second moment that starts above zero.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      \nu_t = \beta_2 \nu_{t-1} + (1 - \beta_2) g_t^2, \qquad
      \theta_{t+1} = \theta_t - \eta \frac{m_t}{\sqrt{\nu_t} + \zeta}, \qquad \nu_0 > 0$$

    Args:
        learning_rate: $\eta$, a scalar or a schedule; the theory's is in `affine_noise_hyperparameters`.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: $\zeta$, which the theory takes for a constant, not for a guard against division by zero.
        initial_nu: $\nu_0$.

    Returns:
        A transformation.

    Source:
        Zhang, Zhou, Zou 2025, Convergence guarantees for RMSProp and Adam in generalized-smooth non-convex
        optimization with affine noise variance, TMLR, arXiv 2404.01436.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = affine_noise_adam(learning_rate=0.1)
        >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0].round(4)
        Array([-0.01], dtype=float32)
    """
    return optax.chain(
        scale_by_adam_epsilon_hat(b1, b2, eps, initial_nu, debias=False),
        optax.scale_by_learning_rate(learning_rate),
    )
