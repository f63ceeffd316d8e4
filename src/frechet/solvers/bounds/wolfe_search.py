"""A line search for the strong Wolfe conditions on a segment."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.solvers.rounding import rounding

ARMIJO, CURVATURE, MOST_TRIALS = 1e-3, 0.9, 20


class Sample(NamedTuple):
    r"""A step $t$ with $\psi(t)$ and $\psi'(t)$."""

    t: Scalar
    value: Scalar
    slope: Scalar


class _Search(NamedTuple):
    """``best`` is the end of the interval with the lower value, ``found`` its trial, ``other`` the far end,
    which means nothing until the interval is ``bracketed``."""

    t: Scalar
    longest: Scalar
    best: Sample
    found: PyTree[Array]
    other: Sample
    bracketed: Bool[Array, ""]
    width: Scalar
    earlier_width: Scalar
    trials: Int[Array, ""]
    done: Bool[Array, ""]


def wolfe_search(
    make_trial: Callable[..., tuple[PyTree[Array], Scalar, Scalar]],
    first: Scalar,
    longest: Scalar,
    value: Scalar,
    slope: Scalar,
    *args: Any,
) -> tuple[Scalar, PyTree[Array], Int[Array, ""]]:
    r"""A step $t \in (0, t_{\max}]$ with $\varphi(t) \le \varphi(0) + 10^{-3} t \varphi'(0)$, up to rounding,
    and $|\varphi'(t)| \le 0.9\,|\varphi'(0)|$ (or $t = t_{\max}$ where $\varphi$ still falls).

    Trials come from cubic interpolation of the auxiliary function
    $\psi(t) = \varphi(t) - \varphi(0) - 10^{-3} t \varphi'(0)$. One whose value or slope is not finite is
    taken for too long: from there on steps are at most half of it. After 20 trials the best
    one is taken. When derivatives are unrolled through it, the step counts as constant.

    Args:
        make_trial: ``make_trial(t, *args)``, whatever belongs to a step with its $\varphi(t)$ and
            $\varphi'(t)$; it may not close over traced arrays.
        first: the first step to try, at most ``longest``.
        longest: $t_{\max}$.
        value: $\varphi(0)$.
        slope: $\varphi'(0) < 0$; where it is not, no step is accepted.
        *args: pytrees handed to ``make_trial``.

    Returns:
        The step, 0 where none lowers $\psi$ (its trial then means nothing), its trial, and how many were
        made.

    Source: Moré, Thuente 1994, Line search algorithms with guaranteed sufficient decrease.
    """

    @eqx.filter_custom_jvp
    def search(first: Scalar, longest: Scalar, value: Scalar, slope: Scalar, args: Any) -> tuple:
        zero = jnp.zeros_like(first)
        shape = jax.eval_shape(lambda: make_trial(first, *args))
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        begin = Sample(zero, zero, ((1 - ARMIJO) * slope).astype(zero.dtype))
        start = _Search(
            first, longest, begin, blank, begin, jnp.asarray(False),
            longest, 2 * longest, jnp.zeros((), int), jnp.asarray(False),
        )  # fmt: skip

        def body(c: _Search) -> _Search:
            trial = make_trial(c.t, *args)
            ahead, slope_ahead = trial[1], trial[2]
            finite = jnp.isfinite(ahead) & jnp.isfinite(slope_ahead)
            psi = Sample(
                c.t,
                (ahead - value - ARMIJO * c.t * slope).astype(zero.dtype),
                (slope_ahead - ARMIJO * slope).astype(zero.dtype),
            )
            lower = finite & (psi.value <= rounding(value, ahead))
            flat = jnp.abs(slope_ahead) <= -CURVATURE * slope
            at_end = (c.t >= c.longest) & (psi.slope <= 0)
            accepted = lower & (flat | at_end)
            ahead_of = _narrowed(c, psi, trial)
            shorter = c._replace(
                t=c.best.t + 0.25 * (c.t - c.best.t), longest=c.best.t + 0.5 * (c.t - c.best.t)
            )
            new = tree.where(finite, ahead_of, shorter)
            better = accepted | (finite & (new.best.t == c.t))
            return new._replace(
                best=tree.where(accepted, psi, new.best),
                found=tree.where(better, trial, c.found),
                trials=c.trials + 1,
                done=accepted | new.done,
            )

        go_on = lambda c: ~c.done & (c.trials < MOST_TRIALS)  # noqa: E731
        last = jax.lax.while_loop(go_on, body, start)
        return last.best.t, last.found, last.trials

    @search.def_jvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        t, trial, trials = search(*primals)
        _, dot = eqx.filter_jvp(lambda args: make_trial(t, *args), (primals[-1],), (tangents[-1],))
        return (t, trial, trials), (jnp.zeros_like(t), dot, None)

    return search(first, longest, value, slope, args)


def _narrowed(c: _Search, p: Sample, trial: PyTree[Array]) -> _Search:
    """The search after a finite trial: a smaller interval and the next step (cases 1 to 4 of the paper)."""
    x, y = c.best, c.other
    shortest = jnp.where(c.bracketed, jnp.minimum(x.t, y.t), c.t + 1.1 * (c.t - x.t))
    furthest = jnp.where(c.bracketed, jnp.maximum(x.t, y.t), c.t + 4.0 * (c.t - x.t))

    higher = p.value > x.value
    turned = p.slope * x.slope < 0
    flatter = jnp.abs(p.slope) < jnp.abs(x.slope)
    cubic_x, secant = _cubic(x, p), p.t + p.slope / _nonzero(p.slope - x.slope) * (x.t - p.t)
    quadratic = x.t + 0.5 * x.slope / _nonzero((x.value - p.value) / _nonzero(p.t - x.t) + x.slope) * (
        p.t - x.t
    )
    case1 = jnp.where(jnp.abs(cubic_x - x.t) < jnp.abs(quadratic - x.t), cubic_x, 0.5 * (cubic_x + quadratic))
    case2 = jnp.where(jnp.abs(cubic_x - p.t) > jnp.abs(secant - p.t), cubic_x, secant)
    limit = jnp.where(p.t > x.t, furthest, shortest)
    beyond = (cubic_x - p.t) * (p.t - x.t) > 0
    cubic3 = jnp.where(beyond, cubic_x, limit)
    nearer = jnp.abs(cubic3 - p.t) < jnp.abs(secant - p.t)
    close = jnp.where(nearer, cubic3, secant)
    bent = p.t + 0.66 * (y.t - p.t)
    close = jnp.where(p.t > x.t, jnp.minimum(bent, close), jnp.maximum(bent, close))
    far = jnp.clip(jnp.where(nearer, secant, cubic3), shortest, furthest)
    case3 = jnp.where(c.bracketed, close, far)
    case4 = jnp.where(c.bracketed, _cubic(y, p), limit)
    t = jnp.where(higher, case1, jnp.where(turned, case2, jnp.where(flatter, case3, case4)))

    other = tree.where(higher, p, tree.where(turned, x, y))
    best = tree.where(higher, x, p)
    bracketed = c.bracketed | higher | turned
    width = jnp.abs(other.t - best.t)
    slow = bracketed & c.bracketed & (width >= 0.66 * c.earlier_width)
    t = jnp.where(slow, best.t + 0.5 * (other.t - best.t), t)
    low, high = jnp.minimum(best.t, other.t), jnp.maximum(best.t, other.t)
    # Interpolation of numbers at rounding level may give anything.
    t = jnp.where(bracketed & ~((t > low) & (t < high)), 0.5 * (low + high), t)
    t = jnp.clip(t, 0, c.longest)
    small = bracketed & (high - low <= 0.1 * high) & (best.t > 0)
    return c._replace(
        t=t.astype(c.t.dtype),
        best=best,
        other=other,
        bracketed=bracketed,
        width=jnp.where(bracketed, width, c.width).astype(c.width.dtype),
        earlier_width=jnp.where(bracketed, c.width, c.earlier_width),
        done=small,
    )


def _cubic(a: Sample, b: Sample) -> Scalar:
    """The local minimiser of the cubic with two values and slopes; beyond ``b`` if it has none."""
    theta = 3 * (a.value - b.value) / _nonzero(b.t - a.t) + a.slope + b.slope
    scale = jnp.maximum(jnp.maximum(jnp.abs(theta), jnp.abs(a.slope)), jnp.abs(b.slope))
    scale = _nonzero(scale)
    root = scale * jnp.sqrt(jnp.maximum((theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale), 0))
    root = jnp.where(b.t > a.t, root, -root)
    return b.t - (b.t - a.t) * (b.slope + root - theta) / _nonzero(b.slope - a.slope + 2 * root)


def _nonzero(v: Array) -> Array:
    return jnp.where(v == 0, 1, v)
