"""Convex functions whose gradients make good updates, beside the norms of `frechet.convex`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Scalar

from frechet.convex import Separable, Vector
from frechet.convex.box_section import project_box_section
from frechet.convex.parameters import modulus, parameter


class EpsilonInsensitive(Separable):
    r"""$K(u) = \sum_i \max(|u_i| - e_i, 0)$: small momentum does not move a weight.

    Its gradient is $\mathrm{sign}(u_i)$ where $|u_i| > e_i$ and zero elsewhere. The conjugate is an l1 norm
    in a box, so that the solution becomes sparse.

    Args:
        width: $e > 0$; a number, an array that broadcasts to ``u``, or a prefix pytree of ``u``.

    Raises:
        ValueError: a width not above zero.

    Source: Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization, arXiv 2310.05898.

    Example:
        >>> jax.grad(EpsilonInsensitive(1.0))(jnp.array([3.0, 0.5, -2.0])).tolist()
        [1.0, 0.0, -1.0]
    """

    width: Any = eqx.field(default=1.0, converter=lambda e: parameter("width", e, positive=True))

    def leaf_value(self, value: Array, width: Array) -> Array:
        size = modulus(value)
        return jnp.where(size > width, size - width, 0)

    def leaf_prox(self, value: Array, step: Array, width: Array) -> Array:
        size, sign = jnp.abs(value), jnp.sign(value)
        beyond = jnp.where(size > width + step, value - sign * step, sign * width)
        return jnp.where(size > width, beyond, value)


class PseudoHuber(Separable):
    r"""$K(u) = \sum_i \sqrt{u_i^2 + e_i^2}$, whose gradient $u_i / \sqrt{u_i^2 + e_i^2}$ is a smooth sign.

    Args:
        width: $e > 0$; a number, an array that broadcasts to ``u``, or a prefix pytree of ``u``.

    Raises:
        ValueError: a width not above zero.

    Source: Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization, arXiv 2310.05898.

    Example:
        >>> jax.grad(PseudoHuber(1.0))(jnp.array([1e6, 0.0])).tolist()
        [1.0, 0.0]
    """

    width: Any = eqx.field(default=1.0, converter=lambda e: parameter("width", e, positive=True))

    def leaf_value(self, value: Array, width: Array) -> Array:
        return jnp.hypot(value, width)

    def leaf_prox(self, value: Array, step: Array, width: Array) -> Array:
        return _smooth_prox(lambda u: u / jnp.hypot(u, width), value, step)


class LogCosh(Separable):
    r"""$K(u) = \sum_i \log\cosh u_i$, whose gradient is $\tanh u_i$.

    Source: Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization, arXiv 2310.05898.

    Example:
        >>> jax.grad(LogCosh())(jnp.array([1e-6, 100.0])).tolist()
        [9.999999974752427e-07, 1.0]
    """

    def leaf_value(self, value: Array) -> Array:
        return _log_cosh(value)

    def leaf_prox(self, value: Array, step: Array) -> Array:
        return _smooth_prox(jnp.tanh, value, step)


class KLargest(Vector):
    r"""$K(u)$ = the sum of the $k$ largest $|u_i|$; all leaves of ``u`` together are one vector.

    Its gradient is the sign on those $k$ entries and zero elsewhere, so that a step moves $k$ weights. Of
    equals the first count. With $k$ at least the number of entries it is the l1 norm.

    Args:
        k: how many.

    Raises:
        ValueError: ``k`` is no positive integer.

    Source: Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization, arXiv 2310.05898.

    Example:
        >>> jax.grad(KLargest(2))(jnp.array([3.0, 0.5, -2.0, 1.0])).tolist()
        [1.0, 0.0, -1.0, 0.0]
    """

    k: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k must be a positive integer, got {self.k!r}")

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        return jnp.sum(lax.top_k(modulus(x), min(self.k, x.size))[0])

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        # By Moreau's identity, from the projection onto the box where the moduli add up to at most k.
        size, sign = jnp.abs(x / step), jnp.sign(x)
        boxed = jnp.where(size > 1, 1, size)
        lower, one = jnp.zeros_like(size), jnp.ones_like(size)
        k = jnp.asarray(min(self.k, x.size), x.dtype)
        section = project_box_section(size, lower, one, one, k)
        return x - step * sign * jnp.where(jnp.sum(boxed) <= k, boxed, section)


class LpNorm(Vector):
    r"""$K(u) = \|u\|_p$; all leaves of ``u`` together are one vector.

    Its gradient is $\mathrm{sign}(u_i) (|u_i| / \|u\|_p)^{p - 1}$, and zero at zero. The proximal map is
    found by bisection.

    Args:
        p: above 1, and finite; of p = 1 and p = 2 there are `frechet.convex.L1` and `frechet.convex.L2`.

    Raises:
        ValueError: ``p`` is not between 1 and infinity.

    Source: Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization, arXiv 2310.05898.

    Example:
        >>> jax.grad(LpNorm(3.0))(jnp.array([1.0, -2.0])).round(3).tolist()
        [0.23100000619888306, -0.9240000247955322]
    """

    p: float = eqx.field(default=2.0, static=True)

    def __check_init__(self):
        if not 1 < self.p < float("inf"):
            raise ValueError(
                f"p must be between 1 and infinity, got {self.p}; of 1 there is frechet.convex.L1"
            )

    def vector_value(self, x: Float[Array, " n"]) -> Scalar:
        return _norm(x, self.p)

    def vector_prox(self, x: Float[Array, " n"], step: Any) -> Float[Array, " n"]:
        p, size, s = self.p, *lax.stop_gradient((jnp.abs(x), step))
        rounds = jnp.finfo(x.dtype).nmant + 12

        def bisect(too_small: Callable[[Array], Array], most: Array) -> Array:
            def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
                middle = (ends[0] + ends[1]) / 2
                more = too_small(middle)
                return jnp.where(more, middle, ends[0]), jnp.where(more, ends[1], middle)

            return lax.fori_loop(0, rounds, halve, (jnp.zeros_like(most), most))[1]

        def given(N: Array) -> Array:
            """The u >= 0 with u + s (u / N)^(p - 1) = |x|; the solution where N is the norm of u."""
            return bisect(lambda u: u + s * (u / N) ** (p - 1) < size, size)

        zero = _norm(size, p / (p - 1)) <= s
        N = bisect(lambda N: _norm(given(N), p) > N, _norm(size, p))
        N = jnp.where(zero, 1, N)
        u = jnp.where(zero, 0, given(N))
        # A Newton step, whose Hessian is diagonal plus of rank one, brings the derivatives with it.
        g, c = jnp.sign(x) * (u / N) ** (p - 1), s * (p - 1) / N
        D = 1 + c * jnp.where(u > 0, jnp.where(u > 0, u / N, 1) ** (p - 2), jnp.inf if p < 2 else 0)
        u, g, c, D = lax.stop_gradient((jnp.sign(x) * u, g, c, D))
        v, w = (u + step * g - x) / D, g / D
        return jnp.where(zero, 0, u - v - w * c * jnp.sum(g * v) / (1 - c * jnp.sum(g * w)))


def _norm(x: Float[Array, " n"], p: float) -> Scalar:
    """The l_p norm, at any scale; its derivative at zero is zero."""
    top = lax.stop_gradient(jnp.max(jnp.abs(x), initial=0))
    share = modulus(x) / jnp.where(top > 0, top, 1)
    return top * jnp.where(top > 0, jnp.sum(share**p), 1) ** (1 / p)


@jax.custom_jvp
def _log_cosh(u: Array) -> Array:
    return jnp.logaddexp(u, -u) - jnp.log(2.0).astype(u.dtype)


@_log_cosh.defjvp
def _log_cosh_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiated as it is written the value would lose the digits of small arguments.
    return _log_cosh(*primals), jnp.tanh(*primals) * tangents[0]


def _smooth_prox(slope: Callable[[Array], Array], x: Array, step: Array) -> Array:
    """The root u of u + step slope(u) = x, for an odd slope that is increasing and concave on u >= 0."""
    newton = lambda u, x, step: u - (u + step * slope(u) - x) / (1 + step * _derivative(slope, u))  # noqa: E731
    size, s = lax.stop_gradient((jnp.abs(x), step))
    # Newton's method from below stays below and converges; so do the derivatives of its last step.
    start = size / (1 + s * _derivative(slope, jnp.zeros_like(size)))
    root = lax.fori_loop(0, 60, lambda _, u: newton(u, size, s), start)
    return newton(lax.stop_gradient(jnp.sign(x) * root), x, step)


def _derivative(slope: Callable[[Array], Array], u: Array) -> Array:
    return jax.jvp(slope, (u,), (jnp.ones_like(u),))[1]
