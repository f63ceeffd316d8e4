"""The memory of Anderson mixing by its Gram matrix: cheap where the map is a few products with a vector."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int, Scalar

from frechet.core import tree


class MixingMemory(eqx.Module):
    r"""The last differences of points and of their residuals $r = T(x) - x$, a row each, zero where unused.

    The Gram matrix of the residuals' differences is kept up to date, so that learning costs one product
    with the memory and mixing a factorisation of its size; a QR of all of it, as in
    `frechet.solvers.Anderson`, is more accurate and would cost more than a map of two matrix products.

    Source: Anderson 1965, Iterative procedures for nonlinear integral equations; Walker, Ni 2011, Anderson
    acceleration for fixed-point iterations.
    """

    points: Float[Array, "history n"]
    residuals: Float[Array, "history n"]
    gram: Float[Array, "history history"]
    count: Int[Array, ""]

    @classmethod
    def empty(cls, history: int, size: int, dtype: Any) -> "MixingMemory":
        """One that knows nothing yet."""
        zero = lambda *shape: jnp.zeros(shape, dtype)  # noqa: E731
        return cls(zero(history, size), zero(history, size), zero(history, history), jnp.zeros((), jnp.int32))

    def learnt(self, point: Float[Array, " n"], residual: Float[Array, " n"]) -> "MixingMemory":
        """With another pair of differences, in place of the oldest."""
        slot = self.count % self.gram.shape[0]
        residuals = self.residuals.at[slot].set(residual)
        products = residuals @ residual
        gram = self.gram.at[slot].set(products).at[:, slot].set(products)
        return MixingMemory(self.points.at[slot].set(point), residuals, gram, self.count + 1)

    def mixed(self, image: Float[Array, " n"], residual: Float[Array, " n"]) -> Float[Array, " n"]:
        r"""$T(x) - (\Delta X + \Delta R)^\top\gamma$ with $\gamma = \arg\min \|r - \Delta R^\top\gamma\|$.

        Differences have length one in the least squares, and a ridge of the root of the dtype's epsilon.
        """
        square = jnp.diagonal(self.gram)
        used = square > 0
        scale = jnp.where(used, 1 / jnp.sqrt(jnp.where(used, square, 1)), 0)
        ridge = jnp.where(used, jnp.finfo(scale.dtype).eps ** 0.5, 1)
        factor = jnp.linalg.cholesky(self.gram * scale[:, None] * scale + jnp.diag(ridge))
        gamma = scale * cho_solve((factor, True), scale * (self.residuals @ residual))
        return image - jnp.where(tree.all_finite(gamma), gamma, 0) @ (self.points + self.residuals)

    def cleared(self, condition: Scalar) -> "MixingMemory":
        """Empty where the condition holds."""
        history, size = self.points.shape
        return tree.where(condition, MixingMemory.empty(history, size, self.points.dtype), self)
