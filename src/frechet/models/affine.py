"""Affine maps: the optimal ones between Gaussians, and what learned maps start from."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.convex.parameters import floating
from frechet.derivatives.psd_root import psd_root


class AffineMap(eqx.Module):
    r"""$T(x) = A x + b$.

    With $A$ symmetric positive semi-definite it is the gradient of a convex function, hence the optimal map
    for the squared distance from any measure to its image.

    Args:
        A: shape (d, d).
        b: shape (d,); zero when left out.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> AffineMap(2 * jnp.eye(2), jnp.array([1.0, 0.0]))(jnp.array([1.0, 1.0])).tolist()
        [3.0, 2.0]
    """

    A: Float[Array, "d d"]
    b: Float[Array, " d"]

    def __init__(self, A: Any, b: Any = None):
        self.A = floating(A)
        self.b = jnp.zeros(self.A.shape[:1], self.A.dtype) if b is None else floating(b)
        if self.A.ndim != 2 or self.A.shape != (*self.b.shape, *self.b.shape):
            raise ValueError(f"A is of shape (d, d) and b of (d,), got {self.A.shape} and {self.b.shape}")

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.A @ x + self.b

    @classmethod
    def between(cls, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> "AffineMap":
        r"""The optimal map between the Gaussians that have the means and covariances of two samples.

        $$A = C_x^{-1/2} (C_x^{1/2} C_y C_x^{1/2})^{1/2} C_x^{-1/2}, \qquad b = \mu_y - A\mu_x.$$

        Args:
            x: the source's sample, of a covariance that can be inverted, shape (n, d).
            y: the target's, shape (m, d).

        Source: Dowson, Landau 1982, The Fréchet distance between multivariate normal distributions, Journal
        of Multivariate Analysis 12; as a start: Bunne, Krause, Cuturi 2022, Supervised training of
        conditional Monge maps, arXiv 2206.14262.

        Example:
            >>> import jax.numpy as jnp
            >>> x = jnp.array([[-1.0], [1.0]])
            >>> AffineMap.between(x, 3 * x + 1)(jnp.array([2.0])).round(4).tolist()
            [7.0]
        """
        x, y = floating(x), floating(y)
        return gaussian_map(
            jnp.mean(x, 0),
            jnp.cov(x.T).reshape(x.shape[1], -1),
            jnp.mean(y, 0),
            jnp.cov(y.T).reshape(y.shape[1], -1),
        )


def gaussian_map(
    mean1: Float[Array, " d"], cov1: Float[Array, "d d"], mean2: Float[Array, " d"], cov2: Float[Array, "d d"]
) -> AffineMap:
    """The optimal map for the squared distance between two Gaussians; see `AffineMap.between`.

    Args:
        mean1: of the source, shape (d,).
        cov1: of the source, positive definite, shape (d, d).
        mean2: of the target.
        cov2: of the target, positive semi-definite.

    Example:
        >>> import jax.numpy as jnp
        >>> zero, one = jnp.zeros(2), jnp.ones(2)
        >>> gaussian_map(zero, jnp.eye(2), one, jnp.diag(jnp.array([4.0, 0.25]))).A.round(4).tolist()
        [[2.0, 0.0], [0.0, 0.5]]
    """
    root = psd_root(cov1)
    inverse = jnp.linalg.inv(root)
    A = inverse @ psd_root(root @ cov2 @ root) @ inverse
    A = (A + A.T) / 2
    return AffineMap(A, mean2 - A @ mean1)
