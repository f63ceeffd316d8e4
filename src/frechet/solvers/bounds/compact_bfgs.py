"""A limited-memory BFGS model of the Hessian in compact form, and its minimisers in a box."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar


class CompactBFGS(NamedTuple):
    r"""The BFGS matrix $B = \theta (I - W M W^\top)$ of some pairs $(s_i, y_i)$.

    The pairs are first scaled so that $s_i^\top y_i = 1$, which leaves $B$ as it is, and then $s$ by
    $\sqrt\theta$ and $y$ by $1/\sqrt\theta$; entries of $W = [Y, S]$ are then of order one whatever the units
    of $f$ and $x$.

    Attributes:
        theta: $\theta$, the curvature where the pairs say nothing.
        W: $[Y, S]$.
        inverse: $M^{-1}$, symmetric and indefinite.

    Source: Byrd, Nocedal, Schnabel 1994, Representations of quasi-Newton matrices and their use in limited
    memory methods, theorem 2.3.
    """

    theta: Scalar
    W: Float[Array, "n pairs2"]
    inverse: Float[Array, "pairs2 pairs2"]

    @staticmethod
    def of(
        s: Float[Array, "pairs n"], y: Float[Array, "pairs n"], rho: Float[Array, " pairs"]
    ) -> "CompactBFGS":
        r"""The matrix of pairs, the newest last, with $\rho_i = 1/s_i^\top y_i$; 0 where there is none."""
        used = rho > 0
        square = jnp.sum(y[-1] ** 2) * rho[-1]
        theta = jnp.where(used[-1], square, 1).astype(s.dtype)
        scale = jnp.sqrt(rho)[:, None]
        S, Y = s * scale * jnp.sqrt(theta), y * scale / jnp.sqrt(theta)
        one = jnp.eye(len(rho), dtype=s.dtype)
        L = jnp.tril(S @ Y.T, -1)
        # A pair that is not there: a unit entry, which keeps the matrix regular and meets a zero column.
        SS = S @ S.T + jnp.diag(jnp.where(used, 0, 1).astype(s.dtype))
        return CompactBFGS(theta, jnp.concatenate([Y, S]).T, jnp.block([[-one, L.T], [L, SS]]))

    def cauchy_point(
        self, x: Array, gradient: Array, lower: Array, upper: Array
    ) -> tuple[Array, Array, Bool[Array, " n"]]:
        r"""The first local minimiser of the model along $t \mapsto P(x - t g)$, with $P$ the projection.

        The path bends where a coordinate meets its bound. The model's slope and curvature on every piece are
        cumulative sums over the coordinates in the order in which they do, so no loop is needed.

        Returns:
            The point $c$, $B(c - x)$, and which coordinates are free there.

        Source: Byrd, Lu, Nocedal, Zhu 1995, A limited memory algorithm for bound constrained optimization,
        section 4.
        """
        bound = jnp.where(gradient < 0, upper, lower)
        away = jnp.where(gradient == 0, jnp.inf, bound - x)
        meets = jnp.where(gradient == 0, jnp.inf, away / jnp.where(gradient == 0, 1, -gradient))
        meets = jnp.maximum(meets, 0)
        d = jnp.where(meets > 0, -gradient, 0)
        order = jnp.argsort(meets)
        end, dW = meets[order], (d[:, None] * self.W)[order]
        begin = jnp.concatenate([jnp.zeros(1, end.dtype), end[:-1]])
        begin = jnp.where(jnp.isfinite(begin), begin, 0)

        def still_moving(v: Array) -> Array:
            return jnp.cumsum(v[::-1], axis=0)[::-1]

        square, p = still_moving(d[order] ** 2), still_moving(dW)
        fixed = jnp.where(jnp.isfinite(end), end, 0)[:, None] * dW
        z = jnp.cumsum(jnp.concatenate([0 * p[:1], fixed[:-1]]), axis=0) + begin[:, None] * p
        Mp = jnp.linalg.solve(self.inverse, p.T).T
        slope = (begin * self.theta - 1) * square - self.theta * jnp.sum(Mp * z, axis=1)
        curvature = self.theta * (square - jnp.sum(Mp * p, axis=1))
        eps = jnp.finfo(x.dtype).eps
        curvature = jnp.maximum(curvature, eps * self.theta * square)
        ahead = jnp.maximum(-slope / jnp.where(curvature > 0, curvature, 1), 0)
        within = (begin + ahead <= end) | (square == 0)
        k = jnp.argmax(within)
        t = jnp.where(within[k], begin[k] + ahead[k], end[-1])

        there = meets <= t
        point = jnp.clip(jnp.where(there, bound, x + jnp.where(jnp.isfinite(t), t, 0) * d), lower, upper)
        return point, self.product(point - x), ~there & (lower < upper)

    def product(self, v: Array) -> Array:
        """$Bv$."""
        return self.theta * (v - self.W @ jnp.linalg.solve(self.inverse, self.W.T @ v))

    def newton_step(self, gradient: Array, free: Bool[Array, " n"]) -> Array:
        """$-B_F^{-1} g_F$ on the free coordinates $F$, 0 on the others.

        Source: Byrd, Lu, Nocedal, Zhu 1995, A limited memory algorithm for bound constrained optimization,
        section 5.1.
        """
        W, g = jnp.where(free[:, None], self.W, 0), jnp.where(free, gradient, 0)
        return -(g + W @ jnp.linalg.solve(self.inverse - W.T @ W, W.T @ g)) / self.theta
