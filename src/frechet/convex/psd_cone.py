"""The cone of positive semidefinite matrices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.convex.leafwise import Leafwise
from frechet.convex.parameters import feasible


def symmetric(x: Array) -> Array:
    """The symmetric part of the matrices in the last two axes."""
    return (x + jnp.swapaxes(x, -1, -2)) / 2


@jax.custom_jvp
def project_psd(x: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """Euclidean projection of symmetric matrices onto the positive semidefinite ones."""
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    return symmetric(
        (vectors * jnp.where(values < 0, 0, values)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)
    )


@project_psd.defjvp
def _project_psd_jvp(primals, tangents):
    # In the eigenbasis the derivative multiplies entry (i, j) by the divided difference of max(., 0) at the
    # two eigenvalues (Löwner). Autodiff of `eigh` divides by their difference, which may be zero.
    (x,), (dx,) = primals, tangents
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    transposed = jnp.swapaxes(vectors, -1, -2)
    kept = values >= 0
    clipped = jnp.where(kept, values, 0)
    out = symmetric((vectors * clipped[..., None, :]) @ transposed)
    both = kept[..., :, None] & kept[..., None, :]
    one = kept[..., :, None] ^ kept[..., None, :]
    gap = jnp.abs(values[..., :, None] - values[..., None, :])
    height = jnp.abs(clipped[..., :, None] - clipped[..., None, :])
    quotient = jnp.where(one, height / jnp.where(one, gap, 1), both)
    return out, symmetric(vectors @ (quotient * (transposed @ dx @ vectors)) @ transposed)


class PSDCone(Leafwise):
    r"""Indicator of $\{X : X = X^T \succeq 0\}$ for each leaf of ``x``, a square matrix or a batch of them.

    The projection takes the symmetric part and drops its negative eigenvalues. Its derivative is exact for
    repeated eigenvalues; a zero eigenvalue counts as positive. Second derivatives need distinct ones.

    Raises:
        ValueError: a leaf whose last two axes are not square.

    Source: Higham, 1988, "Computing a nearest symmetric positive semidefinite matrix", Linear Algebra and its
    Applications 103; Malick and Sendov, 2006, "Clarke generalized Jacobian of the projection onto the cone of
    positive semidefinite matrices", Set-Valued Analysis 14.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.PSDCone().prox(jnp.diag(jnp.array([2.0, -1.0])), 1.0).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(f"PSDCone takes square matrices, got a leaf of shape {shape}")
        return ()

    def leaf_value(self, value: Array) -> Array:
        self.parameter_shape(value.shape)
        skew = jnp.max(jnp.abs(value - jnp.swapaxes(value, -1, -2)), initial=0)
        values = jnp.linalg.eigvalsh(symmetric(value))
        return feasible(jnp.maximum(skew, -jnp.min(values)), jnp.max(jnp.abs(values)))

    def leaf_prox(self, value: Array, step: Array) -> Array:
        return project_psd(symmetric(value))
