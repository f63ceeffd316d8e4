"""The function that is zero everywhere."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function


class Zero(Function):
    r"""$g(x) = 0$. Its proximal map is the identity and its residual the gradient itself.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fr.convex.Zero().residual(jnp.ones(2), jnp.array([1e-12, 0.0])).tolist()  # no cancellation
        [9.999999960041972e-13, 0.0]
    """

    smooth: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    box: ClassVar[bool] = True

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return jnp.zeros((), jnp.result_type(float, *jax.tree.leaves(x)))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return x

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        return value

    def residual(self, x: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Array]:
        return gradient
