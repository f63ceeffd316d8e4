"""A hyperplane."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.linear_constraint import LinearConstraint
from frechet.convex.parameters import feasible, floating


class Hyperplane(LinearConstraint):
    r"""Indicator of $\{x : \langle a, x\rangle = b\}$.

    Args:
        a: $a \ne 0$, a pytree like ``x`` (numbers stand for constant leaves).
        b: a scalar.

    Raises:
        ValueError: ``a`` is zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.Hyperplane(jnp.array([1.0, 1.0]), 1.0).prox(jnp.array([2.0, 0.0]), 1.0).tolist()
        [1.5, -0.5]
    """

    def __call__(self, x: PyTree[Array]) -> Scalar:
        excess, size = self.excess(floating(x))
        return feasible(jnp.abs(excess), size)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.boundary(floating(x))
