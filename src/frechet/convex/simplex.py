"""The simplex."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.parameters import feasible, floating, parameter
from frechet.convex.polytope import Polytope
from frechet.convex.vector import scalar


def project_simplex(x: Float[Array, " n"], scale: Array) -> Float[Array, " n"]:
    """Euclidean projection onto the nonnegative vectors that sum to ``scale``."""
    # The projection does not see a constant added to all entries; without it the sums below do not cancel.
    shifted = x - lax.stop_gradient(jnp.max(x))
    ordered = jnp.sort(lax.stop_gradient(shifted), descending=True)
    below = jnp.cumsum(ordered) - lax.stop_gradient(scale)
    kept = jnp.sum(jnp.arange(1, x.size + 1) * ordered > below)
    # Given which entries stay positive, a formula, which JAX differentiates by itself. They are compared with
    # the threshold, not with the least of them: XLA may round the two computations of that one differently.
    dropped = shifted <= below[kept - 1] / kept
    threshold = (jnp.sum(jnp.where(dropped, 0, shifted)) - scale) / jnp.sum(~dropped)
    return jnp.where(dropped | (shifted < threshold), 0, shifted - threshold)


class Simplex(Polytope):
    r"""Indicator of $\{x : x_i \ge 0,\ \sum_i x_i = c\}$; all leaves of ``x`` together are one vector.

    The derivative of the projection is that of the face of the positive entries: where an entry sits
    exactly on the edge of being positive, it counts as zero.

    Args:
        scale: $c > 0$, a scalar.

    Raises:
        ValueError: a scale not above zero.

    Source: Held, Wolfe and Crowder, 1974, "Validation of subgradient optimization", Mathematical
    Programming 6; Duchi et al., 2008, "Efficient projections onto the l1-ball for learning in high
    dimensions", ICML.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.Simplex().prox(jnp.array([0.5, 1.0, -1.0]), 1.0).tolist()
        [0.25, 0.75, 0.0]
    """

    entropic: ClassVar[bool] = True

    scale: Any = eqx.field(default=1.0, converter=lambda s: parameter("scale", s, positive=True))

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        scale = scalar("scale", self.scale, x)
        return feasible(jnp.maximum(jnp.max(-x), jnp.abs(jnp.sum(x) - scale)), scale)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        return project_simplex(x, scalar("scale", self.scale, x))

    def products(self, direction: Float[Array, " n"]) -> Float[Array, " n"]:
        return scalar("scale", self.scale, direction) * direction

    def combination(self, weights: Float[Array, " n"]) -> Float[Array, " n"]:
        return scalar("scale", self.scale, weights) * weights

    def weights(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return x / scalar("scale", self.scale, x)

    def entropy_prox(self, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        flat, unravel = ravel_pytree(floating(dual))
        return unravel(scalar("scale", self.scale, flat) * jax.nn.softmax(flat))
