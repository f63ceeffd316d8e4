"""The solutions of a linear system."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import feasible, parameter
from frechet.convex.vector import Vector


class AffineSet(Vector):
    r"""Indicator of $\{x : A x = b\}$; all leaves of ``x`` together are one vector.

    The projection is $x - A^+(A x - b)$, by a singular value decomposition, so redundant rows are welcome.
    XLA moves the decomposition out of loops of fixed length, hence out of the steps of a solver. A system
    without solution stands for its least-squares solutions, and its value is infinite everywhere.

    Args:
        A: shape ``(m, n)``, with ``n`` the number of entries of ``x``.
        b: shape ``(m,)``.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.AffineSet(jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), jnp.array([3.0, 2.0]))
        >>> [round(float(v), 5) for v in g.prox(jnp.array([0.0, 0.0, 5.0]), 1.0)]
        [3.0, 1.0, 5.0]
    """

    A: Float[Array, "m n"] = eqx.field(converter=lambda a: parameter("A", a))
    b: Float[Array, " m"] = eqx.field(converter=lambda b: parameter("b", b))

    def __check_init__(self):
        if jnp.ndim(self.A) != 2 or jnp.shape(self.b) != jnp.shape(self.A)[:1]:
            raise ValueError(
                f"A and b must have shapes (m, n) and (m,), got {jnp.shape(self.A)} and {jnp.shape(self.b)}"
            )

    def _system(self, x: Float[Array, " n"]) -> tuple[Array, Array]:
        if x.size != self.A.shape[1]:
            raise ValueError(f"x has {x.size} entries but A has {self.A.shape[1]} columns")
        return self.A.astype(x.dtype), self.b.astype(x.dtype)

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        A, b = self._system(x)
        return jnp.sum(feasible(jnp.abs(A @ x - b), jnp.abs(A) @ jnp.abs(x) + jnp.abs(b)))

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        A, b = self._system(x)
        # Not a Lineax solve, which raises inside of jit where x holds a NaN.
        return x - jnp.linalg.pinv(A) @ (A @ x - b)
