"""The quantile loss."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from frechet.losses.linear_model import LinearModel, is_concrete, positive_parameter


class Quantile(LinearModel):
    r"""Quantile regression (the pinball loss); q = 1/2 is half the absolute error.

    $$\ell(z, y) = \max\bigl(q r, (q - 1) r\bigr), \qquad r = y - z$$

    Convex but not differentiable at r = 0, where the gradient is one subgradient: a minimiser need not
    have gradient zero, so solvers of smooth problems do not fit.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: targets, shape (n,).
        q: the quantile, a scalar strictly between 0 and 1.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or a concrete q that is not between 0 and 1.

    Source: R. Koenker, G. Bassett, "Regression quantiles", 1978.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Quantile(jnp.eye(2), jnp.array([1.0, -1.0]), q=0.75)
        >>> float(f(jnp.zeros(2)))
        0.5
    """

    q: float | Scalar

    def __init__(self, X: Any, y: Any, q: float | Scalar = 0.5, *, sample_weight: Any = None):
        super().__init__(X, y, sample_weight=sample_weight)
        self.q = positive_parameter("q", q)
        if is_concrete(q) and np.asarray(q).max() >= 1:
            raise ValueError(f"q is {q}; it needs to be between 0 and 1")

    @property
    def curvature(self) -> float:
        """inf: the slope jumps at residual 0"""
        return float("inf")

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """max(q r, (q - 1) r) of the residual r = y - z."""
        r = y - z
        return jnp.maximum(self.q * r, (self.q - 1) * r)
