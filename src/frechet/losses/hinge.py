"""The hinge loss, its square and its smoothing: support vector machines."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.losses.labels import TwoClass
from frechet.losses.linear_model import positive_parameter


class Hinge(TwoClass):
    r"""The loss of the support vector machine.

    $$\ell(z, y) = \max(0, 1 - yz), \qquad y \in \{-1, 1\}$$

    Convex but not differentiable at margin 1, where the gradient is one subgradient: a minimiser need
    not have gradient zero, so solvers of smooth problems do not fit. `SmoothedHinge` is for those.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: labels, shape (n,), all in {0, 1} or all in {-1, 1}; stored as -1.0 and 1.0.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or, where they are concrete, other labels.

    Source: C. Cortes, V. Vapnik, "Support-vector networks", 1995.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Hinge(jnp.eye(2), jnp.array([1, -1]))
        >>> float(f(jnp.array([3.0, 1.0])))
        1.0
    """

    @property
    def curvature(self) -> float:
        """inf: the slope jumps at margin 1"""
        return float("inf")

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """max(0, 1 - y z)."""
        from optax.losses import hinge_loss

        return hinge_loss(z, y)


class SquaredHinge(TwoClass):
    r"""The squared hinge loss.

    $$\ell(z, y) = \max(0, 1 - yz)^2, \qquad y \in \{-1, 1\}$$

    Convex and once differentiable; the second derivative is 2 below margin 1 and 0 above.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: labels, shape (n,), all in {0, 1} or all in {-1, 1}; stored as -1.0 and 1.0.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or, where they are concrete, other labels.

    Source: K.-W. Chang, C.-J. Hsieh, C.-J. Lin, "Coordinate descent method for large-scale L2-loss linear
        support vector machines", 2008.

    Example:
        >>> import jax.numpy as jnp
        >>> f = SquaredHinge(jnp.eye(2), jnp.array([1, -1]))
        >>> float(f(jnp.array([3.0, 1.0])))
        2.0
    """

    @property
    def curvature(self) -> float:
        """2.0"""
        return 2.0

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """max(0, 1 - y z) squared."""
        return jnp.square(jnp.maximum(0, 1 - y * z))


class SmoothedHinge(TwoClass):
    r"""The hinge loss with a quadratic piece of a given width below margin 1.

    $$\ell(z, y) = \begin{cases} 0 & h \le 0 \\ h^2 / (2\gamma) & 0 < h < \gamma \\
    h - \gamma / 2 & h \ge \gamma \end{cases}, \qquad h = 1 - yz, \quad y \in \{-1, 1\}$$

    Convex and once differentiable, between `Hinge` minus gamma / 2 and `Hinge`; the second derivative is
    at most 1 / gamma.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: labels, shape (n,), all in {0, 1} or all in {-1, 1}; stored as -1.0 and 1.0.
        gamma: width of the quadratic piece in units of the margin; a positive scalar.
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or, where they are concrete, other labels or a gamma not above 0.

    Source: S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized loss
        minimization", 2013, arXiv:1209.1873.

    Example:
        >>> import jax.numpy as jnp
        >>> f = SmoothedHinge(jnp.eye(2), jnp.array([1, -1]), gamma=1.0)
        >>> float(f(jnp.array([3.0, 1.0])))
        0.75
    """

    gamma: float | Scalar

    def __init__(self, X: Any, y: Any, gamma: float | Scalar = 1.0, *, sample_weight: Any = None):
        super().__init__(X, y, sample_weight=sample_weight)
        self.gamma = positive_parameter("gamma", gamma)

    @property
    def curvature(self) -> float | Scalar:
        """1 / gamma"""
        return 1 / self.gamma

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """The smoothed hinge of the margin."""
        h = 1 - y * z
        inner = jnp.clip(h, 0, self.gamma)
        return inner * (h - 0.5 * inner) / self.gamma
