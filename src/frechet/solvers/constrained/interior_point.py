"""A primal-dual interior point method for smooth constraints."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.constrained import Constrained, KKTPoint
from frechet.solvers.constrained.corrected_search import corrected_search
from frechet.solvers.constrained.dense_model import Form
from frechet.solvers.constrained.elastic_barrier import Barrier, Duals, longest, newton_matrix, newton_step


class InteriorPointState(State):
    r"""``primal`` is the iterate inside the bounds, ``value`` its $f$; the rest as in `elastic_barrier`."""

    primal: Float[Array, " n"]
    duals: Duals
    value: Scalar
    mu: Scalar
    penalty: Scalar
    shift: Scalar
    hopeless: Bool[Array, ""]


class InteriorPoint(Solver):
    r"""Primal-dual interior point for moderate sizes; nonconvex problems too, to a local solution.

    Bounds get a logarithmic barrier. So do the slacks of an exact penalty, $h = p - q$ and $c = t - s$ at the
    price of $\nu(p + q + t)$: then the constraints of the barrier problem can always be met, whether or not
    those of the problem can, and its multipliers stay bounded by $\nu$. A step is a Newton step on the
    primal-dual system

    $$\begin{pmatrix} \nabla^2_{xx} L + \Sigma + \delta I & J^\top \\ J & -D\end{pmatrix}
      \begin{pmatrix} d_x \\ d_w\end{pmatrix} = -\begin{pmatrix} \nabla f + J^\top w - \mu (X-L)^{-1}e +
      \mu (U-X)^{-1}e \\ r + \mu (\alpha + w)^{-1} - \mu(\nu - w)^{-1}\end{pmatrix},$$

    with $\delta$ raised until as many eigenvalues are positive as there are unknowns, shortened to stay
    inside by a fraction $\max\{0.99, 1 - \mu\}$ and until the barrier function falls; the first rejection
    is answered by a second-order correction. $\mu$ falls to $\min\{\mu/5, \mu^{3/2}\}$ where the barrier
    problem is solved to $10\mu$, and $\nu$ rises tenfold where a multiplier then comes near it. So
    convergence is superlinear. At $\nu = \varepsilon^{-1/2}$ a point whose violation is stationary ends the
    solve infeasible; it violates the constraints least in the $\ell_1$ norm, near it.

    A step costs a gradient, a Jacobian of the constraints, a product with the Lagrangian's Hessian for each
    unknown, a factorisation (of an (n + m) x (n + m) matrix) for each $\delta$ and a value for each length
    tried. Derivatives: implicit, not unrolled.

    Args:
        penalty: the first $\nu$.

    Source:
        Wächter, Biegler 2006, On the implementation of an interior-point filter line-search algorithm for
        large-scale nonlinear programming; Curtis 2012, A penalty-interior-point algorithm for nonlinear
        constrained optimization; Gould, Orban, Toint 2015, An interior-point l1-penalty method.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Constrained(lambda x: x.sum(), ineq=lambda x: x @ x - 2.0)
        >>> point = fr.solve(problem, jnp.array([0.3, -0.5]), InteriorPoint()).x
        >>> point.primal.round(2).tolist(), round(float(point.dual_ineq), 2)
        ([-1.0, -1.0], 0.5)
    """

    accepts: ClassVar[type] = Constrained
    needs: ClassVar[frozenset[str]] = frozenset({"bounds"})
    check_every: ClassVar[int] = 1
    penalty: Any = 10.0

    def init(self, problem: Constrained, x0: KKTPoint, *, key: PRNGKeyArray) -> InteriorPointState:
        form = Form.of(x0)
        x, w = form.vectors(x0)
        lower, upper = form.bounds(problem)
        mu, high = jnp.asarray(0.1, x.dtype), jnp.asarray(self.penalty, x.dtype)
        margin = 1e-2 * jnp.minimum(1, jnp.where(jnp.isfinite(upper - lower), upper - lower, jnp.inf))
        x = jnp.maximum(jnp.minimum(x, upper - margin), lower + margin).astype(x.dtype)
        barrier = _barrier(form, problem, mu, high, w.size)
        a, _ = barrier.slacks(form.rows(problem, x))
        central = jnp.minimum(mu / a - barrier.low, 1)
        w = jnp.clip(jnp.where(barrier.low > 0, w, jnp.maximum(w, central)), -0.9 * barrier.low, 0.9 * high)
        below, above = (jnp.isfinite(v).astype(x.dtype) for v in barrier.room(x))
        return InteriorPointState(
            x=x0,
            calls=Calls().add(value=1),
            primal=x,
            duals=Duals(w, below, above),
            value=form.value(problem, x),
            mu=mu,
            penalty=high,
            shift=jnp.zeros_like(mu),
            hopeless=jnp.asarray(False),
        )

    def step(
        self, problem: Constrained, state: InteriorPointState, *, key: PRNGKeyArray
    ) -> InteriorPointState:
        form, x, duals = Form.of(state.x), state.primal, state.duals
        gradient, r, J = form.linearised(problem, x)
        H = form.hessian(problem, x, duals.w)
        barrier = _barrier(form, problem, state.mu, state.penalty, r.size)
        barrier, hopeless = _advanced(barrier, duals, x, gradient, r, J)
        matrix, shift, factorisations = newton_matrix(barrier, duals, x, r, H, J, state.shift)
        dx, moves = newton_step(barrier, duals, matrix, x, gradient, r, J)
        share = jnp.clip(1 - barrier.mu, 0.99, 1 - jnp.finfo(x.dtype).eps)
        inside = lambda d: longest(  # noqa: E731
            jnp.concatenate(barrier.room(x)), jnp.concatenate([d, -d]), share
        )
        length = inside(dx)

        def corrected(ahead: Array, t: Scalar) -> Array:
            d, _ = newton_step(barrier, duals, matrix, x, gradient, t * r + ahead, J)
            return inside(d) * d

        slope = jnp.minimum(dx @ barrier.slope(gradient, r, J, x), 0)
        found = corrected_search(
            lambda x: (form.value(problem, x), form.rows(problem, x)),
            barrier.value,
            corrected,
            x,
            dx,
            length,
            barrier.value(state.value, r, x),
            slope,
        )
        x = jnp.where(found.accepted, found.x, x)
        # What is not finite in the data or at the start has to show; a step that is not is none.
        x = jnp.where(tree.all_finite((state.value, gradient, r, J, H)), x, jnp.nan)
        value = jnp.where(found.accepted, found.value, state.value)
        moved = _moved(barrier, duals, moves, share, x, jnp.where(found.accepted, found.rows, r))
        duals = tree.where(tree.all_finite(moved), moved, duals)
        return InteriorPointState(
            x=form.point(x, duals.w),
            calls=state.calls.add(
                value=found.trials,
                gradient=1,
                jacobian=1 if r.size else 0,
                hvp=x.size,
                factorisation=factorisations,
            ),
            primal=x,
            duals=duals,
            value=value,
            mu=barrier.mu,
            penalty=barrier.high,
            shift=shift,
            hopeless=hopeless,
        )

    def diagnosis(self, problem: Constrained, state: InteriorPointState) -> Int[Array, ""]:
        return jnp.where(state.hopeless, Ending.INFEASIBLE, Ending.RUNNING).astype(jnp.int32)


def _barrier(form: Form, problem: Constrained, mu: Scalar, high: Scalar, rows: int) -> Barrier:
    lower, upper = form.bounds(problem)
    low = jnp.where(jnp.arange(rows) < form.equations, high, 0).astype(mu.dtype)
    return Barrier(low, high, mu, lower, upper, lower >= upper)


def _error(barrier: Barrier, duals: Duals, x: Array, gradient: Array, r: Array, J: Array) -> Scalar:
    """How far the barrier problem's conditions are from being met, rounding apart."""
    eps = jnp.finfo(x.dtype).eps
    top = lambda v: jnp.max(jnp.abs(v), initial=0.0)  # noqa: E731
    pull = duals.w @ J
    dual = jnp.where(barrier.fixed, 0, gradient + pull - duals.below + duals.above)
    noise = 100 * eps * (top(gradient) + top(jnp.abs(duals.w) @ jnp.abs(J)))
    scale = jnp.maximum(1, jnp.maximum(top(duals.w), jnp.maximum(top(duals.below), top(duals.above))) / 100)
    a, b = barrier.slacks(r)
    below, above = (jnp.where(jnp.isinf(v), 0, v) for v in barrier.room(x))
    products = (a * (duals.w + barrier.low), b * (barrier.high - duals.w))
    bounds = [jnp.where(v > 0, v * z, barrier.mu) for v, z in ((below, duals.below), (above, duals.above))]
    gaps = jnp.concatenate([v - barrier.mu for v in (*products, *bounds)])
    return jnp.maximum(jnp.maximum(top(dual) - noise, 0), top(gaps)) / scale


def _advanced(
    barrier: Barrier, duals: Duals, x: Array, gradient: Array, r: Array, J: Array
) -> tuple[Barrier, Bool[Array, ""]]:
    r"""The next $\mu$ or $\nu$ where the barrier problem is solved; and whether no $\nu$ would help."""
    eps = float(jnp.finfo(x.dtype).eps)
    least, cap = 0.1 * eps, eps**-0.5

    def solved(barrier: Barrier) -> Array:
        return _error(barrier, duals, x, gradient, r, J) <= 10 * barrier.mu

    sizes = jnp.where(barrier.low > 0, jnp.abs(duals.w), duals.w)
    near = jnp.any(sizes > 0.9 * barrier.high) & solved(barrier)
    capped = barrier.high >= cap
    off = jnp.sum(jnp.where(barrier.low > 0, jnp.abs(r), jnp.maximum(r, 0)))
    high = jnp.where(near & ~capped, jnp.minimum(10 * barrier.high, cap), barrier.high).astype(x.dtype)
    raised = barrier._replace(high=high, low=jnp.where(barrier.low > 0, high, 0))

    def smaller(barrier: Barrier) -> Barrier:
        mu = jnp.minimum(0.2 * barrier.mu, barrier.mu**1.5)
        return barrier._replace(mu=jnp.maximum(mu, least).astype(mu.dtype))

    def go_on(barrier: Barrier) -> Array:
        return (barrier.mu > least) & solved(barrier) & ~near

    advanced = jax.lax.while_loop(go_on, smaller, raised)
    return advanced, near & capped & (off > eps ** (1 / 3))


def _moved(barrier: Barrier, duals: Duals, moves: Duals, share: Scalar, x: Array, r: Array) -> Duals:
    """The multipliers after the longest step that keeps them inside, near enough to the central path."""
    values = jnp.concatenate([duals.w + barrier.low, barrier.high - duals.w, duals.below, duals.above])
    changes = jnp.concatenate([moves.w, -moves.w, moves.below, moves.above])
    t = longest(values, changes, share)
    span = lambda v: (barrier.mu / (1e10 * v), 1e10 * barrier.mu / v)  # noqa: E731
    (a_least, a_most), (b_least, b_most) = map(span, barrier.slacks(r))
    inside = 1 - 2 * jnp.finfo(x.dtype).eps
    least = jnp.maximum(jnp.maximum(a_least - barrier.low, barrier.high - b_most), -inside * barrier.low)
    most = jnp.minimum(jnp.minimum(barrier.high - b_least, a_most - barrier.low), inside * barrier.high)
    w = jnp.clip(duals.w + t * moves.w, least, most)
    below, above = map(span, barrier.room(x))
    return Duals(
        w, jnp.clip(duals.below + t * moves.below, *below), jnp.clip(duals.above + t * moves.above, *above)
    )
