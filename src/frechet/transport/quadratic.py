"""Quadratic regularisation of transport plans, with or without a bound on the entries of a column."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Scalar

from frechet.convex.parameters import parameter
from frechet.transport.regulariser import Regulariser

SPARSE = {"sparse": "plans that are slacks over gamma where these are positive"}


class Quadratic(Regulariser):
    r"""$R(P) = \tfrac\gamma2\|P\|^2$, whose plans are $\max(f_i + g_j - C_{ij}, 0) / \gamma$ and sparse.

    Args:
        gamma: $\gamma > 0$, in units of the cost over those of mass.

    Raises:
        ValueError: ``gamma`` is not above zero.

    Source: Blondel, Seguy, Rolet 2018, Smooth and sparse optimal transport, arXiv 1710.06276; Lorenz, Manns,
    Meyer 2021, Quadratically regularized optimal transport, arXiv 1903.01112.

    Example:
        >>> import jax.numpy as jnp
        >>> r, one = Quadratic(0.5), jnp.array(1.0)
        >>> r.column(jnp.array([-1.0, 0.25]), jnp.ones(2) / 2, one).tolist()
        [0.0, 0.5]
    """

    offers: ClassVar[dict[str, str]] = SPARSE

    gamma: Any = eqx.field(default=1.0, converter=lambda v: parameter("gamma", v, positive=True))

    def column(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Float[Array, " m"]:
        return jnp.maximum(s, 0) / self.gamma

    def conjugate(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return jnp.sum(jnp.maximum(s, 0) ** 2) / (2 * self.gamma)

    def value(self, p: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return self.gamma * jnp.sum(p**2) / 2

    def best(self, z: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return _threshold(z, self.gamma * b)


class TopK(Regulariser):
    r"""$R(P) = \tfrac\gamma2\|P\|^2$ where every column has at most $k$ nonzero entries, infinite elsewhere.

    It is not convex: the dual problem is that of its biconjugate, and its plan solves the problem itself
    where no column has ties at its $k$-th largest slack. For $k = m$ it is `Quadratic`; for $k = 1$ the
    semi-dual is that of transport without regularisation, plus $\tfrac\gamma2\|b\|^2$.

    Whatever the potentials, their plan has at most $k$ entries a column and, with the best ones of the
    targets, columns of the right mass; it is a best plan for its own rows, by Fenchel's equality. Rows are
    met where the dual is smooth at its maximum; elsewhere the maximum is a lower bound that no plan attains.
    `frechet.Transport.report` says how far rows and columns are off, and leaves the plan as it is.

    Args:
        k: how many entries a column may have, a static positive integer.
        gamma: $\gamma > 0$.

    Raises:
        ValueError: ``k`` below one, or ``gamma`` not above zero.

    Source: Liu, Puigcerver, Blondel 2023, Sparsity-constrained optimal transport, arXiv 2209.15466.

    Example:
        >>> import jax.numpy as jnp
        >>> r, one = TopK(1, gamma=0.5), jnp.array(1.0)
        >>> r.column(jnp.array([0.5, 0.25]), jnp.ones(2) / 2, one).tolist()
        [1.0, 0.0]
    """

    symmetric: ClassVar[bool] = False
    rounded: ClassVar[bool] = False
    offers: ClassVar[dict[str, str]] = SPARSE

    k: int = eqx.field(static=True)
    gamma: Any = eqx.field(default=1.0, converter=lambda v: parameter("gamma", v, positive=True))

    def __check_init__(self):
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k must be an integer of at least 1, got {self.k}")

    def column(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Float[Array, " m"]:
        top, places = lax.top_k(s, min(self.k, s.size))
        return jnp.zeros_like(s).at[places].set(jnp.maximum(top, 0) / self.gamma)

    def conjugate(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return jnp.sum(jnp.maximum(self._top(s), 0) ** 2) / (2 * self.gamma)

    def value(self, p: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        beyond = jnp.sum(p > 0) > self.k
        return jnp.where(beyond, jnp.inf, self.gamma * jnp.sum(p**2) / 2)

    def best(self, z: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return _threshold(self._top(z), self.gamma * b)

    def _top(self, z: Float[Array, " m"]) -> Float[Array, " k"]:
        return lax.top_k(z, min(self.k, z.size))[0]


def _threshold(z: Float[Array, " m"], mass: Scalar) -> Scalar:
    r"""The $g$ with $\sum_i \max(z_i + g, 0)$ equal to ``mass``."""
    top = lax.stop_gradient(jnp.max(z))
    below = z - top  # so that the sums do not cancel
    held = _held(*lax.stop_gradient((below, mass)))
    return (mass - jnp.sum(jnp.where(held, below, 0))) / jnp.sum(held) - top


def _held(z: Float[Array, " m"], mass: Scalar) -> Bool[Array, " m"]:
    """Which entries are above the threshold, for entries of which the largest is 0.

    Newton's method for a convex function, piecewise linear, from below: it ends after finitely many turns,
    a few as a rule, where sorting takes longer.
    """

    def turn(at: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        _, threshold = at
        held = z > threshold
        return threshold, (jnp.sum(jnp.where(held, z, 0)) - mass) / jnp.sum(held)

    rises = lambda at: at[1] > at[0]  # noqa: E731
    start = jnp.full_like(mass, -jnp.inf), -mass
    return z > lax.while_loop(rises, turn, start)[0]
