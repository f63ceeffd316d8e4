"""Points that satisfy linear equations and inequalities."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Scalar

from frechet.convex.parameters import feasible, known, parameter
from frechet.convex.vector import Vector

Vec = Float[Array, " n"]


def _solved(x: Vec, A: Array | None, b: Array | None, G: Array, h: Array) -> tuple[Vec, Bool[Array, " k"]]:
    """The projection to the program's tolerance, and which inequalities hold it back."""
    from frechet.core.solve import solve
    from frechet.problems.quadratic_program import QuadraticProgram
    from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint

    @jax.jit
    def program(A: Any, b: Any, G: Array, h: Array) -> tuple[Vec, Bool[Array, " k"]]:
        # Traced, so that redundant equations pass.
        zero = jnp.zeros(G.shape[1], h.dtype)
        qp = QuadraticProgram(jnp.eye(zero.size, dtype=h.dtype), zero, A, b, G, h)
        found = solve(qp, zero, QuadraticInteriorPoint(), differentiate="none").x
        return found.primal, found.dual_ineq > h - G @ found.primal

    # For the way from x to its projection, so that digits of a far x are not lost.
    moved = None if A is None or b is None else b - A @ x
    way, active = program(A, moved, G, h - G @ x)
    return x + way, active


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

    The projection is a `frechet.QuadraticProgram`, solved by an interior point method; which inequalities
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
