"""The Huber loss."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.losses.linear_model import LinearModel, positive_parameter


class Huber(LinearModel):
    r"""Robust regression: squared for small residuals, linear for large ones.

    $$\ell(z, y) = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\
    \delta |r| - \tfrac12 \delta^2 & |r| > \delta \end{cases}, \qquad r = z - y$$

    Convex and once differentiable; the second derivative is 1 inside and 0 outside. It is written with
    the clipped residual, which keeps that 1 at r = 0, where a formula in |r| (`optax.losses.huber_loss`)
    gives a second derivative of 0.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: targets, shape (n,).
        delta: where it turns linear, in units of y; a positive scalar.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or a concrete delta that is not positive.

    Source: P. J. Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Huber(jnp.eye(2), jnp.array([1.0, 3.0]), delta=1.0)
        >>> float(f(jnp.zeros(2)))
        1.5
    """

    delta: float | Scalar

    def __init__(self, X: Any, y: Any, delta: float | Scalar = 1.0, *, sample_weight: Any = None):
        super().__init__(X, y, sample_weight=sample_weight)
        self.delta = positive_parameter("delta", delta)

    @property
    def curvature(self) -> float:
        """1.0"""
        return 1.0

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """The Huber function of the residual."""
        r = z - y
        inner = jnp.clip(r, -self.delta, self.delta)
        return inner * (r - 0.5 * inner)
