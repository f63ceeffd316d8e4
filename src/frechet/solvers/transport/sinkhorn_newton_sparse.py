"""Newton's method on the dual of entropic transport, with Sinkhorn sweeps and a sparse Hessian."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.convex.parameters import parameter
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.second_order.truncated_cg import truncated_cg
from frechet.solvers.transport.scaled_plan import ScaledPlan
from frechet.solvers.trial_loop import trial_loop

LEVEL_SOLVED, LEVEL_RATIO = 0.03, 4.0
"""The error of the marginals at which epsilon is lowered, and by what factor."""
DAMPING, LONGEST_MOVE, ARMIJO = 1e-2, 10.0, 1e-4
"""Per error of the marginals; in units of epsilon; of the ascent that the slope promises."""
MOST_PRODUCTS = 400
"""With a Hessian, for one direction."""


class SNSState(State):
    r"""Where the iteration stands.

    Attributes:
        epsilon: the strength of regularisation that ``plan`` is for.
        ahead: that of the next one.
        at: the plan's potentials, which make its columns exact.
        plan: the plan.
        rows: its row sums.
        dropped: mass that a sparse Hessian may drop.
        products: products with Hessians so far, sparse ones included.
    """

    epsilon: Scalar
    ahead: Scalar
    at: Potentials
    plan: ScaledPlan
    rows: Float[Array, " m"]
    dropped: Scalar
    products: Int[Array, ""]


class SinkhornNewtonSparse(Solver):
    r"""Sinkhorn-Newton-Sparse: Newton steps on the dual of entropic transport, from where Sinkhorn leads.

    With the targets' potentials at their best for those of the sources, minus the dual value is a convex
    function of $f$ with Hessian

    $$\frac1\varepsilon\big(\mathrm{diag}(P1) - P\,\mathrm{diag}(b)^{-1}P^\top\big).$$

    A step solves for a direction by conjugate gradients (preconditioned by the diagonal), with a shift that
    vanishes with the error of the marginals. It goes the longest of $1, \tfrac14, \tfrac1{16}, \dots$ that
    satisfies Armijo's condition, with no source's potential moved by more than $10\varepsilon$, and ends in
    a few Sinkhorn sweeps, which cost two products with the plan each. In products with the Hessian $P$ keeps
    its largest ``entries`` of every row, as the paper proposes; row and column sums are those of the whole
    plan. Where that drops more than a small part of the mass, or too much for a step to halve the
    error, all of the plan is used, so that convergence is quadratic in the end.

    Small $\varepsilon$ is approached by a sequence of larger ones, a quarter of the last each, along the
    tangent of the path of solutions, unless the start is near the solution already. While the error is
    large a step is sweeps alone. So it converges from anywhere, as Sinkhorn's algorithm does, and where that
    takes thousands of sweeps it takes ten to fifty steps. A step costs a pass over the cost for every
    step length tried, some products with the plan, and those of the conjugate gradients, of which sparse
    ones are no oracle calls.

    Args:
        entries: how many entries of a row a sparse Hessian keeps; None keeps all.
        sweeps: Sinkhorn sweeps a step.
        dropped: the part of the mass that may be dropped; infinite to have the Hessian sparse always.
        start: the first $\varepsilon$, in units of the mean cost above the least; 0 for the problem's own.
        newton_below: the error of the marginals, in $\ell_1$, above which a step is sweeps alone; with 0 it
            is Sinkhorn's algorithm.

    Raises:
        ValueError: ``entries`` is no whole number of at least one, or ``sweeps`` of at least zero.

    Source:
        Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying 2024, Accelerating Sinkhorn
        algorithm with sparse Newton iterations, arXiv 2401.12253; a sequence of epsilons: Schmitzer 2019,
        Stabilized sparse scaling algorithms for entropy regularized transport problems, arXiv 1610.06519.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> problem = fr.Transport(C, jnp.array([0.3, 0.7]), regulariser=fr.transport.Entropic(0.02))
        >>> solution = fr.solve(problem, problem.initial(), SinkhornNewtonSparse())
        >>> [[round(float(p), 2) for p in row] for row in problem.plan(solution.x)]
        [[0.3, 0.0], [0.2, 0.5]]
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"plan", "entropic", "balanced"})
    check_every: ClassVar[int] = 2

    entries: int | None = eqx.field(default=32, static=True)
    sweeps: int = eqx.field(default=3, static=True)
    dropped: Any = eqx.field(default=0.01, converter=lambda v: parameter("dropped", v))
    start: Any = eqx.field(default=0.4, converter=lambda v: parameter("start", v))
    newton_below: Any = eqx.field(default=0.5, converter=lambda v: parameter("newton_below", v))

    def __check_init__(self):
        for name, value, least in (("entries", self.entries, 1), ("sweeps", self.sweeps, 0)):
            if value is not None and not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SNSState:
        at = Potentials(x0.f, problem.best_g(x0.f))
        plan = ScaledPlan(problem.plan(at), jnp.ones_like(at.f), jnp.ones_like(at.g))
        rows = jnp.sum(plan.K, 1)
        epsilon, cost = jnp.asarray(problem.epsilon, rows.dtype), problem.cost

        def larger() -> Scalar:
            spread = cost.mean() - jnp.min(cost.matrix())
            return jnp.maximum(epsilon, self.start * spread).astype(epsilon.dtype)

        ahead = lax.cond(_error(problem, rows) < self.newton_below, lambda: epsilon, larger)
        dropped = jnp.asarray(self.dropped, rows.dtype)
        nothing = jnp.zeros((), int)
        return SNSState(x0, Calls().add(matvec=2), epsilon, ahead, at, plan, rows, dropped, nothing)

    def step(self, problem: Transport, state: SNSState, *, key: PRNGKeyArray) -> SNSState:
        error = _error(problem, state.rows)
        changing = state.ahead != state.epsilon
        newton = (error < self.newton_below) & (error > 8 * jnp.finfo(error.dtype).eps)
        (tilt, tilt_g), used = _tangent(problem, state, changing & newton)
        d, sparse, products = self._direction(problem, state, error, newton, tilt)
        used = used + jnp.where(sparse, 0, 2 * products)

        next_problem = problem.at_epsilon(state.ahead)
        known = (next_problem, state, d, tilt_g, changing)
        one = jnp.ones_like(error)
        _, (at, plan, _), trials = trial_loop(_trial, _ascends, one, *known, factor=0.25, max_trials=20)
        plan, at, rows = plan.swept(next_problem, at, self.sweeps)
        used = used + 3 * trials + 2 * self.sweeps + 1

        now = _error(problem, rows)
        lower = jnp.maximum(problem.epsilon, state.ahead / LEVEL_RATIO).astype(now.dtype)
        # Farther away it may be the curvature that changes.
        failed = sparse & (error < LEVEL_SOLVED) & (now > error / 2)
        dropped = jnp.where(changing, self.dropped, jnp.where(failed, 0.1 * state.dropped, state.dropped))
        # An entry of a plan is at most its marginals; lowered so, it is at the problem's epsilon too.
        least = jnp.maximum(jnp.min(problem.a), jnp.min(problem.b))
        excess = -jnp.log(least) * (state.ahead - problem.epsilon)
        return SNSState(
            problem.centred(Potentials(at.f - excess, at.g)),
            state.calls.add(matvec=used),
            state.ahead,
            jnp.where(now < LEVEL_SOLVED, lower, state.ahead),
            at,
            plan,
            rows,
            dropped.astype(now.dtype),
            state.products + products,
        )

    def _direction(
        self, problem: Transport, state: SNSState, error: Scalar, newton: Bool[Array, ""], tilt: Array
    ) -> tuple[Float[Array, " m"], Bool[Array, ""], Int[Array, ""]]:
        """The sources' direction, whether its Hessian was sparse and how many products with that it took."""
        plan, b, rows = state.plan, problem.b, state.rows
        eps = jnp.finfo(rows.dtype).eps
        shifted = rows * (1 + DAMPING * error)
        squares = plan.rows_squared(1 / b)
        scale = 1 / jnp.sqrt(jnp.maximum(shifted - squares, 8 * eps * rows))
        keep = 0 if self.entries is None or self.entries >= b.size else self.entries
        # Mass that is in k entries a row leaves squares of at least 1 / k of it.
        hopeful = newton & (keep > 0) & ((jnp.sum(squares) * keep >= 1) | (state.dropped >= 1))
        some = lax.cond(hopeful, lambda: plan.largest(keep), lambda: plan.none(keep))
        sparse = hopeful & (1 - jnp.sum(some.values) <= state.dropped)

        def hessian(p: Array) -> Array:
            p = scale * p
            back = lax.cond(
                sparse,
                lambda: some.times(some.transposed_times(p, b.size) / b),
                lambda: plan.times(problem, plan.transposed_times(problem, p) / b),
            )
            return scale * (shifted * p - back)

        right = state.epsilon * (problem.a - rows) + tilt
        # As accurate as makes convergence quadratic, but for what rounding will undo.
        accuracy = jnp.clip(jnp.maximum(error, eps / error), None, 0.1)
        gradient = jnp.where(newton, -scale * right, 0)
        d, products = truncated_cg(hessian, gradient, accuracy, min(MOST_PRODUCTS, 2 * rows.size + 10))
        d = scale * d
        return jnp.where(jnp.all(jnp.isfinite(d)) & (d @ right >= 0), d, 0), sparse, products


def _error(problem: Transport, rows: Float[Array, " m"]) -> Scalar:
    return jnp.sum(jnp.abs(rows - problem.a))


def _tangent(problem: Transport, state: SNSState, wanted: Bool[Array, ""]) -> tuple[tuple, Scalar]:
    r"""What a change of epsilon adds to the Newton system and to the targets' move, and its products.

    With $S = f\oplus g - C$ a small change leaves the marginals as they are where the potentials' change
    solves the Newton system with right-hand sides $(P\circ S)1$ and $(P\circ S)^\top 1$ per $\varepsilon$.
    """
    plan, at, b = state.plan, state.at, problem.b

    def tangent() -> tuple:
        carried = jnp.where(plan.K > 0, plan.K * problem.cost.matrix(), 0)
        carried = ScaledPlan(carried, plan.u, plan.v)
        change = (state.ahead - state.epsilon) / state.epsilon
        rows = at.f * state.rows + plan.times(problem, at.g) - carried.times(problem, jnp.ones_like(b))
        columns = at.g * b + plan.transposed_times(problem, at.f)
        columns = change / b * (columns - carried.transposed_times(problem, jnp.ones_like(at.f)))
        return change * rows - plan.times(problem, columns), columns

    still = (jnp.zeros_like(at.f), jnp.zeros_like(at.g))
    return lax.cond(wanted, tangent, lambda: still), jnp.where(wanted, 5, 0)


def _trial(
    t: Scalar, problem: Transport, state: SNSState, d: Array, tilt: Array, changing: Bool[Array, ""]
) -> tuple[Potentials, ScaledPlan, tuple[Scalar, Scalar, Scalar]]:
    """Potentials, their plan with exact columns, and the ascent, up to what rounding and as promised."""
    longest = LONGEST_MOVE * state.epsilon
    f = jnp.clip(t * d, -longest, longest)
    g = t * tilt - state.plan.transposed_times(problem, f) / problem.b
    near = Potentials(state.at.f + f, state.at.g + g)
    K = problem.plan(near)
    v = problem.b / problem.transposed_product(K, jnp.ones_like(f))
    last = problem.epsilon * jnp.log(v)
    at, g = Potentials(near.f, near.g + last), g + last
    # By differences, which lose nothing where potentials are large beside epsilon.
    ascent = f @ problem.a + g @ problem.b
    size = 8 * problem.epsilon + jnp.abs(f) @ problem.a + jnp.abs(g) @ problem.b
    promised = f @ (problem.a - state.rows)
    return at, ScaledPlan(K, jnp.ones_like(f), v), (ascent, jnp.finfo(f.dtype).eps * size, promised)


def _ascends(
    t: Scalar, trial: tuple, problem: Transport, state: SNSState, d: Array, tilt: Array, changing: Array
) -> Bool[Array, ""]:
    # At another epsilon values do not compare.
    ascent, rounding, promised = trial[-1]
    return jnp.isfinite(ascent) & (changing | (ascent >= ARMIJO * promised - rounding))
