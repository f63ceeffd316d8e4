"""Bregman geometries: what takes the place of half the squared distance in a proximal step."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.core import tree


class Geometry(eqx.Module):
    r"""A strictly convex $\varphi$, its mirror map $\nabla\varphi$ and its proximal maps.

    With $D(u, x) = \varphi(u) - \varphi(x) - \langle\nabla\varphi(x), u - x\rangle$ a step of mirror
    descent is

    $$x^+ = \arg\min_u\; s\,\langle\text{gradient}, u\rangle + s\,g(u) + D(u, x).$$

    A subclass gives ``divergence``, ``mirror`` and ``prox``; or ``divergence`` and ``step`` alone, where
    the step is known as a whole.

    Source: Nemirovski and Yudin, 1983, "Problem Complexity and Method Efficiency in Optimization"; Beck and
    Teboulle, 2003, "Mirror descent and nonlinear projected subgradient methods for convex optimization".

    Attributes:
        needs: oracles of the problem (keys of ``problem.offers()``) that its proximal map uses.

    Example:
        Your own geometry, half the squared norm of a diagonal metric on all of space:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> class Diagonal(Geometry):
        ...     d: Array
        ...     def divergence(self, u, x):
        ...         return 0.5 * jnp.sum(self.d * (u - x) ** 2)
        ...     def mirror(self, x):
        ...         return self.d * x
        ...     def prox(self, g, dual, step):
        ...         return dual / self.d
        >>> metric = Diagonal(jnp.array([1.0, 4.0]))
        >>> metric.step(fr.convex.Zero(), jnp.ones(2), jnp.array([1.0, 2.0]), 1.0).tolist()
        [0.0, 0.5]
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def divergence(self, u: PyTree[Array], x: PyTree[Array]) -> Scalar:
        """The Bregman divergence $D(u, x)$, at least 0."""

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        r"""The mirror map, $\nabla\varphi(x)$."""
        raise TypeError(f"{type(self).__name__} has neither a mirror map nor a step of its own")

    def prox(self, g: Function, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$\arg\min_u s\,g(u) + \varphi(u) - \langle\text{dual}, u\rangle$; a set's Bregman projection."""
        raise TypeError(f"{type(self).__name__} has neither a proximal map nor a step of its own")

    def step(self, g: Function, x: PyTree[Array], gradient: PyTree[Array], step: Any) -> PyTree[Array]:
        """One step from ``x`` along ``-gradient``, of size ``step``."""
        return self.prox(g, tree.axpy(-step, gradient, self.mirror(x)), step)


class Euclidean(Geometry):
    r"""$\varphi(x) = \tfrac12\|x\|^2$, in which mirror descent is the proximal gradient method.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> Euclidean().step(fr.convex.L1(1.0), jnp.array([2.0, 0.5]), jnp.array([0.0, 0.0]), 1.0).tolist()
        [1.0, 0.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"prox"})

    def divergence(self, u: PyTree[Array], x: PyTree[Array]) -> Scalar:
        d = tree.subtract(u, x)
        return 0.5 * tree.vdot(d, d)

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        return x

    def prox(self, g: Function, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        return g.prox(dual, step)


class Entropy(Geometry):
    r"""$\varphi(x) = \sum_i x_i(\log x_i - 1)$ on positive points; $D$ is the Kullback-Leibler divergence.

    Its steps are multiplicative: on the simplex $x^+ \propto x\,e^{-s\,\text{gradient}}$, the exponentiated
    gradient method. An entry that is zero stays zero, so start inside. Works with every ``g`` that is
    ``entropic``: the simplex, products of simplices (by `frechet.convex.Rows` or `frechet.convex.PerLeaf`),
    the positive orthant (`frechet.convex.NonNegative`).

    Source: Kivinen and Warmuth, 1997, "Exponentiated gradient versus gradient descent for linear predictors".

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> x, gradient = jnp.array([0.5, 0.5]), jnp.array([jnp.log(3.0), 0.0])
        >>> Entropy().step(fr.convex.Simplex(), x, gradient, 1.0).round(4).tolist()
        [0.25, 0.75]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"entropy prox"})

    def divergence(self, u: PyTree[Array], x: PyTree[Array]) -> Scalar:
        terms = jax.tree.map(lambda u, x: jnp.sum(_relative_entropy(u, x)), u, x)
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))

    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(jnp.log, x)

    def prox(self, g: Function, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        return g.entropy_prox(dual, step)


def _relative_entropy(u: Array, x: Array) -> Array:
    """u log(u / x) - u + x without cancellation where u is close to x; 0 where both are 0."""
    r = (u - x) / jnp.where(x > 0, x, 1)
    small = jnp.abs(r) < 0.02
    near = jnp.where(small, r, 0)
    series = near**2 * (
        1 / 2 - near * (1 / 6 - near * (1 / 12 - near * (1 / 20 - near * (1 / 30 - near / 42))))
    )
    far = jnp.where(small | (u <= 0), 1, 1 + r)
    full = jnp.where(u > 0, far * jnp.log(far) - r, 1.0)
    return x * jnp.where(small, series, full)
