"""M-FAC: preconditioning with the inverse empirical Fisher matrix of the last gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.registry import optimizer


class MFACState(NamedTuple):
    """The window: a ring of gradients and their inner products."""

    count: Array
    gradients: PyTree[Array]  # a leading axis of the window's size on every leaf
    gram: Array  # (window, window)


def scale_by_m_fac(window: int = 1024, damping: float = 1e-5) -> optax.GradientTransformation:
    r"""Multiplies the gradient by the inverse empirical Fisher matrix of the last $m$ gradients.

    $$u_t = F_t^{-1} g_t, \qquad F_t = \lambda I + \frac{1}{m} \sum_{s = t-m+1}^{t} g_s g_s^T,$$

    gradients before the first counting as zeros. As $g_t$ is itself in the window, $u_t$ is a combination of
    what is there: with $G$ the window's rows and $e_t$ the unit vector of the newest,

    $$u_t = m\, G^T (m \lambda I + G G^T)^{-1} e_t,$$

    which subtracts no large numbers. $G G^T$ is kept up to date by one product $G g_t$, so a step takes
    $O(d m + m^3)$, and memory is $m$ times the parameters'.

    Where gradients are nearly parallel, rounding to precision $\varepsilon$ would turn the solution around
    for $\lambda$ below the order of $\sqrt{m}\, \varepsilon \max_s \|g_s\|^2$, so a damping below eight
    times that is raised to it. It stays far below what one gradient adds to $F_t$, $\|g\|^2 / m$.

    Args:
        window: $m$, how many gradients are kept.
        damping: $\lambda$.

    Returns:
        A transformation. Gradients are kept in the dtype of the parameters, inner products at least in
        float32.

    Raises:
        ValueError: the window is empty.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 gradient, got {window}")

    def init_fn(params):
        ring = jax.tree.map(lambda p: jnp.zeros((window, *jnp.shape(p)), jnp.result_type(p)), params)
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        return MFACState(jnp.zeros([], jnp.int32), ring, jnp.zeros((window, window), dtype))

    def update_fn(updates, state, params=None):
        del params
        dtype = state.gram.dtype
        newest = state.count % window
        ring = jax.tree.map(lambda r, g: r.at[newest].set(g.astype(r.dtype)), state.gradients, updates)

        def products(r):
            return jnp.tensordot(r, r[newest], r.ndim - 1, precision="highest", preferred_element_type=dtype)

        row = sum(map(products, jax.tree.leaves(ring)), jnp.zeros(window, dtype))
        gram = state.gram.at[newest].set(row).at[:, newest].set(row)
        resolved = 8 * window**0.5 * jnp.finfo(dtype).eps * jnp.max(jnp.diag(gram))
        lam = jnp.maximum(jnp.asarray(damping, dtype), resolved)
        unit = jnp.zeros(window, dtype).at[newest].set(window)
        weights = jax.scipy.linalg.solve(
            gram + window * lam * jnp.eye(window, dtype=dtype), unit, assume_a="pos"
        )

        def combine(r, g):
            u = jnp.tensordot(weights, r, 1, precision="highest", preferred_element_type=dtype)
            return u.astype(g.dtype)

        updates = jax.tree.map(combine, ring, updates)
        count = jnp.asarray(optax.safe_increment(state.count))
        return updates, MFACState(count, ring, gram)

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-4, 10.0),
        "damping": LogUniform(1e-6, 10.0),
        "momentum": Choice(0.0, 0.9),
        "window": Choice(32, 128, 512),
    },
    converges=False,  # where gradients repeat, steps shorten as they fill the window
)
def m_fac(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    window: int = 1024,
    damping: float = 1e-5,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    r"""The M-FAC optimizer: natural gradients from a sliding window, no matrix of the parameters' size.

    $$g_t = \nabla f(\theta_t) + \omega \theta_t, \quad u_t = F_t^{-1} g_t, \quad
        v_t = \mu v_{t-1} + (1 - \mu) u_t, \quad \theta_{t+1} = \theta_t - \eta v_t$$

    with $F_t = \lambda I + \frac{1}{m} \sum_{s > t - m} g_s g_s^T$, see `scale_by_m_fac`. With a large
    damping it is stochastic gradient descent with learning rate $\eta / \lambda$.

    Args:
        learning_rate: $\eta$, a number or a schedule.
        window: $m$, how many gradients are kept; memory is that many times the parameters'.
        damping: $\lambda$. The paper's 1e-5 suits gradients with noise in many directions. Where they hardly
            have any, what is new in a gradient is blown up by $1 / \lambda$: $\eta$ times the curvature
            has to stay below $\lambda$ then.
        momentum: $\mu$, of an exponential average of the preconditioned gradients.
        weight_decay: $\omega$, added to the gradient before it enters the window (L2, not decoupled); the
            paper's experiments use 0.003.

    Returns:
        An optax transformation; ``update`` needs ``params``.

    Source:
        Elias Frantar, Eldar Kurtic, Dan Alistarh 2021, M-FAC: Efficient Matrix-Free Approximations of
        Second-Order Information, arXiv 2107.03356, section 4.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> f = lambda x: jnp.sum(jnp.log(jnp.cosh(x)))
        >>> x, tx = jnp.array([1.0, -3.0]), m_fac(0.5, window=16, damping=0.1)
        >>> state, update = tx.init(x), jax.jit(tx.update)
        >>> for _ in range(50):
        ...     updates, state = update(jax.grad(f)(x), state, x)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(f(x) < 0.1)
        True
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        scale_by_m_fac(window, damping),
        optax.ema(momentum, debias=False),
        optax.scale_by_learning_rate(learning_rate),
    )
