"""What a hyperplane and a halfspace share: a normal vector and an offset."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import known, matched, parameter


def _nonzero(a: PyTree[Any]) -> PyTree[Any]:
    a = parameter("a", a)
    leaves = jax.tree.leaves(a)
    if known(*leaves) and not any(np.any(np.asarray(leaf)) for leaf in leaves):
        raise ValueError("a must not be zero: it is the normal vector")
    return a


class LinearConstraint(Function):
    """A set that is given by the sign of ``<a, x> - b``."""

    a: PyTree[Any] = eqx.field(converter=_nonzero)
    b: Any = eqx.field(default=0.0, converter=lambda b: parameter("b", b))

    def normal(self, x: PyTree[Array]) -> PyTree[Array]:
        """``a`` in the shapes and dtypes of ``x``."""
        return jax.tree.map(lambda a, v: jnp.broadcast_to(a, v.shape), matched("a", self.a, x), x)

    def excess(self, x: PyTree[Array]) -> tuple[Scalar, Scalar]:
        """``<a, x> - b``, and the sum of the sizes of its terms."""
        terms = jax.tree.leaves(jax.tree.map(jnp.multiply, x, self.normal(x)))
        b = jnp.asarray(self.b, jnp.result_type(*terms))
        excess = sum((jnp.sum(t) for t in terms), start=-b)
        return excess, sum((jnp.sum(jnp.abs(t)) for t in terms), start=jnp.abs(b))

    def boundary(self, x: PyTree[Array]) -> PyTree[Array]:
        """The projection onto the hyperplane ``<a, x> = b``."""
        from optax.projections import projection_hyperplane

        projected = projection_hyperplane(x, self.normal(x), self.b)
        return jax.tree.map(lambda p, v: p.astype(v.dtype), projected, x)
