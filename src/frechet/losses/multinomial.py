"""The multinomial logistic loss."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from frechet.losses.linear_model import LinearModel, is_concrete


class Multinomial(LinearModel):
    r"""Logistic regression with K classes (softmax regression).

    $$\ell(z, y) = \log \sum_{k=1}^K e^{z_k} - z_y$$

    Convex; the Hessian $\mathrm{diag}(p) - p p^\top$ of the softmax has eigenvalues of at most 1/2. Adding
    the same vector to every column of w changes nothing, so without a penalty minimisers are not unique.

    Args:
        X: design, shape (n, p), dense or sparse.
        y: integer labels 0, ..., K - 1, shape (n,). The weights w have shape (p, K).
        sample_weight: weights, shape (n,), or None.

    Raises:
        ValueError: for a wrong shape, a float label or, where concrete, a negative one; when called, for a
            concrete label that w has no column for.

    Source: D. Böhning, "Multinomial logistic regression algorithm", 1992.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Multinomial(jnp.eye(3), jnp.array([0, 1, 2]))
        >>> round(float(f(jnp.zeros((3, 4)))), 4)
        1.3863
    """

    @property
    def curvature(self) -> float:
        """0.5"""
        return 0.5

    def targets(self, y: Array) -> Int[Array, " n"]:
        """The labels as they are."""
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}; Multinomial takes one label a row, shape (n,)")
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"y has dtype {y.dtype}; Multinomial takes integer labels 0, ..., K - 1")
        if is_concrete(y) and np.asarray(y).min() < 0:
            raise ValueError(f"y has the label {np.asarray(y).min()}; labels are 0, ..., K - 1")
        return y

    def check_prediction(self, z: Array) -> None:
        """One column of w a class."""
        if z.ndim != 2:
            raise ValueError(f"w has shape {self.X.shape[1:] + z.shape[1:]}; it needs to be (p, K)")
        if is_concrete(self.y) and (largest := np.asarray(self.y).max()) >= z.shape[1]:
            raise ValueError(f"y has the label {largest}, but w has {z.shape[1]} columns, one a class from 0")

    def pointwise(self, z: Float[Array, "n K"], y: Int[Array, " n"]) -> Float[Array, " n"]:
        """Cross entropy of the softmax of each row of z."""
        return cross_entropy(z, y)


def cross_entropy(z: Float[Array, "*n K"], y: Int[Array, "*n"]) -> Float[Array, "*n"]:
    """Cross entropy of the softmax of each row of ``z`` with integer labels; exact for large ``z`` too.

    Example:
        >>> round(float(cross_entropy(jnp.array([1e9, 1e9]), jnp.array(0))), 3)
        0.693
    """
    from optax.losses import softmax_cross_entropy_with_integer_labels

    # Less the largest, so that the differences of large ones are not lost.
    return softmax_cross_entropy_with_integer_labels(z - jax.lax.stop_gradient(z.max(-1, keepdims=True)), y)
