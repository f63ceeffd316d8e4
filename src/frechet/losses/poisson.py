"""The Poisson loss."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from frechet.losses.linear_model import LinearModel, is_concrete


class Poisson(LinearModel):
    r"""Poisson regression of counts with the log link.

    $$\ell(z, y) = e^z - yz$$

    Half the Poisson deviance of the mean $e^z$ up to a term in y alone. Convex; the second derivative
    $e^z$ has no bound, so methods that need a Lipschitz constant have to search for a step.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: counts or rates, at least 0, shape (n,).
        sample_weight: weights (exposures), shape (n,), or None.

    Raises:
        ValueError: for a wrong shape or, where they are concrete, a negative target.

    Source: J. A. Nelder, R. W. M. Wedderburn, "Generalized linear models", 1972.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Poisson(jnp.eye(2), jnp.array([0, 4]))
        >>> float(f(jnp.zeros(2)))
        1.0
    """

    @property
    def curvature(self) -> float:
        """inf"""
        return float("inf")

    def targets(self, y: Array) -> Float[Array, " n"]:
        """Checked to be counts or rates."""
        y = super().targets(y)
        if is_concrete(y) and (np.asarray(y) < 0).any():
            raise ValueError(f"y has the value {np.nanmin(np.asarray(y)):g}; Poisson targets are at least 0")
        return y

    def pointwise(self, z: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
        """exp(z) - y z."""
        return jnp.exp(z) - y * z
