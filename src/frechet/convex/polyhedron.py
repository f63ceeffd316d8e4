"""Points that satisfy linear equations and inequalities."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Scalar

from frechet.convex import homogeneous
from frechet.convex.parameters import feasible, known, parameter
from frechet.convex.vector import Vector
from frechet.core import tree

Vec = Float[Array, " n"]
MOST_STEPS = 60


def _way(A: Array, b: Array, G: Array, h: Array) -> tuple[Vec, Bool[Array, " k"]]:
    """The projection of the origin and which inequalities hold it back; rows have norm one or zero."""
    n, eps = G.shape[1], jnp.finfo(h.dtype).eps
    p = homogeneous.Program(
        jnp.eye(n, dtype=h.dtype), jnp.zeros(n, h.dtype), A, b, G, jnp.zeros((0, n), h.dtype), h, h == h
    )

    def measured(at: homogeneous.Point) -> tuple[Vec, Array, Scalar]:
        x, y, z = at.x / at.tau, at.y / at.tau, at.z / at.tau
        slack = h - G @ x
        parts = x + y @ A + z @ G, A @ x - b, jnp.minimum(z, slack)
        return x, z > slack, jnp.linalg.norm(jnp.concatenate(parts))

    def closer(carry: tuple) -> tuple:
        count, at, best = carry
        ahead = homogeneous.advance(p, at)
        now = measured(ahead)
        return count + 1, ahead, tree.where(now[2] < best[2], now, best)

    begin = homogeneous.start(p)
    unfinished = lambda c: (c[2][2] > eps**0.75) & (c[0] < MOST_STEPS) & jnp.isfinite(c[1].tau)  # noqa: E731
    return lax.while_loop(unfinished, closer, (0, begin, measured(begin)))[2][:2]


def _unit(M: Array, v: Array) -> tuple[Array, Array]:
    size = jnp.linalg.norm(M, axis=1)
    size = jnp.where(size > 0, size, 1)
    return M / size[:, None], v / size


def _solved(x: Vec, A: Array | None, b: Array | None, G: Array, h: Array) -> tuple[Vec, Bool[Array, " k"]]:
    """The projection to some accuracy, and which inequalities hold it back."""
    if A is None or b is None:
        A, b = jnp.zeros((0, x.size), x.dtype), jnp.zeros(0, x.dtype)
    # The way from x to its projection, so that digits of a far x are not lost, in units of its length.
    (A, b), (G, h) = _unit(A, b - A @ x), _unit(G, h - G @ x)
    limited = jnp.isfinite(h)
    G, h = jnp.where(limited[:, None], G, 0), jnp.where(limited, h, 1)
    length = jnp.max(jnp.concatenate([jnp.abs(b), jnp.maximum(-h, 0)]), initial=0)
    outside = length > 0
    way, active = _way(A, b / jnp.where(outside, length, 1), G, h / jnp.where(outside, length, 1))
    return x + length * way, active & limited & outside


def project_polyhedron(x: Vec, A: Array | None, b: Array | None, G: Array, h: Array) -> Vec:
    r"""The point of $\{p : Ap = b,\ Gp \le h\}$ nearest to ``x``; see `Polyhedron`."""
    raw, active = lax.stop_gradient(_solved(*lax.stop_gradient((x, A, b, G, h))))
    # Given which inequalities are active, a projection onto an affine set, which JAX can differentiate.
    rows, sides = jnp.where(active[:, None], G, 0), jnp.where(active, h, 0)
    if A is not None and b is not None:
        rows, sides = jnp.concatenate([A, rows]), jnp.concatenate([b, sides])
    exact = x - jnp.linalg.pinv(rows) @ (rows @ x - sides)

    def violation(p: Vec) -> Scalar:
        equations = jnp.zeros(0, x.dtype) if A is None or b is None else jnp.abs(A @ p - b)
        return jnp.max(jnp.concatenate([equations, jnp.maximum(G @ p - h, 0)]), initial=0)

    # Where rounding hides which are active (rows that all but repeat each other) the program's point is kept.
    rounding = 64 * jnp.finfo(x.dtype).eps * (1 + jnp.max(jnp.abs(jnp.concatenate([x, sides]))))
    worse = violation(exact) > jnp.maximum(violation(raw), rounding)
    return exact + lax.stop_gradient(jnp.where(worse, raw - exact, 0))


class Polyhedron(Vector):
    r"""Indicator of $\{x : A x = b,\ G x \le h\}$; all leaves of ``x`` together are one vector.

    The projection is a quadratic program, solved by an interior point method; which inequalities
    hold it back is read off, and the projection onto their intersection is exact. The derivative is that of
    this face: an inequality that just holds but does not push (its multiplier is zero) does not count.
    Redundant rows are welcome. Traced data that describe an empty set are not noticed by `prox`: the value of
    what it returns is infinite.

    Args:
        A: shape ``(m, n)``, with ``n`` the number of entries of ``x``; None for no equations.
        b: shape ``(m,)``.
        G: shape ``(k, n)``; None for no inequalities.
        h: shape ``(k,)``.

    Raises:
        ValueError: shapes that do not fit; when called, a set that is empty.

    Source: Amos and Kolter, 2017, "OptNet: differentiable optimization as a layer in neural networks", ICML,
    arXiv 1703.00443.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Polyhedron(A=jnp.ones((1, 3)), b=jnp.ones(1), G=-jnp.eye(3), h=jnp.zeros(3))
        >>> g.prox(jnp.array([0.5, 1.0, -1.0]), 1.0).round(5).tolist()
        [0.25, 0.75, 0.0]
    """

    A: Float[Array, "m n"] | None = eqx.field(default=None, converter=lambda v: _optional("A", v))
    b: Float[Array, " m"] | None = eqx.field(default=None, converter=lambda v: _optional("b", v))
    G: Float[Array, "k n"] | None = eqx.field(default=None, converter=lambda v: _optional("G", v))
    h: Float[Array, " k"] | None = eqx.field(default=None, converter=lambda v: _optional("h", v))

    def __check_init__(self):
        for M, v, names in ((self.A, self.b, "A and b"), (self.G, self.h, "G and h")):
            if (M is None) != (v is None):
                raise ValueError(f"{names} go together; give both or neither")
            if M is not None and v is not None and (jnp.ndim(M) != 2 or jnp.shape(v) != jnp.shape(M)[:1]):
                raise ValueError(
                    f"{names} must have shapes (rows, n) and (rows,), got {jnp.shape(M)} and {jnp.shape(v)}"
                )
        if self.A is None and self.G is None:
            raise ValueError("a polyhedron needs A and b, or G and h")

    def system(self, x: Vec) -> tuple[Array | None, Array | None, Array, Array]:
        for name, M in (("A", self.A), ("G", self.G)):
            if M is not None and M.shape[1] != x.size:
                raise ValueError(f"x has {x.size} entries but {name} has {M.shape[1]} columns")
        A, b, G, h = (None if v is None else v.astype(x.dtype) for v in (self.A, self.b, self.G, self.h))
        if G is None or h is None:
            G, h = jnp.zeros((0, x.size), x.dtype), jnp.zeros(0, x.dtype)
        return A, b, G, h

    def vector_value(self, x: Vec) -> Scalar:
        A, b, G, h = self.system(x)
        inequalities = jnp.sum(feasible(G @ x - h, jnp.abs(G) @ jnp.abs(x) + jnp.abs(h)))
        if A is None or b is None:
            return inequalities
        return inequalities + jnp.sum(feasible(jnp.abs(A @ x - b), jnp.abs(A) @ jnp.abs(x) + jnp.abs(b)))

    def vector_prox(self, x: Vec, step: Any) -> Vec:
        projected = project_polyhedron(x, *self.system(x))
        if known(projected) and not np.isnan(projected).any() and np.isinf(self.vector_value(projected)):
            raise ValueError("no point satisfies A x = b and G x <= h: the polyhedron is empty")
        return projected


def _optional(name: str, value: Any) -> Any:
    return None if value is None else parameter(name, value)
