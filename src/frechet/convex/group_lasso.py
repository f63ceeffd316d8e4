"""The sum of the Euclidean norms of groups of coordinates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Scalar

from frechet.convex.l2 import shrink
from frechet.convex.parameters import known, parameter
from frechet.convex.vector import Vector


class GroupLasso(Vector):
    r"""$g(x) = \sum_k w_k \|x_{G_k}\|_2$ over disjoint groups $G_k$ of coordinates.

    All leaves of ``x`` together are one vector, so a group may cross leaves. At $\|x_{G_k}\| = s w_k$ the
    derivative of the proximal map is that of the zero piece: 0.

    Args:
        labels: the group of each coordinate, integers from 0; a pytree like ``x`` or the raveled vector.
        weight: $w \ge 0$, a scalar or one for each group, shape ``(groups,)``; the square roots of the group
            sizes treat large and small groups alike.

    Raises:
        TypeError: labels that are not integers, or traced (the number of groups has to be known).
        ValueError: a label or a weight below zero.

    Source: Yuan and Lin, 2006, "Model selection and estimation in regression with grouped variables",
    JRSS B 68(1).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.GroupLasso(labels=[0, 0, 1], weight=jnp.array([2.5, 1.0]))
        >>> g.prox(jnp.array([3.0, 4.0, 0.5]), 1.0).tolist()
        [1.5, 2.0, 0.0]
    """

    labels: Int[Array, " n"]
    weight: Any
    groups: int = eqx.field(static=True)

    def __init__(self, labels: PyTree[Any], weight: Any = 1.0):
        leaves = jax.tree.leaves(labels)
        if not known(*leaves):
            raise TypeError(
                "labels must be known, not traced; make the GroupLasso outside of the transformation"
            )
        flat = np.concatenate([np.ravel(leaf) for leaf in leaves])
        if not np.issubdtype(flat.dtype, np.integer):
            raise TypeError(f"labels must be integers, got {flat.dtype}")
        if np.min(flat) < 0:
            raise ValueError(f"labels must be at least 0, got {np.min(flat)}")
        self.labels = jnp.asarray(flat)
        self.weight = parameter("weight", weight, least=0)
        self.groups = int(np.max(flat)) + 1

    def _norms(self, x: Float[Array, " n"]) -> Float[Array, " groups"]:
        if x.shape != self.labels.shape:
            raise ValueError(f"x has {x.size} entries but labels has {self.labels.size}")
        squares = jax.ops.segment_sum(jnp.square(x), self.labels, self.groups)
        return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))

    def _weights(self, x: Float[Array, " n"]) -> Array:
        weight = jnp.asarray(self.weight, x.dtype)
        if weight.shape not in ((), (self.groups,)):
            raise ValueError(
                f"weight must be a scalar or of shape ({self.groups},), got shape {weight.shape}"
            )
        return weight

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        return jnp.sum(self._weights(x) * self._norms(x))

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        return shrink(self._norms(x), step * self._weights(x))[self.labels] * x
