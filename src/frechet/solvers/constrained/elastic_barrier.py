r"""Rows $r(x) = 0$ or $r(x) \le 0$ by an exact penalty with a logarithmic barrier, and Newton steps on it.

With slacks $a, b > 0$ a row reads $r + a - b = 0$ and costs $\alpha a + \nu b$; $\alpha$ is $\nu$ for an
equation and 0 for an inequality, so slacks always exist, whatever $r$ is. Its multiplier $w$ keeps
$\alpha + w > 0$ and $\nu - w > 0$. The slacks are eliminated: they are those that the barrier likes best.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from frechet.solvers.trial_loop import trial_loop


class Barrier(NamedTuple):
    r"""The barrier problem $\min_x f(x) + \sum_i \psi(r_i(x)) - \mu\sum_j \log(x_j - l_j)(u_j - x_j)$.

    Attributes:
        low: $\alpha$, shape (m,).
        high: $\nu$, a scalar.
        mu: $\mu$.
        lower: $l$, shape (n,), infinite where there is none; ``upper`` is $u$.
        fixed: which unknowns have equal bounds; they take no part.
    """

    low: Float[Array, " m"]
    high: Scalar
    mu: Scalar
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]
    fixed: Array

    def slacks(self, r: Float[Array, " m"]) -> tuple[Array, Array]:
        r"""The $a$ and $b = r + a$ of least $\alpha a + \nu b - \mu\log a - \mu\log b$; nothing cancels."""
        c = self.low + self.high
        root = jnp.hypot(c * r, 2 * self.mu)
        long = root + c * jnp.abs(r)
        short = (2 * self.mu) ** 2 / long
        of = lambda r: (2 * self.mu + jnp.where(r > 0, long, short)) / (2 * c)  # noqa: E731
        return of(-r), of(r)

    def room(self, x: Float[Array, " n"]) -> tuple[Array, Array]:
        """Distances to the bounds, infinite where there is none, and not below what rounding resolves."""
        eps = jnp.finfo(x.dtype).eps

        def distance(v: Array, bound: Array) -> Array:
            resolved = jnp.where(jnp.isfinite(bound), eps * jnp.maximum(jnp.abs(bound), eps), 0)
            return jnp.where(self.fixed, jnp.inf, jnp.maximum(v, resolved))

        return distance(x - self.lower, self.lower), distance(self.upper - x, self.upper)

    def value(self, f: Scalar, r: Float[Array, " m"], x: Float[Array, " n"]) -> Scalar:
        """The barrier problem's objective; infinite outside the bounds."""
        a, b = self.slacks(r)
        below, above = self.room(x)
        logs = [jnp.where(jnp.isinf(v), 0, jnp.log(v)) for v in (below, above)]
        inside = jnp.all(self.fixed | (x >= self.lower) & (x <= self.upper))
        total = f + jnp.sum(self.low * a + self.high * b) - self.mu * jnp.sum(jnp.log(a) + jnp.log(b))
        return jnp.where(inside, total - self.mu * sum(jnp.sum(v) for v in logs), jnp.inf)

    def slope(self, gradient: Array, r: Array, jacobian: Array, x: Array) -> Array:
        """The gradient of `value` in ``x``."""
        a, _ = self.slacks(r)
        below, above = self.room(x)
        slope = gradient + (self.mu / a - self.low) @ jacobian - self.mu / below + self.mu / above
        return jnp.where(self.fixed, 0, slope)


class Duals(NamedTuple):
    """Multipliers: ``w`` of the rows, ``below`` and ``above`` of the bounds (0 where there is none)."""

    w: Float[Array, " m"]
    below: Float[Array, " n"]
    above: Float[Array, " n"]


class KKTMatrix(NamedTuple):
    """A symmetric matrix by its eigenvectors, after equilibration by ``scale``."""

    matrix: Array
    scale: Array
    eigenvalues: Array
    eigenvectors: Array

    def solve(self, right: Array) -> Array:
        """The solution of the system, refined once."""

        def once(v: Array) -> Array:
            along = (self.scale * v) @ self.eigenvectors / self.eigenvalues
            return self.scale * (self.eigenvectors @ along)

        first = once(right)
        return first + once(right - self.matrix @ first)


def newton_matrix(
    barrier: Barrier, duals: Duals, x: Array, r: Array, H: Array, J: Array, last: Scalar
) -> tuple[KKTMatrix, Scalar, Int[Array, ""]]:
    r"""The primal-dual system with $H$ shifted until the inertia is that of a minimum.

    Args:
        barrier: the problem.
        duals: the multipliers.
        x: the point, shape (n,).
        r: the rows, shape (m,).
        H: the Hessian of the Lagrangian, shape (n, n).
        J: the rows' Jacobian, shape (m, n).
        last: the last shift that was needed, where the search begins.

    Returns:
        The matrix, the shift, and how many factorisations it took.

    Source: Wächter, Biegler 2006, On the implementation of an interior-point filter line-search algorithm,
    section 3.1.
    """
    a, b = barrier.slacks(r)
    D = a / (duals.w + barrier.low) + b / (barrier.high - duals.w)
    below, above = barrier.room(x)
    eps = jnp.finfo(x.dtype).eps
    H = H + jnp.diag(duals.below / below + duals.above / above)
    both = barrier.fixed[:, None] | barrier.fixed[None, :]
    H = jnp.where(both, jnp.eye(x.size, dtype=x.dtype), H)
    J = jnp.where(barrier.fixed, 0, J)
    # Dependent rows would leave the sign of an eigenvalue to rounding.
    K = jnp.block([[H, J.T], [J, -jnp.diag(D + eps**0.75)]])
    size = jnp.max(jnp.abs(jnp.diagonal(H)), initial=0.0)
    least = 1e-4 * jnp.where(size > 0, size, 1)
    first = jnp.maximum(least, last / 3).astype(x.dtype)
    t, matrix, trials = trial_loop(
        _factorised, _convex, first / 8, first, K, jnp.zeros(x.size), factor=8.0, max_trials=20
    )
    return matrix, jnp.where(trials > 1, t, 0).astype(x.dtype), trials


def _factorised(t: Scalar, first: Scalar, K: Array, like: Array) -> KKTMatrix:
    n = like.size
    shift = jnp.where(t < first, 0, t)  # the first trial is without
    K = K + jnp.diag(jnp.where(jnp.arange(len(K)) < n, shift, 0).astype(K.dtype))
    scale = jnp.ones(len(K), K.dtype)
    for _ in range(3):
        scaled = jnp.abs(K) * scale[:, None] * scale
        scale = scale / jnp.sqrt(jnp.max(scaled, axis=1))
    eigenvalues, eigenvectors = jnp.linalg.eigh(K * scale[:, None] * scale)
    return KKTMatrix(K, scale, eigenvalues, eigenvectors)


def _convex(t: Scalar, matrix: KKTMatrix, first: Scalar, K: Array, like: Array) -> Array:
    eps = jnp.finfo(K.dtype).eps
    return jnp.sum(matrix.eigenvalues > len(K) * eps) == like.size


def newton_step(
    barrier: Barrier, duals: Duals, matrix: KKTMatrix, x: Array, gradient: Array, r: Array, J: Array
) -> tuple[Array, Duals]:
    """The primal-dual Newton step: the move of ``x`` and those of the multipliers."""
    below, above = barrier.room(x)
    mu = barrier.mu
    dual_part = gradient + duals.w @ J - mu / below + mu / above
    row_part = r + mu / (duals.w + barrier.low) - mu / (barrier.high - duals.w)
    d = matrix.solve(-jnp.concatenate([jnp.where(barrier.fixed, 0, dual_part), row_part]))
    dx, dw = d[: x.size], d[x.size :]
    return dx, Duals(
        dw,
        (mu - duals.below * dx) / below - duals.below,
        (mu + duals.above * dx) / above - duals.above,
    )


def longest(value: Array, change: Array, share: Scalar) -> Scalar:
    """The longest step up to 1 that leaves the positive ``value`` more than ``1 - share`` of itself."""
    shrinking = change < 0
    ratio = jnp.where(shrinking, -share * value / jnp.where(shrinking, change, -1), jnp.inf)
    return jnp.minimum(1, jnp.min(ratio, initial=jnp.inf)).astype(value.dtype)
