"""The protocol of a convex function that shows its proximal map."""

import abc
import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.convex.parameters import floating


class Function(eqx.Module):
    r"""A closed convex function $g$ of a real pytree, with its proximal map

    $$\mathrm{prox}_{s g}(x) = \arg\min_u\; g(u) + \tfrac{1}{2 s}\|u - x\|_2^2.$$

    A set is its indicator: 0 inside, infinity outside. A subclass gives ``__call__`` and ``prox``; the rest
    follows. Parameters (weights, bounds, radii) are leaves, so everything is differentiable with respect to
    them as well as to ``x``. Results keep the structure, shapes and dtypes of ``x``.

    A proximal map is nonexpansive, so differentiable almost everywhere. At a kink the derivative is that of
    one of the smooth pieces that meet there, hence an element of the generalised Jacobian; each class says
    which. It is never NaN.

    Source: Parikh and Boyd, 2014, "Proximal Algorithms", Foundations and Trends in Optimization 1(3);
    Bauschke and Combettes, 2017, "Convex Analysis and Monotone Operator Theory in Hilbert Spaces".

    Attributes:
        smooth: whether it is identically zero, so that a solver for smooth problems may leave it out.
        separable: whether it is a sum over coordinates, so that `prox_coordinate` is available.
        box: whether it is the indicator of a box (all of space is one), so that `bounds` is available.
        convex: false of the few nonconvex sets, whose projection is some nearest point.
        compact: whether it is the indicator of a bounded set that has `linear_min`.
        polytope: whether that set is a `frechet.convex.polytope.Polytope`, of few vertices.
        homogeneous: whether it is separable with terms that are linear on either side of zero.
        entropic: whether `entropy_prox` is available.
        rowwise: whether it is a sum over rows (a separable one is anyway), so that `prox_row` is available.

    Example:
        Your own function needs two methods:

        >>> import jax.numpy as jnp
        >>> class Linear(Function):
        ...     c: Array
        ...     def __call__(self, x):
        ...         return jnp.vdot(self.c, x)
        ...     def prox(self, x, step):
        ...         return x - step * self.c
        >>> g = Linear(jnp.array([1.0, -1.0]))
        >>> g.envelope_gradient(jnp.zeros(2), 0.5).tolist()
        [1.0, -1.0]
    """

    smooth: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    box: ClassVar[bool] = False
    compact: ClassVar[bool] = False
    polytope: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    entropic: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    convex: ClassVar[bool] = True

    def oracles(self) -> dict[str, str]:
        """What it lets solvers use, by the names that their ``needs`` have for it."""
        known = {
            "prox": (True, "the proximal map of g"),
            "smooth": (self.smooth, "no nonsmooth part"),
            "separable": (self.separable, "g is a sum over coordinates"),
            "bounds": (self.box, "g is the indicator of a box, maybe of all of space"),
            "linear_min": (self.compact, "a point of the set least in a direction"),
            "vertices": (self.polytope, "g is the indicator of the hull of few points"),
            "entropy prox": (self.entropic, "the proximal map of g in the Kullback-Leibler divergence"),
            "rows": (self.separable or self.rowwise, "g is a sum over rows"),
        }
        return {name: what for name, (there, what) in known.items() if there}

    @abc.abstractmethod
    def __call__(self, x: PyTree[Array]) -> Scalar:
        """The value, a scalar; of an indicator 0 or infinity, up to a tolerance that fits the dtype."""

    @abc.abstractmethod
    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """The proximal map of ``step * g``; ``step`` is a positive scalar."""

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        """The proximal map of one coordinate's term; only where ``separable``.

        Args:
            value: the coordinate's value (or several, shape ``(k,)``).
            index: its place in the raveled ``x``, an integer or integers of shape ``(k,)``.
            step: positive scalar, or one for each value.

        Returns:
            The new value, in the shape and dtype of ``value``.
        """
        raise TypeError(f"{type(self).__name__} is not separable, so it has no prox of one coordinate")

    def prox_row(self, value: Array, index: Any, step: Any) -> Array:
        """The proximal map of the terms of one row of an array; only where ``separable`` or ``rowwise``.

        Args:
            value: ``x[index]``.
            index: which row, an integer.
            step: positive scalar.

        Returns:
            The new row.
        """
        if not self.separable:
            raise TypeError(f"{type(self).__name__} is not a sum over rows, so it has no prox of one row")
        indices = index * value.size + jnp.arange(value.size)
        return self.prox_coordinate(jnp.ravel(value), indices, step).reshape(value.shape)

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        r"""A point of the set with the least inner product with ``direction``; only where ``compact``."""
        raise TypeError(f"{type(self).__name__} has no linear minimisation over a bounded set")

    def entropy_prox(self, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""$\arg\min_{u \ge 0}\; s\,g(u) + \sum_i u_i(\log u_i - 1) - \langle\text{dual}, u\rangle$.

        Only where ``entropic``. With ``dual`` $= \log y$ it is the proximal map in the Kullback-Leibler
        divergence from $y$.
        """
        raise TypeError(f"{type(self).__name__} has no proximal map in the entropy")

    def bounds(self, x: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """Lower and upper bounds in the form of ``x``, infinite where there are none; only of a ``box``."""
        if not self.box:
            raise TypeError(f"{type(self).__name__} is not a box, so it has no bounds")
        ends = [jax.tree.map(lambda v, end=end: jnp.full_like(v, end), x) for end in (-jnp.inf, jnp.inf)]
        return self.prox(ends[0], 1.0), self.prox(ends[1], 1.0)

    def residual(self, x: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Array]:
        r"""$x - \mathrm{prox}_g(x - \text{gradient})$: zero iff $-\text{gradient} \in \partial g(x)$."""
        return _subtract(x, self.prox(_subtract(x, gradient), 1.0))

    def near_kink(self, x: PyTree[Array], distance: Scalar) -> Bool[Array, ""]:
        """Whether the slopes of the proximal map of step 1 change within ``distance`` of ``x``.

        Looked for along one direction, on both sides of ``x``; where slopes change smoothly they hardly do
        over a short distance.
        """
        if self.smooth:
            return jnp.asarray(False)
        x = floating(x)

        def along(value: Array) -> Array:
            # of sizes between 1/2 and 1 and no pattern that a proximal map could annul
            wave = jnp.cos(1.7 + 2.3 * jnp.arange(value.size)).reshape(value.shape)
            return (0.5 * (wave + jnp.sign(wave))).astype(value.dtype)

        pace = jax.tree.map(along, x)
        shifted = lambda t: jax.tree.map(lambda v, d: (v + t * d).astype(v.dtype), x, pace)  # noqa: E731
        ahead, at, behind = (self.prox(v, 1.0) for v in (shifted(distance), x, shifted(-distance)))
        bends = jax.tree.map(
            lambda a, b, c: jnp.any(jnp.abs(a + c - 2 * b) > 0.2 * distance), ahead, at, behind
        )
        return functools.reduce(jnp.logical_or, jax.tree.leaves(bends), jnp.asarray(False))

    def envelope(self, x: PyTree[Array], step: Any) -> Scalar:
        r"""Moreau envelope $\min_u g(u) + \|u - x\|_2^2 / (2 s)$ with $s$ = ``step``, a scalar."""
        x = floating(x)
        nearest = self.prox(x, step)
        return self(nearest) + _squared_norm(_subtract(x, nearest)) / (2 * step)

    def envelope_gradient(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""Gradient $(x - \mathrm{prox}_{s g}(x)) / s$ of the Moreau envelope; $1/s$-Lipschitz."""
        x = floating(x)
        return jax.tree.map(lambda u, p: (u - p) / jnp.asarray(step, u.dtype), x, self.prox(x, step))

    def conjugate_prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""Proximal map of ``step`` times the convex conjugate $g^*$, by Moreau's identity.

        $\mathrm{prox}_{s g^*}(x) = x - s\,\mathrm{prox}_{g / s}(x / s)$.
        """
        x = floating(x)
        scaled = self.prox(jax.tree.map(lambda u: u / jnp.asarray(step, u.dtype), x), 1 / step)
        return jax.tree.map(lambda u, p: u - jnp.asarray(step, u.dtype) * p, x, scaled)


def function(g: Any) -> Function:
    """``g`` itself, checked to be a convex function."""
    if not isinstance(g, Function):
        raise TypeError(f"g must be a convex function, such as frechet.convex.L1, got {type(g).__name__}")
    return g


def _subtract(a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(jnp.subtract, a, b)


def _squared_norm(x: PyTree[Array]) -> Scalar:
    return jnp.asarray(sum((jnp.sum(jnp.square(v)) for v in jax.tree.leaves(x)), start=0.0))
