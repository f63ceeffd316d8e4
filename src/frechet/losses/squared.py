"""The squared loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.losses.linear_model import LinearModel


class Squared(LinearModel):
    r"""Least squares.

    $$\ell(z, y) = \tfrac{1}{2} \|z - y\|^2$$

    Convex and quadratic, with second derivative 1.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: targets, shape (n,), or (n, k) for k targets a row with `w` of shape (p, k).
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Squared(jnp.eye(2), jnp.array([1.0, 3.0]))
        >>> float(f(jnp.zeros(2)))
        2.5
    """

    @property
    def curvature(self) -> float:
        """1.0"""
        return 1.0

    def targets(self, y: Array) -> Array:
        """Any number of real targets a row."""
        return y.astype(self.X.dtype)

    def pointwise(self, z: Float[Array, "n ..."], y: Float[Array, "n ..."]) -> Float[Array, " n"]:
        """Half the squared distance of each prediction."""
        return 0.5 * jnp.sum(jnp.square(z - y), axis=range(1, z.ndim))
