"""Separable geometries whose mirror map has a known inverse."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.geometry import Geometry
from frechet.convex.parameters import matched
from frechet.core import tree


class Legendre(Geometry):
    r"""A geometry $\varphi(x) = \sum_i \varphi_i(x_i)$ of Legendre functions.

    A subclass gives ``value``, ``mirror`` ($\nabla\varphi$), ``inverse`` ($\nabla\varphi^*$) and
    ``curvature`` (the diagonal of $\nabla^2\varphi$). With it a separable $g$ has two Bregman proximal maps
    and envelopes,

    $$\overleftarrow{P}(x) = \arg\min_u g(u) + \tfrac1s D(u, x), \qquad
      \overrightarrow{P}(x) = \arg\min_u g(u) + \tfrac1s D(x, u),$$

    and the envelopes are smooth relative to the geometry where $g$ is not smooth at all.

    Attributes:
        centred: whether every $\varphi_i$ is least at 0.

    Source: Bauschke, Dao, Lindstrom 2018, Regularizing with Bregman-Moreau envelopes, arXiv 1705.06019.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"separable", "prox"})
    centred: ClassVar[bool] = True

    @abc.abstractmethod
    def value(self, x: PyTree[Array]) -> Scalar:
        r"""$\varphi(x)$."""

    @abc.abstractmethod
    def mirror(self, x: PyTree[Array]) -> PyTree[Array]:
        r"""$\nabla\varphi(x)$."""

    @abc.abstractmethod
    def inverse(self, dual: PyTree[Array]) -> PyTree[Array]:
        r"""$\nabla\varphi^*(\text{dual})$, the inverse of the mirror map."""

    @abc.abstractmethod
    def curvature(self, x: PyTree[Array]) -> PyTree[Array]:
        r"""The diagonal of $\nabla^2\varphi(x)$."""

    def divergence(self, u: PyTree[Array], x: PyTree[Array]) -> Scalar:
        return self.value(u) - self.value(x) - tree.vdot(self.mirror(x), tree.subtract(u, x))

    def prox(self, g: Function, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        if g.box:
            return g.prox(self.inverse(dual), step)  # coordinates move monotonically
        if g.homogeneous and self.centred:
            return self.inverse(g.prox(dual, step))  # slopes of g depend on signs alone, which mirrors keep
        # Above the solution, and nowhere else, u exceeds what a Euclidean step from it leads to.
        ahead = lambda u: g.prox(tree.subtract(u, tree.subtract(self.mirror(u), dual)), step)  # noqa: E731
        return _bisected(ahead, *_bracket(g, self.inverse(dual)))

    def left_prox(self, g: Function, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$\arg\min_u g(u) + D(u, x) / s$."""
        return self.prox(g, self.mirror(x), step)

    def right_prox(self, g: Function, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$\arg\min_u g(u) + D(x, u) / s$; it solves $u = \mathrm{prox}_{s g / \varphi''(u)}(x)$."""
        if g.box:
            return g.prox(x, step)
        scaled = lambda u: g.prox(x, jax.tree.map(lambda c: step / c, self.curvature(u)))  # noqa: E731
        return _bisected(scaled, *_bracket(g, x))

    def left_envelope_gradient(self, g: Function, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$\nabla^2\varphi(x)(x - \overleftarrow P(x)) / s$, the gradient of the left envelope."""
        nearest = self.left_prox(g, x, step)
        return jax.tree.map(lambda c, u, p: c * (u - p) / step, self.curvature(x), x, nearest)

    def right_envelope_gradient(self, g: Function, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$(\nabla\varphi(x) - \nabla\varphi(\overrightarrow P(x))) / s$, that of the right envelope."""
        mirrored = self.mirror(self.right_prox(g, x, step))
        return jax.tree.map(lambda y, p: (y - p) / step, self.mirror(x), mirrored)

    def matched(self, name: str, value: Any, x: PyTree[Array]) -> PyTree[Array]:
        """A parameter in the form of ``x``."""
        return matched(name, value, x)


def _bracket(g: Function, free: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
    """Between the point without ``g`` and where ``g`` alone would lead: slopes of ``g`` are monotone."""
    least = g.prox(free, jnp.asarray(jnp.finfo(jnp.result_type(*jax.tree.leaves(free))).max) ** 0.25)
    return jax.tree.map(jnp.minimum, free, least), jax.tree.map(jnp.maximum, free, least)


def _bisected(ahead: Callable, low: PyTree[Array], high: PyTree[Array]) -> PyTree[Array]:
    """The fixed points of a map below which it leads up and above which it leads down, entrywise."""
    digits = max(jnp.finfo(v.dtype).nmant for v in jax.tree.leaves(low)) + 12

    def halve(_: int, ends: tuple[PyTree[Array], PyTree[Array]]) -> tuple[PyTree[Array], PyTree[Array]]:
        low, high = ends
        middle = jax.tree.map(lambda a, b: a + (b - a) / 2, low, high)
        up = jax.tree.map(lambda p, u: p > u, ahead(middle), middle)
        return (
            jax.tree.map(jnp.where, up, middle, low),
            jax.tree.map(jnp.where, up, high, middle),
        )

    low, high = lax.fori_loop(0, digits, halve, (low, high))
    return jax.tree.map(lambda a, b: a + (b - a) / 2, low, high)
