"""Fenchel-Young losses, whose gradient in the scores is a prediction less a target."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, Int

from frechet.losses.multinomial import Multinomial


def fenchel_young_loss(
    conjugate: Callable[..., Any],
) -> Callable[..., Float[Array, "..."]]:
    r"""$(z, y) \mapsto \Omega^*(z) - \langle z, y\rangle$, over the last axis; other axes are a batch.

    With $\Omega(y)$ added, which does not depend on the scores $z$, it is nonnegative and zero iff $y$ is the
    prediction $\nabla \Omega^*(z)$; its gradient in $z$ is the prediction less $y$. The conjugate may
    be a log-sum-exp (logistic loss), a maximum over structures (perceptron) or a
    `frechet.derivatives.perturbed_max` of one, where further arguments, such as a key, are handed on.

    Args:
        conjugate: $\Omega^*$, from scores of shape (n,) to a scalar.

    Returns:
        A function of scores and targets, both of shape (..., n), and further arguments of ``conjugate``.

    Source: Blondel, Martins and Niculae, 2020, "Learning with Fenchel-Young losses", JMLR 21, arXiv
    1901.02324.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logistic = fenchel_young_loss(jax.nn.logsumexp)
        >>> round(float(logistic(jnp.zeros(4), jnp.array([0.0, 1.0, 0.0, 0.0]))), 4)
        1.3863
    """
    from optax.losses import make_fenchel_young_loss

    return make_fenchel_young_loss(conjugate)


class Sparsemax(Multinomial):
    r"""Classification by the projection of the scores onto the simplex: probabilities with exact zeros.

    $$\ell(z, y) = \max_{p \in \Delta} \left(\langle p, z\rangle - \tfrac12 \|p\|^2\right) + \tfrac12 - z_y$$

    Convex, with gradient $\mathrm{proj}_\Delta(z) - e_y$, so zero as soon as $z_y$ exceeds the others by one.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: integer labels 0, ..., K - 1, shape (n,). The weights w have shape (p, K).
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: as `Multinomial`.

    Source: Martins and Astudillo, 2016, "From softmax to sparsemax", ICML, arXiv 1602.02068.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Sparsemax(jnp.eye(2), jnp.array([0, 1]))
        >>> float(f(jnp.array([[1.0, 0.0], [0.0, 0.0]])))
        0.125
    """

    @property
    def curvature(self) -> float:
        """1.0"""
        return 1.0

    def pointwise(self, z: Float[Array, "n K"], y: Int[Array, " n"]) -> Float[Array, " n"]:
        """Optax's loss of each row of z."""
        from optax.losses import multiclass_sparsemax_loss

        return multiclass_sparsemax_loss(z, y)
