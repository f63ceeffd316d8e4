"""The root of a positive semi-definite matrix, with a derivative where eigenvalues coincide."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def psd_root(a: Float[Array, "d d"]) -> Float[Array, "d d"]:
    r"""The positive semi-definite $X$ with $X^2 = A$.

    Its derivative solves $X\,dX + dX\,X = dA$ in the basis of eigenvectors, so it exists where eigenvalues
    coincide; in directions that leave the range of a singular matrix it has none and is taken as zero.

    Args:
        a: symmetric; eigenvalues below zero are rounding and count as zero.

    Source: Higham 2008, Functions of matrices, chapter 6.

    Example:
        >>> psd_root(jnp.array([[5.0, 4.0], [4.0, 5.0]])).round(3).tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """
    w, v = jnp.linalg.eigh(a)
    return (v * jnp.sqrt(jnp.maximum(w, 0))) @ v.T


@psd_root.defjvp
def _psd_root_jvp(primals, tangents):
    (a,), (da,) = primals, tangents
    w, v = jnp.linalg.eigh(a)
    w = jnp.where(w > len(w) * jnp.finfo(w.dtype).eps * jnp.max(jnp.abs(w), initial=0), w, 0)
    roots = jnp.sqrt(w)
    sums = roots[:, None] + roots
    inverse = jnp.where(sums > 0, 1 / jnp.where(sums > 0, sums, 1), 0)
    return psd_root(a), v @ (inverse * (v.T @ (da + da.T) @ v / 2)) @ v.T
