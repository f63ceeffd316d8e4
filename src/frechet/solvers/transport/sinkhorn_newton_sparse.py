"""Newton's method on the dual of entropic transport, with Sinkhorn sweeps and a sparse Hessian."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.convex.parameters import parameter
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.second_order.truncated_cg import truncated_cg
from frechet.solvers.trial_loop import trial_loop

LEVEL_SOLVED, LEVEL_RATIO = 0.03, 4.0
"""The error of the marginals at which epsilon is lowered, and by what factor."""
DAMPING, LONGEST_MOVE, ARMIJO = 1e-2, 10.0, 1e-4
"""Per error of the marginals; in units of epsilon; of the ascent that the slope promises."""
MOST_PRODUCTS = 400


class ScaledPlan(eqx.Module):
    r"""The plan $\mathrm{diag}(u) K \mathrm{diag}(v)$, which products need not have as a matrix."""

    K: Float[Array, "m n"]
    u: Float[Array, " m"]
    v: Float[Array, " n"]

    def times(self, problem: Transport, w: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.u * problem.product(self.K, self.v * w)

    def transposed_times(self, problem: Transport, p: Float[Array, " m"]) -> Float[Array, " n"]:
        return self.v * problem.transposed_product(self.K, self.u * p)


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
    vanishes with the error of the marginals, takes the longest of $1, \tfrac14, \tfrac1{16}, \dots$ that
    satisfies Armijo's condition, with no potential moved by more than $10\varepsilon$, and ends in a few
    Sinkhorn sweeps, which cost two products with the plan each. In products with the Hessian $P$ keeps its
    largest ``entries`` of every row, as the paper proposes; row and column sums are those of the whole
    plan. Where that drops more than a small part of the mass, and where a step with it has not halved the
    error, all of the plan is used, so that convergence is quadratic in the end.

    Small $\varepsilon$ is approached by a sequence of larger ones, a quarter of the last each, along the
    tangent of the path of solutions, unless the start is near the solution already. While the error is
    large a step is sweeps alone. So it converges from anywhere, as Sinkhorn does, and where
    that takes thousands of sweeps it takes ten to fifty steps. A step costs a pass over the cost for every
    step length tried, some products with the plan, and those of the conjugate gradients, of which sparse
    ones are not counted.

    Args:
        entries: how many entries of a row a sparse Hessian keeps; None keeps all.
        dropped: the part of the mass that it may drop at most; infinite to have it sparse always.
        start: the first $\varepsilon$, in units of the mean cost above the least; 0 starts with the problem's.
        newton_below: the error of the marginals, in $\ell_1$, above which a step is sweeps alone; with 0 it
            is Sinkhorn's algorithm.
        sweeps: Sinkhorn sweeps a step.

    Raises:
        ValueError: ``entries`` or ``sweeps`` are not whole numbers, of at least one and zero.

    Source:
        Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying 2024, Accelerating Sinkhorn
        algorithm with sparse Newton iterations, arXiv 2401.12253; scaling of epsilon: Schmitzer 2019,
        Stabilized sparse scaling algorithms for entropy regularized transport problems, arXiv 1610.06519.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> problem = fr.Transport(C, jnp.array([0.3, 0.7]), regulariser=fr.transport.Entropic(0.02))
        >>> solution = fr.solve(problem, problem.initial(), SinkhornNewtonSparse())
        >>> problem.plan(solution.x).round(2).tolist()
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
        for name, least in (("entries", 1), ("sweeps", 0)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least or name == "entries" and value is None):
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SNSState:
        at = Potentials(x0.f, problem.best_g(x0.f))
        K = problem.plan(at)
        rows = jnp.sum(K, 1)
        dtype = rows.dtype
        epsilon = jnp.asarray(problem.epsilon, dtype)
        far = ~(_error(problem, rows) < self.newton_below)
        spread = problem.cost.mean() - jnp.min(problem.cost.matrix())
        ahead = jnp.where(far, jnp.maximum(epsilon, self.start * spread), epsilon).astype(dtype)
        return SNSState(
            x0,
            Calls().add(matvec=2),
            epsilon,
            ahead,
            at,
            ScaledPlan(K, jnp.ones_like(x0.f), jnp.ones_like(x0.g)),
            rows,
            jnp.asarray(self.dropped, dtype),
            jnp.zeros((), int),
        )

    def step(self, problem: Transport, state: SNSState, *, key: PRNGKeyArray) -> SNSState:
        error = _error(problem, state.rows)
        changing = state.ahead != state.epsilon
        newton = (error < self.newton_below) & (error > 8 * jnp.finfo(error.dtype).eps)
        tilt, calls = _tangent(problem, state, changing & newton)
        d, sparse, products, used = self._direction(problem, state, error, newton, tilt)
        known = (problem.at_epsilon(state.ahead), state, d, tilt[1], changing)
        one = jnp.ones_like(error)
        _, (moved, K, v, _), trials = trial_loop(_trial, _ascends, one, *known, factor=0.25, max_trials=20)
        at, plan, rows = _swept(problem, moved, K, v, state.ahead, self.sweeps)

        now = _error(problem, rows)
        lower = jnp.maximum(problem.epsilon, state.ahead / LEVEL_RATIO).astype(now.dtype)
        failed = sparse & ~changing & (now > error / 2)
        dropped = jnp.where(changing, self.dropped, jnp.where(failed, 0.1 * state.dropped, state.dropped))
        return SNSState(
            problem.centred(at),
            state.calls.add(matvec=calls + used + 3 * trials + 2 * self.sweeps + 1),
            state.ahead,
            jnp.where(now < LEVEL_SOLVED, lower, state.ahead),
            at,
            plan,
            rows,
            dropped.astype(now.dtype),
            state.products + products,
        )

    def _direction(
        self, problem: Transport, state: SNSState, error: Scalar, newton: Bool[Array, ""], tilt: tuple
    ) -> tuple:
        """The direction for the sources, whether its Hessian was sparse, its products and those counted."""
        P, a, b, rows = state.plan, problem.a, problem.b, state.rows
        m, n = P.K.shape
        shifted = rows * (1 + DAMPING * error)
        returning = P.u**2 * jnp.sum(P.K**2 * (P.v**2 / b), 1)
        diagonal = jnp.maximum(shifted - returning, 8 * jnp.finfo(rows.dtype).eps * rows)
        scale = 1 / jnp.sqrt(diagonal)

        if self.entries is None or self.entries >= n:
            sparse, (values, places) = jnp.asarray(False), _nothing(P, 1)
        else:
            # A row's mass in k entries leaves a square of at least 1 / k of it.
            hopeful = newton & ((jnp.sum(returning) * self.entries >= 1) | (state.dropped >= 1))
            k = self.entries
            values, places = lax.cond(hopeful, lambda: _largest(P, k), lambda: _nothing(P, k))
            sparse = hopeful & (1 - jnp.sum(values) <= state.dropped)

        def some(p: Array) -> Array:
            w = jnp.zeros_like(b).at[places].add(values * p[:, None]) / b
            return jnp.sum(values * w[places], 1)

        def all_of_it(p: Array) -> Array:
            return P.times(problem, P.transposed_times(problem, p) / b)

        def hessian(p: Array) -> Array:
            p = scale * p
            return scale * (shifted * p - lax.cond(sparse, some, all_of_it, p))

        right = state.epsilon * (a - rows) + tilt[0]
        accuracy = jnp.clip(error, jnp.sqrt(jnp.finfo(error.dtype).eps), 0.1)
        gradient = jnp.where(newton, -scale * right, 0)
        d, products = truncated_cg(hessian, gradient, accuracy, min(MOST_PRODUCTS, 2 * m + 10))
        d = scale * d
        d = jnp.where(jnp.all(jnp.isfinite(d)) & (d @ right >= 0), d, 0)
        return d, sparse, products, jnp.where(sparse, 0, 2 * products)


def _error(problem: Transport, rows: Float[Array, " m"]) -> Scalar:
    return jnp.sum(jnp.abs(rows - problem.a))


def _largest(P: ScaledPlan, k: int) -> tuple[Float[Array, "m k"], Int[Array, "m k"]]:
    """The largest entries of every row and their places."""
    # Ranks need no more than single precision, in which CPUs have a fast selection.
    ranked = (P.K * P.v * P.u[:, None]).astype(jnp.float32)
    places = lax.top_k(ranked, k)[1]
    return jnp.take_along_axis(P.K, places, 1) * P.v[places] * P.u[:, None], places


def _nothing(P: ScaledPlan, k: int) -> tuple[Float[Array, "m k"], Int[Array, "m k"]]:
    shape = (P.K.shape[0], k)
    return jnp.zeros(shape, P.K.dtype), jnp.zeros(shape, jnp.int32)


def _tangent(problem: Transport, state: SNSState, wanted: Bool[Array, ""]) -> tuple[tuple, Scalar]:
    r"""What a change of epsilon adds to the Newton system and to the targets' move, and its products.

    With $S = f\oplus g - C$ a small change leaves the marginals as they are where the potentials' change
    solves the Newton system with right-hand sides $(P\circ S)1$ and $(P\circ S)^\top 1$ per $\varepsilon$.
    """
    P, at, b = state.plan, state.at, problem.b

    def tangent() -> tuple:
        C = problem.cost.matrix()
        carried = jnp.where(P.K > 0, P.K * C, 0)
        change = (state.ahead - state.epsilon) / state.epsilon
        rows = at.f * state.rows + P.times(problem, at.g) - P.u * problem.product(carried, P.v)
        columns = at.g * b + P.transposed_times(problem, at.f)
        columns = change * (columns - P.v * problem.transposed_product(carried, P.u)) / b
        return change * rows - P.times(problem, columns), columns

    zero = lambda: (jnp.zeros_like(at.f), jnp.zeros_like(at.g))  # noqa: E731
    return lax.cond(wanted, tangent, zero), jnp.where(wanted, 5, 0)


def _trial(
    t: Scalar, problem: Transport, state: SNSState, d: Array, tilt: Array, changing: Bool[Array, ""]
) -> tuple:
    """The potentials ahead, a matrix that is their plan but for its columns' scales, these, and the ascent."""
    longest = LONGEST_MOVE * state.epsilon
    f = jnp.clip(t * d, -longest, longest)
    g = t * tilt - state.plan.transposed_times(problem, f) / problem.b
    moved = Potentials(state.at.f + f, state.at.g + g)
    K = problem.plan(moved)
    v = problem.b / problem.transposed_product(K, jnp.ones_like(f))
    g = g + state.ahead * jnp.log(v)
    # By differences, which lose nothing where potentials are large beside epsilon.
    ascent = f @ problem.a + g @ problem.b
    rounding = jnp.finfo(f.dtype).eps * (8 * state.ahead + jnp.abs(f) @ problem.a + jnp.abs(g) @ problem.b)
    return moved, K, v, (ascent, rounding, f @ (problem.a - state.rows))


def _ascends(t: Scalar, trial: tuple, *known: Any) -> Bool[Array, ""]:
    ascent, rounding, promised = trial[-1]
    return jnp.isfinite(ascent) & (known[-1] | (ascent >= ARMIJO * promised - rounding))


def _swept(
    problem: Transport, at: Potentials, K: Array, v: Array, epsilon: Scalar, sweeps: int
) -> tuple[Potentials, ScaledPlan, Array]:
    """Potentials, plan and its row sums after Sinkhorn sweeps on the scales."""
    limits = jnp.finfo(K.dtype)
    most = limits.max**0.25  # of a row that has lost all of its mass

    def sweep(_: Any, scales: tuple) -> tuple:
        _, v = scales
        u = jnp.minimum(problem.a / jnp.maximum(problem.product(K, v), limits.tiny), most)
        return u, problem.b / problem.transposed_product(K, u)

    u, v = lax.fori_loop(0, sweeps, sweep, (jnp.ones_like(at.f), v))
    plan = ScaledPlan(K, u, v)
    moved = Potentials(at.f + epsilon * jnp.log(u), at.g + epsilon * jnp.log(v))
    return moved, plan, plan.times(problem, jnp.ones_like(v))
