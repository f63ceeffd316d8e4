r"""Proofs that a quadratic program has no solution, from how iterates drift.

The differences of successive iterates of a splitting method tend to a certificate where there is no
solution. Each test takes a direction, which needs no length, and holds where it rules out every point (or
multiplier) up to $1/\sqrt\varepsilon$ times the present one's size, with $\varepsilon$ the rounding unit.

Source: Banjac, Goulart, Stellato, Boyd 2019, Infeasibility detection in the alternating direction method of
multipliers for convex optimization; Stellato et al. 2020, OSQP, arXiv 1711.08013 (section 3.4); Applegate,
Díaz, Lu, Lubin 2021, Infeasibility detection with primal-dual hybrid gradient for large-scale linear
programming, arXiv 2102.04592.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from frechet.core.status import Ending
from frechet.solvers.quadratic.rows import Rows


def infeasible(
    p: Rows, y: Float[Array, " m"], w: Float[Array, " n"], x: Float[Array, " n"]
) -> Bool[Array, ""]:
    r"""Whether multipliers prove that no point satisfies the rows and the bounds.

    Every feasible $x$ has $\langle K^\top y + w, x\rangle \le \sigma(y, w)$, with the support function
    $\sigma = \langle u, y^+\rangle - \langle l, y^-\rangle$ of rows and bounds together. If negative,
    that rules out all $x$ with $\|x\|_1 < -\sigma / \|K^\top y + w\|_\infty$.

    Args:
        p: the program.
        y: a direction of the rows' multipliers.
        w: the same of the bounds' multipliers.
        x: a point for the size of what is to be ruled out.
    """
    y, w = _towards(y, p.l, p.u), _towards(w, p.lower, p.upper)
    terms = jnp.concatenate([_support(y, p.l, p.u), _support(w, p.lower, p.upper)])
    beyond = -jnp.sum(terms)
    root = jnp.sqrt(jnp.finfo(x.dtype).eps)
    left = _largest(p.K.T @ y + w)
    crossed = jnp.any(p.l > p.u) | jnp.any(p.lower > p.upper)
    proven = (beyond > root * jnp.sum(jnp.abs(terms))) & (root * beyond > left * (1 + jnp.sum(jnp.abs(x))))
    return crossed | proven


def unbounded(
    p: Rows, d: Float[Array, " n"], x: Float[Array, " n"], y: Float[Array, " m"]
) -> Bool[Array, ""]:
    r"""Whether the objective falls without end from ``x`` along ``d``.

    If $\langle q, d\rangle < 0$, $Pd = 0$ and $d$ leaves no row and no bound, no multipliers satisfy the
    conditions of a solution. As well ``x`` has to be feasible, up to $\sqrt\varepsilon$ of its size.

    Args:
        p: the program.
        d: a direction of the point.
        x: the present point.
        y: the present multipliers of the rows, for the size of what is to be ruled out.
    """
    root = jnp.sqrt(jnp.finfo(x.dtype).eps)
    leaves = jnp.maximum(_escape(p.K @ d, p.l, p.u), _escape(d, p.lower, p.upper))
    left = jnp.maximum(_largest(p.curvature(d)), leaves)
    falls = -p.q @ d
    size = 1 + jnp.sum(jnp.abs(y)) + _largest(p.q)
    proven = (falls > root * jnp.sum(jnp.abs(p.q * d))) & (root * falls > left * size)
    return proven & (p.violation(x) <= root * (1 + _largest(x)))


def ending(none: Bool[Array, ""], endless: Bool[Array, ""]) -> Int[Array, ""]:
    """The `Ending` for what `infeasible` and `unbounded` say."""
    code = jnp.where(endless, Ending.UNBOUNDED, Ending.RUNNING)
    return jnp.where(none, Ending.INFEASIBLE, code).astype(jnp.int32)


def _largest(v: Array) -> Array:
    return jnp.max(jnp.abs(v), initial=0)


def _towards(y: Array, lower: Array, upper: Array) -> Array:
    """``y`` without what points at a limit that is infinite."""
    y = jnp.where((y > 0) & (upper == jnp.inf), 0, y)
    return jnp.where((y < 0) & (lower == -jnp.inf), 0, y)


def _support(y: Array, lower: Array, upper: Array) -> Array:
    return jnp.where(y > 0, upper, jnp.where(y < 0, lower, 0)) * y


def _escape(d: Array, lower: Array, upper: Array) -> Array:
    """How far a direction leads out of finite limits."""
    above, below = jnp.where(upper < jnp.inf, d, 0), jnp.where(lower > -jnp.inf, -d, 0)
    return jnp.max(jnp.maximum(above, below), initial=0)
