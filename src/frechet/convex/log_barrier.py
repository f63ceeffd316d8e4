"""The logarithmic barrier of a box."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.legendre import Legendre
from frechet.convex.parameters import known, parameter


class LogBarrier(Legendre):
    r"""$\varphi(x) = -\sum_i \log(x_i - l_i) + \log(u_i - x_i)$, inside a bounded box.

    Its mirror map leads from the inside of the box to all of space, so a chain that moves there never leaves.

    Args:
        lower: $l$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.
        upper: $u > l$, likewise.

    Raises:
        ValueError: a bound is infinite, or a lower one not below its upper one.

    Source: Zhang, Peyré, Fadili, Pereyra 2020, Wasserstein control of mirror Langevin Monte Carlo,
    arXiv 2002.04363.

    Example:
        >>> import jax.numpy as jnp
        >>> geometry, x = LogBarrier(0.0, 2.0), jnp.array([0.5, 1.75])
        >>> bool(jnp.allclose(geometry.inverse(geometry.mirror(x)), x))
        True
    """

    centred: ClassVar[bool] = False

    lower: PyTree[Any] = eqx.field(default=-1.0, converter=lambda v: parameter("lower", v))
    upper: PyTree[Any] = eqx.field(default=1.0, converter=lambda v: parameter("upper", v))

    def __check_init__(self):
        ends = [*jax.tree.leaves(self.lower), *jax.tree.leaves(self.upper)]
        if not known(*ends):
            return
        if any(not np.all(np.isfinite(np.asarray(v))) for v in ends):
            raise ValueError("the barrier needs a bounded box: every lower and upper bound finite")
        if len(ends) == 2 and np.any(np.asarray(ends[0]) >= np.asarray(ends[1])):
            raise ValueError("lower must be below upper everywhere")

    def value(self, x: PyTree[Array]) -> Scalar:
        terms = jax.tree.map(lambda v, l, u: -jnp.sum(jnp.log(v - l) + jnp.log(u - v)), x, *self._ends(x))
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, l, u: 1 / (u - v) - 1 / (v - l), x, *self._ends(x))

    def inverse(self, dual: PyTree[Array]) -> PyTree[Array]:
        def one(y: Array, l: Array, u: Array) -> Array:
            # With t = x - middle and r the half width: 2 t / (r^2 - t^2) = y.
            r, z = (u - l) / 2, jnp.abs(y)
            t = jnp.sign(y) * r * (r * z / (1 + jnp.sqrt(1 + (r * z) ** 2)))
            return (l + u) / 2 + t

        return jax.tree.map(one, dual, *self._ends(dual))

    def curvature(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, l, u: 1 / (u - v) ** 2 + 1 / (v - l) ** 2, x, *self._ends(x))

    def _ends(self, x: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        return self.matched("lower", self.lower, x), self.matched("upper", self.upper, x)
