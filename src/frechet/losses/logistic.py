"""The logistic loss."""

import jax
from jaxtyping import Array, Float

from frechet.losses.labels import TwoClass


class Logistic(TwoClass):
    r"""Logistic regression with two classes.

    $$\ell(z, y) = \log(1 + e^{-yz}), \qquad y \in \{-1, 1\}$$

    Convex, with second derivative at most 1/4. One softplus of the signed prediction is accurate in
    both tails and costs half of `optax.losses.sigmoid_binary_cross_entropy`, which takes two.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: labels, shape (n,), all in {0, 1} or all in {-1, 1}; stored as -1.0 and 1.0.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or, where they are concrete, other labels.

    Source: D. R. Cox, "The regression analysis of binary sequences", 1958.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Logistic(jnp.array([[1.0], [-1.0]]), jnp.array([1, 0]))
        >>> round(float(f(jnp.zeros(1))), 4)
        0.6931
    """

    @property
    def curvature(self) -> float:
        """0.25"""
        return 0.25

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """log(1 + exp(-y z))."""
        return jax.nn.softplus(-y * z)
