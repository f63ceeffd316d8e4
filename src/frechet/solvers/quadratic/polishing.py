"""Polishing: the solution of a quadratic program once it is known which limits it touches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from frechet.solvers.quadratic.penalised import Penalised, penalised, products
from frechet.solvers.quadratic.rows import Rows

REFINEMENTS = 4


class Active(NamedTuple):
    """Which limit of each row and of each bound is taken for active: -1 the lower, 1 the upper, 0 none."""

    rows: Int[Array, " m"]
    bounds: Int[Array, " n"]


def active(p: Rows, y: Float[Array, " m"], w: Float[Array, " n"]) -> Active:
    """The limits whose multipliers are not zero; an equation's always."""

    def side(v: Array, lower: Array, upper: Array) -> Array:
        return jnp.where(lower == upper, 1, jnp.sign(v)).astype(jnp.int8)

    return Active(side(y, p.l, p.u), side(w, p.lower, p.upper))


def weight(p: Rows) -> float:
    r"""$\mu = \delta$: of each other's order, and as small as rounding allows."""
    return float(jnp.finfo(p.q.dtype).eps) ** 0.4


def system(p: Rows, at: Active) -> Penalised:
    """What `polish` has to solve with."""
    mu = weight(p)
    on = [(jnp.abs(side) / mu).astype(p.q.dtype) for side in at]
    return penalised(p, on[0], on[1], mu)


def polish(p: Rows, at: Active, S: Penalised, x: Array, y: Array, w: Array) -> tuple:
    r"""Minimises the objective with the active limits as equations, by iterative refinement.

    A turn solves the optimality conditions for what they leave over, regularised by $\delta I$ and $-\mu I$
    so that they are solvable for dependent limits and for a singular $P$, and takes the correction.

    Args:
        p: the program.
        at: its active limits.
        S: what `system` gives for them.
        x: where to start, shape (n,).
        y: multipliers of the rows there.
        w: multipliers of the bounds there.

    Returns:
        The three, and how many products with matrices they took.

    Source:
        Stellato et al. 2020, OSQP, arXiv 1711.08013 (section 4).
    """
    mu = weight(p)

    def target(side: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
        return side != 0, jnp.where(side > 0, upper, jnp.where(side < 0, lower, 0))

    (on, a), (held, c) = target(at.rows, p.l, p.u), target(at.bounds, p.lower, p.upper)

    def refine(_: int, carry: tuple) -> tuple:
        x, y, w, spent = carry
        ry, rw = jnp.where(on, a - p.K @ x, 0), jnp.where(held, c - x, 0)
        r = -p.slope(x, y - ry / mu) - w + rw / mu
        dx, n = S.solve(p, r, jnp.zeros_like(x))
        y = y + jnp.where(on, p.K @ dx - ry, 0) / mu
        w = w + jnp.where(held, dx - rw, 0) / mu
        return x + dx, y, w, spent + n + 1 + products(p)

    start = (x, jnp.where(on, y, 0), jnp.where(held, w, 0), jnp.zeros((), int))
    x, y, w, spent = jax.lax.fori_loop(0, REFINEMENTS, refine, start)
    return jnp.where(held, c, x), y, w, spent
