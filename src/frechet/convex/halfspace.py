"""A halfspace."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.linear_constraint import LinearConstraint
from frechet.convex.parameters import feasible, floating


class Halfspace(LinearConstraint):
    r"""Indicator of $\{x : \langle a, x\rangle \le b\}$.

    On the boundary the derivative of the projection is that of the interior: the identity.

    Args:
        a: $a \ne 0$, a pytree like ``x`` (numbers stand for constant leaves).
        b: a scalar.

    Raises:
        ValueError: ``a`` is zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Halfspace(jnp.array([1.0, 1.0]), 1.0)
        >>> g.prox(jnp.array([2.0, 0.0]), 1.0).tolist(), g.prox(jnp.array([0.5, 0.0]), 1.0).tolist()
        ([1.5, -0.5], [0.5, 0.0])
    """

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return feasible(*self.excess(floating(x)))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        x = floating(x)
        inside = self.excess(x)[0] <= 0
        return jax.tree.map(lambda v, p: jnp.where(inside, v, p), x, self.boundary(x))
