"""Pruning by the optimal brain surgeon, with M-FAC's inverse empirical Fisher matrix."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from frechet.optimizers.inverse_fisher import InverseFisher


def geometric_sparsities(sparsity: float, steps: int = 16, start: float = 0.0) -> list[float]:
    r"""Sparsities between ``start`` and ``sparsity`` at which the density falls by the same factor each step.

    $$s_j = 1 - (1 - s_0) \left(\frac{1 - s}{1 - s_0}\right)^{j / J}, \qquad j = 1, \dots, J$$

    Args:
        sparsity: $s$, the last of them.
        steps: $J$, how many.
        start: $s_0$, the one before the first.

    Raises:
        ValueError: the sparsities do not rise within [0, 1), or there is no step.

    Example:
        >>> [round(s, 4) for s in geometric_sparsities(0.875, 3)]
        [0.5, 0.75, 0.875]
    """
    if not 0 <= start <= sparsity < 1:
        raise ValueError(f"sparsities must rise within [0, 1), got start {start} and sparsity {sparsity}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return [1 - (1 - start) * ((1 - sparsity) / (1 - start)) ** (j / steps) for j in range(1, steps + 1)]


@eqx.filter_jit
def obs_step(
    params: PyTree[Array],
    gradients: PyTree[Array],
    sparsity: ArrayLike,
    mask: PyTree[Array],
    *,
    prunable: PyTree[bool],
    damping: ArrayLike = 1e-5,
    block_size: int | None = None,
) -> tuple[PyTree[Array], PyTree[Array]]:
    r"""Removes the weights that cost least to second order, and moves the others to make up for them.

    $$\rho_q = \frac{w_q^2}{2 [F^{-1}]_{qq}}, \qquad
        w \leftarrow w - F^{-1} \sum_{q \in Q} \frac{w_q}{[F^{-1}]_{qq}} e_q, \qquad w_Q \leftarrow 0,$$

    with $Q$ the weights of smallest $\rho$ and $F$ the damped empirical Fisher matrix of those that are left.
    A single weight is removed exactly as the quadratic model has it; several as if each went alone.

    Args:
        params: the weights, a pytree.
        gradients: of $m$ mini-batches at ``params``: like ``params`` with a leading axis of size $m$ each.
        sparsity: the share of the prunable weights that are to be zero afterwards, in [0, 1).
        mask: like ``params``, true where a weight is left; what is false stays zero.
        prunable: like ``params``, whether a leaf's weights may be removed. The others do not move.
        damping: $\lambda$ of `InverseFisher`.
        block_size: of `InverseFisher`.

    Returns:
        params: with more zeros.
        mask: where weights are left.

    Source:
        Babak Hassibi, David G. Stork 1992, Second order derivatives for network pruning: Optimal Brain
        Surgeon; with the empirical Fisher matrix of Frantar et al. 2021, arXiv 2107.03356.

    Example:
        >>> import jax.numpy as jnp
        >>> w, g = jnp.array([3.0, 1.0]), jnp.array([[0.1, 0.1], [0.0, 2.0]])
        >>> w, mask = obs_step(w, g, 0.5, jnp.array([True, True]), prunable=True, damping=1e-3)
        >>> mask.tolist()  # the larger weight, to which the loss hardly responds
        [False, True]
    """
    prunable = jax.tree.map(lambda p, leaf: jnp.full(leaf.shape, p), prunable, params)
    left = jax.tree.map(jnp.logical_and, mask, prunable)
    of_the_left = jax.tree.map(lambda g, k: jnp.where(k, g, 0), gradients, left)
    inverse = InverseFisher(of_the_left, damping, block_size)
    w, unravel = ravel_pytree(params)
    diagonal = ravel_pytree(inverse.diagonal())[0]
    may, kept = ravel_pytree(prunable)[0], ravel_pytree(left)[0]
    # what is gone goes first, and what must stay last
    cost = jnp.where(kept, w**2 / (2 * diagonal), jnp.where(may, -1, jnp.inf))
    rank = jnp.zeros(w.size, jnp.int32).at[jnp.argsort(cost)].set(jnp.arange(w.size, dtype=jnp.int32))
    dropped = may & (rank < jnp.round(jnp.asarray(sparsity, jnp.float32) * may.sum()))
    removed = jnp.where(dropped & kept, w / diagonal, 0)
    w = w - jnp.where(kept, ravel_pytree(inverse.product(unravel(removed)))[0], 0)
    _, unravel_mask = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), params))
    mask = jax.tree.map(jnp.logical_and, mask, unravel_mask(~dropped))
    return jax.tree.map(lambda leaf, k: jnp.where(k, leaf, 0), unravel(w), mask), mask


def m_fac_prune(
    params: PyTree[Array],
    gradients_fn: Callable[[PyTree[Array], PRNGKeyArray], PyTree[Array]],
    sparsity: float,
    *,
    key: PRNGKeyArray,
    steps: int = 16,
    prunable: PyTree[bool] | None = None,
    damping: ArrayLike = 1e-5,
    block_size: int | None = None,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Prunes to a sparsity without training, with fresh gradients at every step of a geometric schedule.

    Args:
        params: the weights, a pytree, trained.
        gradients_fn: takes weights and a key to draw batches with; returns the gradients of $m$ mini-batches,
            a leading axis of that size on every leaf. The paper takes 64 of 32 samples each.
        sparsity: the share of the prunable weights that are to be zero.
        key: split into one a step.
        steps: how often gradients and curvature are computed again.
        prunable: a pytree of booleans like ``params``; the leaves of two axes or more when left out.
        damping: of `InverseFisher`.
        block_size: of `InverseFisher`.

    Returns:
        params: with zeros where the mask is false.
        mask: like ``params``, true where a weight is left. To train on, multiply updates by it.

    Raises:
        ValueError: the sparsity is not in [0, 1), or there is no step.

    Source:
        Elias Frantar, Eldar Kurtic, Dan Alistarh 2021, M-FAC: Efficient Matrix-Free Approximations of
        Second-Order Information, arXiv 2107.03356.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> gradients_fn = lambda w, key: jax.random.normal(key, (64, 4, 5))
        >>> w, mask = m_fac_prune(jnp.ones((4, 5)), gradients_fn, 0.75, key=jax.random.key(0), steps=2)
        >>> int(mask.sum()), int(jnp.count_nonzero(w))
        (5, 5)
    """
    if prunable is None:
        prunable = jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)
    mask: Any = jax.tree.map(lambda leaf: jnp.ones(jnp.shape(leaf), bool), params)
    sparsities = geometric_sparsities(sparsity, steps)
    for s, k in zip(sparsities, jax.random.split(key, steps), strict=True):
        gradients, s = gradients_fn(params, k), jnp.float32(s)
        params, mask = obs_step(
            params, gradients, s, mask, prunable=prunable, damping=damping, block_size=block_size
        )
    return params, mask
