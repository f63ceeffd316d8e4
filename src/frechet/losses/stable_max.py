"""StableMax in the place of softmax: a cross entropy that does not collapse in finite precision."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar


def _signed_log1p(x: Array) -> Array:
    """sign(x) log(1 + |x|); as a difference, whose derivative at zero is one, where the product's is zero."""
    return jnp.log1p(jnp.maximum(x, 0)) - jnp.log1p(jnp.maximum(-x, 0))


def stablemax(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    r"""Probabilities that grow like scores and not like their exponentials.

    $$\mathrm{StableMax}_i(x) = \frac{s(x_i)}{\sum_j s(x_j)}, \qquad
      s(x) = \begin{cases} x + 1 & x \ge 0 \\ 1 / (1 - x) & x < 0\end{cases}$$

    It is the softmax of $\mathrm{sign}(x) \log(1 + |x|)$.

    Args:
        x: scores.
        axis: the axis of the classes.

    Returns:
        Nonnegative numbers that sum to one along ``axis``.

    Source: Prieto, Barsbey, Mediano, Birdal, 2025, "Grokking at the edge of numerical stability", ICLR, arXiv
    2501.04697.

    Example:
        >>> stablemax(jnp.array([1.0, 0.0, 0.0]))
        Array([0.5 , 0.25, 0.25], dtype=float32)
    """
    return jax.nn.softmax(_signed_log1p(x), axis)


def stablemax_cross_entropy(logits: Float[Array, "*n K"], labels: Int[Array, "*n"]) -> Float[Array, "*n"]:
    r"""$-\log \mathrm{StableMax}_y(z)$ over the last axis; other axes are a batch.

    Softmax cross entropy is exactly zero, and with it the gradient in the true class, once that class leads
    by 17 in float32 (by 8 in float16, by 37 in float64): training stops. Here the loss falls off like
    one over the lead, and it is computed as $\log(1 + \sum_{k \ne y} s(z_k) / s(z_y))$, so that even what is
    below the resolution of 1 is told from zero.

    Args:
        logits: scores $z$ of the K classes.
        labels: the true classes $y$, integers 0, ..., K - 1.

    Returns:
        The loss of each row.

    Source: Prieto, Barsbey, Mediano, Birdal, 2025, "Grokking at the edge of numerical stability", ICLR, arXiv
    2501.04697.

    Example:
        >>> z = jnp.array([1e6, 0.0, 0.0])
        >>> float(f"{stablemax_cross_entropy(z, jnp.array(0)):.3g}")
        2e-06
    """
    g = _signed_log1p(logits)
    true = labels[..., None] == jnp.arange(logits.shape[-1])
    lead = jnp.take_along_axis(g, labels[..., None], axis=-1)
    return jax.nn.softplus(jax.nn.logsumexp(g - lead, axis=-1, where=~true))


def softmax_collapse_rate(logits: Float[Array, "*n K"], labels: Int[Array, "*n"]) -> Scalar:
    r"""The share of rows whose softmax cross entropy is exactly zero in the dtype of the scores.

    These are the rows with $\sum_k e^{z_k - z_y} = 1$ as computed. They add nothing to the gradient in the
    score of the true class.

    Args:
        logits: scores $z$ of the K classes.
        labels: the true classes $y$, integers 0, ..., K - 1.

    Source: Prieto, Barsbey, Mediano, Birdal, 2025, "Grokking at the edge of numerical stability", ICLR, arXiv
    2501.04697.

    Example:
        >>> z = jnp.array([[20.0, 0.0], [10.0, 0.0]])
        >>> softmax_collapse_rate(z, jnp.array([0, 0]))
        Array(0.5, dtype=float32)
    """
    lead = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    total = jnp.sum(jnp.exp(logits - lead), axis=-1)
    return jnp.mean(total == 1)
