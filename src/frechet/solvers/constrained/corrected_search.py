"""A line search that answers the first rejection by a second-order correction of the constraints."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from frechet.solvers.rounding import rounding

MOST_TRIALS = 30


class Search(NamedTuple):
    """What the search found: the point, its objective and rows, whether it was accepted, and the trials."""

    x: Float[Array, " n"]
    value: Scalar
    rows: Float[Array, " m"]
    accepted: Bool[Array, ""]
    trials: Int[Array, ""]


def corrected_search(
    evaluate: Callable[[Array], tuple[Scalar, Array]],
    merit: Callable[[Scalar, Array, Array], Scalar],
    corrected: Callable[[Array, Scalar], Array],
    x: Float[Array, " n"],
    d: Float[Array, " n"],
    length: Scalar,
    now: Scalar,
    slope: Scalar,
) -> Search:
    r"""The first of $x + td$, $x + \hat d$, $x + \tfrac t2 d$, $x + \tfrac t4 d$, ... with a lower merit.

    A full step along which the constraints bend away can raise any merit function however close the solution
    (Maratos' effect); the correction $\hat d$ aims the constraints' values at the rejected point back to 0.

    Args:
        evaluate: from a point to $f$ and the constraints there; costs a value.
        merit: from $f$, the constraints and the point to the merit function.
        corrected: from the constraints at the rejected point and its step length to the move $\hat d$.
        x: where the search begins.
        d: the direction.
        length: the first $t$.
        now: the merit at ``x``.
        slope: an upper bound, at most 0, of the merit's derivative along ``d``.

    Source: Fletcher 1982, Second order corrections for non-differentiable optimization; Nocedal, Wright 2006,
    Numerical Optimization, section 18.3.
    """

    def body(carry: tuple) -> tuple:
        found, t = carry
        k = found.trials
        t = jnp.where(k < 2, t, 0.5 * t)
        move = jax.lax.cond(k == 1, lambda: corrected(found.rows, t), lambda: t * d)
        ahead = x + move
        value, rows = evaluate(ahead)
        after = merit(value, rows, ahead)
        enough = after <= now + 1e-4 * t * slope + rounding(now, after)
        return Search(ahead, value, rows, enough & jnp.isfinite(after), k + 1), t

    like = jax.eval_shape(evaluate, x)
    blank = [jnp.zeros(s.shape, s.dtype) for s in like]
    start = Search(x, blank[0], blank[1], jnp.asarray(False), jnp.zeros((), int))
    return jax.lax.while_loop(lambda c: ~c[0].accepted & (c[0].trials < MOST_TRIALS), body, (start, length))[
        0
    ]
