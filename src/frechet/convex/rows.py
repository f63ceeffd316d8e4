"""One function for each row of an array."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function, function


class Rows(Function):
    r"""$\sum_i g(x_i)$ over the rows $x_i$ = ``x[i]``, along the leading axis of every leaf of ``x``.

    With the Euclidean norm it is the group lasso of a coefficient matrix, with the simplex the set of
    matrices whose rows are distributions.

    Args:
        g: a function of one row.

    Raises:
        TypeError: ``g`` is not a function of this kind.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Rows(fr.convex.L2(1.0))
        >>> g.prox(jnp.array([[0.0, 4.0], [0.3, 0.4]]), 1.0).tolist()
        [[0.0, 3.0], [0.0, 0.0]]
    """

    rowwise: ClassVar[bool] = True

    g: Function = eqx.field(converter=function)

    @property
    def compact(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the function of one row is."""
        return self.g.compact

    @property
    def entropic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the function of one row is."""
        return self.g.entropic

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return jnp.sum(jax.vmap(self.g)(x))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return jax.vmap(lambda row: self.g.prox(row, step))(x)

    def prox_row(self, value: Array, index: Any, step: Any) -> Array:
        return self.g.prox(value, step)

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        return jax.vmap(self.g.linear_min)(direction)

    def entropy_prox(self, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        return jax.vmap(lambda row: self.g.entropy_prox(row, step))(dual)
