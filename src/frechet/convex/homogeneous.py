"""The homogeneous embedding of a dense quadratic program: its rows, its residuals and its Newton steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Scalar

from frechet.core import tree


class Program(NamedTuple):
    r"""Minimise $\tfrac12 x^\top P x + q^\top x$ with $Ax = b$ and $Cx + s = d$, $s \ge 0$.

    $C$ stacks the inequalities and, as diagonal blocks, the lower and the upper bounds. A row without a limit
    reads $0 + s = 1$. A variable whose bounds agree has an equation, $s = 0$, in place of its lower bound.

    Attributes:
        G: the inequalities' part of C, shape (k, n).
        signs: the diagonals of the bounds' blocks, shape (2, n), or (0, n) where there are no bounds.
        d: shape (k + 2n,).
        slack: which entries of $s$ are free to move.
    """

    P: Float[Array, "n n"]
    q: Float[Array, " n"]
    A: Float[Array, "m n"]
    b: Float[Array, " m"]
    G: Float[Array, "k n"]
    signs: Float[Array, "j n"]
    d: Float[Array, " r"]
    slack: Bool[Array, " r"]

    def rows(self, x: Array) -> Array:
        """``C x``."""
        return jnp.concatenate([self.G @ x, (self.signs * x).ravel()])

    def columns(self, z: Array) -> Array:
        """``C^T z``."""
        return z[: self.G.shape[0]] @ self.G + self.bound_multipliers(z)

    def bound_multipliers(self, z: Array) -> Array:
        """What the bounds add to ``C^T z``: positive at an upper bound, negative at a lower one."""
        return jnp.sum(self.signs * z[self.G.shape[0] :].reshape(self.signs.shape), axis=0)

    def gram(self, w: Array) -> Array:
        """``P + C^T diag(w) C``."""
        k = self.G.shape[0]
        bounds = jnp.sum(self.signs**2 * w[k:].reshape(self.signs.shape), axis=0)
        return self.P + (self.G.T * w[:k]) @ self.G + jnp.diag(bounds)


class Point(NamedTuple):
    r"""A point $(x, y, z, s, \tau, \kappa)$ of the embedding; it stands for $(x, y, z) / \tau$."""

    x: Float[Array, " n"]
    y: Float[Array, " m"]
    z: Float[Array, " r"]
    s: Float[Array, " r"]
    tau: Scalar
    kappa: Scalar


class Equations:
    r"""The linear systems of one Newton step, factorised once.

    $[P, A^\top, C^\top; A, 0, 0; C, 0, -H] (u, v, w) = r$ after elimination of $w$, with a small multiple of
    the identity added to the blocks that may be singular; iterative refinement takes its effect away.
    """

    def __init__(self, p: Program, H: Array):
        eps = jnp.finfo(p.q.dtype).eps
        self.p, self.H = p, H
        n, m = p.q.size, p.b.size
        # No more than rounding does anyway: it bounds how far along an endless ray an iterate gets.
        shift = eps * (1 + jnp.max(jnp.abs(p.P), initial=0))
        self.W = 1 / (H + eps**0.75)
        M = p.gram(self.W) + shift * jnp.eye(n, dtype=p.q.dtype)
        K = jnp.block([[M, p.A.T], [p.A, -(eps**0.75) * jnp.eye(m, dtype=p.q.dtype)]])
        self.factors, _, self.order = jax.lax.linalg.lu(K)
        self.refinements = 2 if eps < 1e-10 else 4

    def _once(self, r: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rx, ry, rz = r
        right = jnp.concatenate([rx + self.p.columns(self.W * rz), ry])[self.order]
        right = solve_triangular(self.factors, right, lower=True, unit_diagonal=True)
        u, v = jnp.split(solve_triangular(self.factors, right), [rx.size])
        return u, v, self.W * (self.p.rows(u) - rz)

    def _left(self, r: tuple, t: tuple) -> tuple:
        u, v, w = t
        return (
            r[0] - self.p.P @ u - v @ self.p.A - self.p.columns(w),
            r[1] - self.p.A @ u,
            r[2] - self.p.rows(u) + self.H * w,
        )

    def solve(self, r: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The solution for one right-hand side; a correction that does not help is not made."""

        def size(left: tuple) -> Scalar:
            return jnp.max(jnp.array([jnp.max(jnp.abs(v), initial=0) for v in left]))

        def refine(_: int, at: tuple) -> tuple:
            t, left = at
            trial = jax.tree.map(jnp.add, t, self._once(left))
            beyond = self._left(r, trial)
            return tree.where(size(beyond) < size(left), (trial, beyond), at)

        nothing = jax.tree.map(jnp.zeros_like, r)
        return jax.lax.fori_loop(0, self.refinements + 1, refine, (nothing, r))[0]

    def both(self, first: tuple, second: tuple) -> tuple[tuple, tuple]:
        """The solutions for two right-hand sides."""
        solved = jax.vmap(self.solve)(jax.tree.map(lambda a, b: jnp.stack([a, b]), first, second))
        return jax.tree.map(lambda v: v[0], solved), jax.tree.map(lambda v: v[1], solved)


def start(p: Program) -> Point:
    """Mehrotra's start: the least-norm slacks and multipliers, shifted into the interior."""
    equations = Equations(p, jnp.where(p.slack, 1, 0).astype(p.q.dtype))
    none = jax.tree.map(jnp.zeros_like, (p.q, p.b, p.d))
    # A quadratic objective ties the two together; without one the slacks and the multipliers are both least.
    tied = jnp.any(p.P != 0)
    dual, primal = equations.both((-p.q, none[1], none[2]), (jnp.where(tied, -p.q, 0), p.b, p.d))
    x, s = primal[0], -primal[2]
    y, z = tree.where(tied, primal[1:], dual[1:])

    def interior(v: Array) -> Array:
        least = jnp.min(v, initial=jnp.inf, where=p.slack)
        return v + jnp.where(least > 0, 0, 1 - least)

    one = jnp.ones((), p.q.dtype)
    return Point(x, y, jnp.where(p.slack, interior(z), z), jnp.where(p.slack, interior(s), 0), one, one)


def advance(p: Program, at: Point) -> Point:
    """One predictor-corrector step from an interior point to the next."""
    x, y, z, s, tau, kappa = at
    xi = x / tau
    Pxi = p.P @ xi
    residual = (
        p.P @ x + y @ p.A + p.columns(z) + p.q * tau,
        p.A @ x - p.b * tau,
        p.rows(x) + s - p.d * tau,
    )
    gap = p.q @ x + p.b @ y + p.d @ z + kappa + x @ Pxi
    degree = 1 + jnp.sum(p.slack)
    mu = (jnp.sum(jnp.where(p.slack, s * z, 0)) + tau * kappa) / degree
    safe = jnp.where(p.slack, z, 1)
    equations = Equations(p, jnp.where(p.slack, s / safe, 0))

    def right(share: Scalar | float, es: Array) -> tuple:
        ex, ey, ez = (-share * r for r in residual)
        return ex, ey, ez + jnp.where(p.slack, es / safe, 0)

    fixed, moved = equations.both((-p.q, p.b, p.d), right(1.0, s * z))
    away = fixed[0] - xi
    pivot = -(away @ p.P @ away + fixed[2] @ (equations.H * fixed[2]) + kappa / tau)

    def direction(moved: tuple, share: Scalar | float, es: Array, ek: Scalar) -> Point:
        rest = (p.q + 2 * Pxi) @ moved[0] + p.b @ moved[1] + p.d @ moved[2]
        dtau = (ek / tau - share * gap - rest) / pivot
        dx, dy, dz = (a + dtau * b for a, b in zip(moved, fixed, strict=True))
        ds = jnp.where(p.slack, -(es + s * dz) / safe, 0)
        return Point(dx, dy, dz, ds, dtau, -(ek + kappa * dtau) / tau)

    def longest(d: Point) -> Scalar:
        def reach(v: Array, dv: Array) -> Scalar:
            return jnp.min(jnp.where(dv < 0, -v / jnp.where(dv < 0, dv, -1), jnp.inf), initial=jnp.inf)

        cone = [reach(v, jnp.where(p.slack, dv, 0)) for v, dv in ((z, d.z), (s, d.s))]
        return jnp.min(jnp.array([1.0, *cone, reach(tau, d.tau), reach(kappa, d.kappa)]))

    predictor = direction(moved, 1.0, s * z, tau * kappa)
    sigma = (1 - longest(predictor)) ** 3
    es = s * z + predictor.s * predictor.z - sigma * mu
    ek = tau * kappa + predictor.tau * predictor.kappa - sigma * mu
    corrector = direction(equations.solve(right(1 - sigma, es)), 1 - sigma, es, ek)
    length = 0.99 * longest(corrector)
    ahead = jax.tree.map(lambda v, d: v + length * d, at, corrector)
    # The embedding is homogeneous; without this its scale would drift.
    return jax.tree.map(lambda v: v / jnp.maximum(ahead.tau, ahead.kappa), ahead)
