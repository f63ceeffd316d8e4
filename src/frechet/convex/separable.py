"""Functions that are sums over coordinates."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from frechet.convex.leafwise import Leafwise
from frechet.convex.parameters import entry, floating


class Separable(Leafwise):
    r"""$g(x) = \sum_i \phi(x_i; \theta_i)$ over all entries of all leaves of ``x``.

    A subclass gives ``leaf_value`` and ``leaf_prox`` elementwise. Its fields are the parameters $\theta$:
    each a number, an array that broadcasts to ``x``, or a prefix pytree of ``x`` with such leaves. ``step``
    may be given in the same ways, for a diagonal metric.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.L1({"slope": 1.0, "intercept": 0.0})
        >>> x = {"slope": jnp.array([3.0, -0.5]), "intercept": jnp.array(4.0)}
        >>> float(g(x)), g.prox(x, 1.0)["slope"].tolist(), float(g.prox(x, 1.0)["intercept"])
        (3.5, [2.0, 0.0], 4.0)
    """

    separable: ClassVar[bool] = True

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        value = floating(value)
        parameters = [entry(name, p, index, value.dtype) for name, p in self.parameters().items()]
        return self.leaf_prox(value, jnp.asarray(step, value.dtype), *parameters)
