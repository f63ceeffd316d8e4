"""Gradient descent normalised by a power of the gradient's norm."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.registry import optimizer


def normalize_by_norm_power(beta: Any = 1.0) -> optax.GradientTransformation:
    r"""Divides the gradient by a power of its Euclidean norm over all leaves.

    $$u = g / \|g\|^\beta, \qquad u = 0 \text{ where } g = 0$$

    The norm's square is never formed at the scale of $g$, so that gradients of any size a float can hold
    are normalised. What is not finite stays so.

    Args:
        beta: $\beta$ in [0, 1]: 0 leaves the gradient, 1 keeps only its direction.

    Returns:
        A transformation without state.

    Source:
        Chen, Zhou, Liang, Lu 2023, Generalized-smooth nonconvex optimization is as efficient as smooth
        nonconvex optimization, ICML, arXiv 2303.02854.

    Example:
        >>> tx = normalize_by_norm_power(1.0)
        >>> g = {"w": jnp.full(3, 1e30), "b": jnp.array(1e30)}
        >>> u, _ = tx.update(g, tx.init(g))
        >>> u["w"].round(3).tolist(), u["b"].round(3).tolist()
        ([0.5, 0.5, 0.5], 0.5)
    """

    def update_fn(updates, state, params=None):
        del params
        if not jax.tree.leaves(updates):
            return updates, state
        g = at_least_float32(updates)
        largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(v), initial=0) for v in jax.tree.leaves(g)])
        # A power of two, so that scaling is exact and beta = 0 returns the gradient to the bit; neither it
        # nor its reciprocal is subnormal.
        unit = jnp.maximum(largest / (4 * jnp.frexp(largest)[0]), jnp.finfo(largest.dtype).tiny)
        unit = jnp.where((largest > 0) & jnp.isfinite(largest), unit, jnp.where(largest == 0, 1, largest))
        g = jax.tree.map(lambda v: v / unit.astype(v.dtype), g)
        squares = sum(jnp.sum(jnp.square(jnp.abs(v))) for v in jax.tree.leaves(g))
        length = jnp.sqrt(jnp.where(largest == 0, 1, squares))
        factor = unit ** (1 - beta) * length**-beta
        u = jax.tree.map(lambda v: v * factor.astype(v.dtype), g)
        return optax.tree.cast_like(u, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


@optimizer(space={"learning_rate": LogUniform(1e-4, 1.0), "beta": Choice(1 / 3, 2 / 3, 1.0)})
def normalized_gd(
    learning_rate: optax.ScalarOrSchedule = 0.1, beta: Any = 2 / 3
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with the gradient normalised by a power of its norm.

    $$\theta_{t+1} = \theta_t - \gamma \nabla f(\theta_t) / \|\nabla f(\theta_t)\|^\beta$$

    For objectives whose smoothness constant grows with a power $\alpha \le \beta$ of the gradient's norm:
    polynomials of degree $d$ with $\alpha = (d - 2) / (d - 1)$, exponentials with $\alpha = 1$. With
    $\gamma$ of the order $\epsilon^\beta$ some iterate has a gradient of norm $\epsilon$ after
    $O(\epsilon^{-2})$ steps; which one, the norms along the run tell. For $\beta > 0$ and a constant
    $\gamma$ steps do not vanish at the minimum faster than $\|\nabla f\|^{1 - \beta}$: let $\gamma$ decay
    to converge.

    Args:
        learning_rate: $\gamma$, a scalar or a schedule; with $\beta = 1$ the length of each step.
        beta: $\beta$ in [0, 1]: 0 is gradient descent, 2/3 the choice for quartics such as phase
            retrieval (where the authors tuned $\gamma$ to 0.1), 1 normalised gradient descent.

    Returns:
        A transformation whose state holds no array of the parameters' size.

    Source:
        Chen, Zhou, Liang, Lu 2023, Generalized-smooth nonconvex optimization is as efficient as smooth
        nonconvex optimization, ICML, arXiv 2303.02854.

    Example:
        >>> tx = normalized_gd(learning_rate=5.0, beta=1.0)
        >>> updates, state = tx.update(jnp.array([30.0, -40.0]), tx.init(jnp.zeros(2)))
        >>> updates.round()
        Array([-3.,  4.], dtype=float32)
    """
    return optax.chain(normalize_by_norm_power(beta), optax.scale_by_learning_rate(learning_rate))
