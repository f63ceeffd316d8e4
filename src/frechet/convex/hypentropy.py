"""The hyperbolic entropy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.legendre import Legendre
from frechet.convex.parameters import parameter


class Hypentropy(Legendre):
    r"""$\varphi(x) = \sum_i x_i\,\mathrm{arsinh}(x_i/\beta_i) - \sqrt{x_i^2 + \beta_i^2}$, on all of space.

    Its mirror map is $\mathrm{arsinh}(x/\beta)$, linear well within $\beta$ and logarithmic beyond: steps are
    additive for small coordinates and multiplicative for large ones.

    Args:
        beta: above zero; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.

    Raises:
        ValueError: a ``beta`` that is not above zero.

    Source: Ghai, Hazan, Singer 2020, Exponentiated gradient meets gradient descent, arXiv 1902.01903.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> geometry, x = Hypentropy(0.5), jnp.array([-2.0, 0.25])
        >>> bool(jnp.allclose(geometry.inverse(geometry.mirror(x)), x))
        True
        >>> [round(float(v), 3) for v in geometry.left_prox(fr.convex.L1(1.0), x, 0.5)]
        [-1.181, 0.0]
    """

    beta: PyTree[Any] = eqx.field(default=1.0, converter=lambda v: parameter("beta", v, positive=True))

    def value(self, x: PyTree[Array]) -> Scalar:
        terms = jax.tree.map(lambda v, b: jnp.sum(v * jnp.arcsinh(v / b) - jnp.hypot(v, b)), x, self._beta(x))
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, b: jnp.arcsinh(v / b), x, self._beta(x))

    def inverse(self, dual: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda y, b: b * jnp.sinh(y), dual, self._beta(dual))

    def curvature(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(lambda v, b: 1 / jnp.hypot(v, b), x, self._beta(x))

    def _beta(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.matched("beta", self.beta, x)
