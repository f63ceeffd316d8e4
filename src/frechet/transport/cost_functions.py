"""Costs of moving a unit of mass from one point to another."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import norm, parameter


class CostFunction(eqx.Module):
    """A cost $c(x, y)$ of two points, vectors of one length.

    Any function of two points serves as a cost; these are the usual ones, by name.
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        """The cost, a scalar."""


class SquaredEuclidean(CostFunction):
    r"""$c(x, y) = \|x - y\|^2$.

    Example:
        >>> import jax.numpy as jnp
        >>> float(SquaredEuclidean()(jnp.array([0.0, 3.0]), jnp.array([4.0, 0.0])))
        25.0
    """

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        return jnp.sum((x - y) ** 2)


class Euclidean(CostFunction):
    r"""$c(x, y) = \|x - y\|$; its derivative where the points agree is zero.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Euclidean()(jnp.array([0.0, 3.0]), jnp.array([4.0, 0.0])))
        5.0
    """

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        return norm(x - y)


class PowerNorm(CostFunction):
    r"""$c(x, y) = \|x - y\|_p^p / p$.

    Args:
        p: above 1; convex in the difference.

    Raises:
        ValueError: ``p`` is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> float(PowerNorm(4.0)(jnp.array([0.0, 1.0]), jnp.array([2.0, 1.0])))
        4.0
    """

    p: Any = eqx.field(default=1.5, converter=lambda p: parameter("p", p, positive=True))

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        gap = jnp.abs(x - y)
        same = gap == 0
        return jnp.sum(jnp.where(same, 0, jnp.where(same, 1, gap) ** self.p)) / self.p


class Cosine(CostFunction):
    r"""$c(x, y) = 1 - \langle x, y\rangle / (\|x\|\|y\|)$, of points other than the origin.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Cosine()(jnp.array([0.0, 3.0]), jnp.array([4.0, 0.0])))
        1.0
    """

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        return 1 - x @ y / (norm(x) * norm(y))
