"""The nuclear norm."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from frechet.convex.l1 import soft_threshold
from frechet.convex.leafwise import Leafwise
from frechet.convex.parameters import parameter


@jax.custom_jvp
def threshold_singular_values(
    x: Float[Array, "*batch m n"], threshold: Float[Array, "*batch"]
) -> Float[Array, "*batch m n"]:
    """Soft thresholding of the singular values."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return (u * soft_threshold(s, threshold[..., None])[..., None, :]) @ vt


@threshold_singular_values.defjvp
def _threshold_singular_values_jvp(primals, tangents):
    # Let f be the thresholding. In the singular bases the symmetric part of the direction is multiplied by
    # (f_i - f_j) / (s_i - s_j), the antisymmetric part by (f_i + f_j) / (s_i + s_j), and what lies outside of
    # the range of U or V by f_i / s_i. Autodiff of `svd` divides by differences that may be zero.
    (x, threshold), (dx, dthreshold) = primals, tangents
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    ut, v = jnp.swapaxes(u, -1, -2), jnp.swapaxes(vt, -1, -2)
    t = threshold[..., None]
    kept = (s > t) | (t <= 0)
    f = jnp.where(kept, s - t, 0)

    def pairs(values):
        return values[..., :, None], values[..., None, :]

    (kept_i, kept_j), (s_i, s_j), (f_i, f_j) = pairs(kept), pairs(s), pairs(f)
    both, one, some = kept_i & kept_j, kept_i ^ kept_j, s_i + s_j > 0
    difference = jnp.where(one, jnp.abs(f_i - f_j) / jnp.where(one, jnp.abs(s_i - s_j), 1), both)
    total = jnp.where(some, (f_i + f_j) / jnp.where(some, s_i + s_j, 1), both)
    ratio = jnp.where(s > 0, f / jnp.where(s > 0, s, 1), kept)

    core = ut @ dx @ v
    core_t = jnp.swapaxes(core, -1, -2)
    inner = difference * (core + core_t) / 2 + total * (core - core_t) / 2
    inner = inner - jnp.eye(s.shape[-1], dtype=x.dtype) * (kept * dthreshold[..., None])[..., None, :]
    tangent = u @ inner @ vt
    if x.shape[-2] > x.shape[-1]:
        tangent = tangent + ((dx @ v - u @ core) * ratio[..., None, :]) @ vt
    elif x.shape[-2] < x.shape[-1]:
        tangent = tangent + (u * ratio[..., None, :]) @ (ut @ dx - core @ vt)
    return (u * f[..., None, :]) @ vt, tangent


@jax.custom_jvp
def nuclear_norm(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    """The sum of singular values. Its derivative is zero along singular vectors of zero ones."""
    return jnp.sum(jnp.linalg.svd(x, compute_uv=False), axis=-1)


@nuclear_norm.defjvp
def _nuclear_norm_jvp(primals, tangents):
    # Autodiff of `svd` would complete the singular bases of a deficient matrix in some way of its own.
    (x,), (dx,) = primals, tangents
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    noise = max(x.shape[-2:]) * jnp.finfo(x.dtype).eps * jnp.max(s, axis=-1, keepdims=True, initial=0)
    polar = (u * (s > noise)[..., None, :]) @ vt
    return jnp.sum(s, axis=-1), jnp.sum(polar * dx, axis=(-2, -1))


class Nuclear(Leafwise):
    r"""$g(X) = w \|X\|_*$, the sum of the singular values of each leaf of ``x``, a matrix or a batch of them.

    The proximal map soft-thresholds the singular values. Its derivative is exact for repeated and zero
    singular values; one that equals $s w > 0$ counts as dropped. Second derivatives need distinct ones.

    Args:
        weight: $w \ge 0$; a number, an array of the batch's shape, or a prefix pytree of ``x``.

    Raises:
        ValueError: a weight below zero, or a leaf with fewer than two axes.

    Source: Cai, Candès and Shen, 2010, "A singular value thresholding algorithm for matrix completion", SIAM
    Journal on Optimization 20(4), arXiv:0810.3286.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Nuclear(1.0)
        >>> g.prox(jnp.diag(jnp.array([3.0, 0.5])), 1.0).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """

    weight: PyTree[Any] = eqx.field(default=1.0, converter=lambda w: parameter("weight", w, least=0))

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise ValueError(f"Nuclear takes matrices, got a leaf of shape {shape}")
        return shape[:-2]

    def leaf_value(self, value: Array, weight: Array) -> Array:
        return weight * nuclear_norm(value)

    def leaf_prox(self, value: Array, step: Array, weight: Array) -> Array:
        return threshold_singular_values(value, jnp.broadcast_to(step * weight, value.shape[:-2]))
