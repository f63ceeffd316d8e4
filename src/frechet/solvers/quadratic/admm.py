"""ADMM for quadratic programs, with equilibration, adaptive penalty, polishing and certificates."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic import certificates, polishing, rows
from frechet.solvers.quadratic.equilibration import Scaling, equilibrate
from frechet.solvers.quadratic.penalised import (
    Penalised,
    factorisations,
    penalised,
    products,
    shape_up,
)
from frechet.solvers.quadratic.rows import Rows

ITERATIONS = 50
EQUATIONS = 1e3
SHIFT = 1e-6


class Splitting(NamedTuple):
    """The iterate, scaled: the point, its rows' and its own copy between the limits, their multipliers."""

    x: Float[Array, " n"]
    z: Float[Array, " m"]
    v: Float[Array, " n"]
    y: Float[Array, " m"]
    w: Float[Array, " n"]


class QuadraticADMMState(State):
    """``drift`` is how far the last step took the point and the multipliers of rows and bounds."""

    at: Splitting
    drift: tuple[Array, Array, Array]
    penalty: Scalar
    system: Penalised
    active: polishing.Active
    polisher: Penalised
    scaling: Scaling


class QuadraticADMM(Solver):
    r"""The alternating direction method of multipliers on $Kx = z$, $l \le z \le u$.

    $K$ stacks the equations, the inequalities and the bounds. One iteration is

    $$\tilde x = (P + \sigma I + K^\top R K)^{-1}(\sigma x - q + K^\top(R z - y)), \qquad
      s = \alpha K\tilde x + (1 - \alpha) z + R^{-1} y,$$

    $x \leftarrow \alpha\tilde x + (1 - \alpha) x$, $z \leftarrow \Pi_{[l, u]}(s)$, $y \leftarrow R(s - z)$,
    on the equilibrated program. $R$ is the penalty, a thousandfold on equations. After 50 iterations a step
    balances the penalty against the two residuals, which costs a factorisation where it changes more than
    fivefold, and polishes: with the limits that have multipliers as equations, the optimality conditions are
    one linear system. Its solution becomes ``x`` if it solves the program to rounding, better than the
    iterate does. Sparse matrices too large to be made dense are used through products alone, with
    conjugate gradients.

    A program without feasible point ends ``infeasible`` where the drift of the multipliers proves it, at a
    point within the bounds that violates the (equilibrated, weighted) rows least; one whose objective
    falls without end, ``unbounded``. A `KKTPoint` as start is a warm start.

    Args:
        penalty: the first $R$, of the equilibrated program.
        relaxation: $\alpha$, between 0 and 2.

    Source:
        Stellato, Banjac, Goulart, Bemporad, Boyd 2020, OSQP: an operator splitting solver for quadratic
        programs, arXiv 1711.08013.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> q, G = jnp.array([-2.0, -1.0]), jnp.ones((1, 2))
        >>> problem = fr.QuadraticProgram(jnp.eye(2), q, G=G, h=jnp.ones(1))
        >>> solution = fr.solve(problem, jnp.zeros(2), QuadraticADMM())
        >>> solution.x.primal.round(3).tolist(), solution.x.dual_ineq.round(3).tolist()
        ([1.0, 0.0], [1.0])
    """

    accepts: ClassVar[type] = QuadraticProgram
    check_every: ClassVar[int] = 1
    penalty: float = 0.1
    relaxation: float = 1.6

    def init(self, problem: QuadraticProgram, x0: KKTPoint, *, key: PRNGKeyArray) -> QuadraticADMMState:
        p = rows.stack(problem, x0.primal)
        scaling = equilibrate(p)
        p = shape_up(scaling.apply(p))
        x, y = scaling.shrink(x0.primal, rows.multipliers(x0))
        slope = scaling.cost * scaling.columns * problem.lagrangian_gradient(x0)
        v = jnp.clip(x, p.lower, p.upper)
        w = jnp.where(v - slope != jnp.clip(v - slope, p.lower, p.upper), -slope, 0)
        at = Splitting(x, jnp.clip(p.K @ x, p.l, p.u), v, y, w)
        penalty = jnp.asarray(self.penalty, x.dtype)
        none = polishing.Active(jnp.full(y.shape, 2, jnp.int8), jnp.full(x.shape, 2, jnp.int8))
        system = penalised(p, *_weights(p, penalty), SHIFT)
        calls = Calls().add(gradient=1, matvec=1, factorisation=factorisations(p))
        still = jax.tree.map(jnp.zeros_like, (x, y, w))
        return QuadraticADMMState(x0, calls, at, still, penalty, system, none, system, scaling)

    def step(
        self, problem: QuadraticProgram, state: QuadraticADMMState, *, key: PRNGKeyArray
    ) -> QuadraticADMMState:
        s, scaling, calls = state, state.scaling, state.calls
        p = shape_up(scaling.apply(rows.stack(problem, s.x.primal)))
        at, spent = self._iterate(p, s.at, s.penalty, s.system)

        penalty = _balanced(p, at, s.penalty)
        changed = penalty != s.penalty
        system = _where_any(changed, lambda: penalised(p, *_weights(p, penalty), SHIFT), s.system)

        active = polishing.active(p, at.y, at.w)
        other = jnp.any(active.rows != s.active.rows) | jnp.any(active.bounds != s.active.bounds)
        polisher = _where_any(other, lambda: polishing.system(p, active), s.polisher)
        *polished, more = polishing.polish(p, active, polisher, at.x, at.y, at.w)
        x = self._better(problem, s.x, scaling, (at.v, at.y), (polished[0], polished[1]))

        n = factorisations(p)
        calls = calls.add(
            matvec=spent + more + 1 + products(p),
            factorisation=n * changed.astype(int) + n * other.astype(int),
            gradient=2,
            prox=2,
        )
        went = tree.subtract(at, s.at)
        drift = (*scaling.expand(went.x, went.y), went.w / (scaling.cost * scaling.columns))
        return QuadraticADMMState(x, calls, at, drift, penalty, system, active, polisher, scaling)

    def diagnosis(self, problem: QuadraticProgram, state: QuadraticADMMState) -> Int[Array, ""]:
        p, x = rows.stack(problem, state.x.primal), state.x.primal
        dx, dy, dw = state.drift
        none = certificates.infeasible(p, dy, dw, x)
        endless = certificates.unbounded(p, dx, x, rows.multipliers(state.x))
        return certificates.ending(none, endless)

    def _iterate(self, p: Rows, at: Splitting, penalty: Scalar, system: Penalised) -> tuple:
        """A step's iterations: the iterate, and products used."""
        R, V = _weights(p, penalty)
        alpha = jnp.asarray(self.relaxation, at.x.dtype)

        def copy(s: Array, weight: Array, old: Array, y: Array, lower: Array, upper: Array) -> tuple:
            s = alpha * s + (1 - alpha) * old + y / jnp.where(weight > 0, weight, 1)
            z = jnp.clip(s, lower, upper)
            return z, weight * (s - z)

        def one(_: int, carry: tuple) -> tuple:
            at, spent = carry
            r = system.shift * at.x - p.q + p.K.T @ (R * at.z - at.y) + V * at.v - at.w
            x, n = system.solve(p, r, at.x)
            z, y = copy(p.K @ x, R, at.z, at.y, p.l, p.u)
            v, w = copy(x, V, at.v, at.w, p.lower, p.upper)
            ahead = Splitting(alpha * x + (1 - alpha) * at.x, z, v, y, w)
            return ahead, spent + n + 2

        return jax.lax.fori_loop(0, ITERATIONS, one, (at, jnp.zeros((), int)))

    def _better(
        self, problem: QuadraticProgram, like: KKTPoint, scaling: Scaling, one: tuple, other: tuple
    ) -> KKTPoint:
        """The iterate, or the polished point where that is a solution to rounding and better."""

        def unscaled(x: Array, y: Array) -> KKTPoint:
            x, y = scaling.expand(x, y)
            return rows.point(like, problem.g.prox(x, 1.0), y)

        one, other = unscaled(*one), unscaled(*other)
        left, right = tree.norm(problem.optimality(one)), tree.norm(problem.optimality(other))
        # Between wrong sets the polished point would rest while iterates still move: no stall that is one.
        small = jnp.sqrt(jnp.finfo(right.dtype).eps) * (1 + tree.largest(other))
        return tree.where((right < left) & (right <= small), other, one)


def _weights(p: Rows, penalty: Scalar) -> tuple[Array, Array]:
    """The diagonal of R, for the rows and for the bounds: nothing where there is no limit."""

    def of(lower: Array, upper: Array) -> Array:
        free = (lower == -jnp.inf) & (upper == jnp.inf)
        return penalty * jnp.where(free, 0, jnp.where(lower == upper, EQUATIONS, 1)).astype(penalty.dtype)

    return of(p.l, p.u), of(p.lower, p.upper)


def _balanced(p: Rows, at: Splitting, penalty: Scalar) -> Scalar:
    """The penalty that balances the relative residuals; as it is if that is within a factor of five."""

    def top(*vs: Array) -> Scalar:
        return jnp.max(jnp.concatenate(vs), initial=0) if vs else jnp.zeros(())

    Kx, Px, Ky = p.K @ at.x, p.curvature(at.x), p.K.T @ at.y + at.w
    tiny = jnp.finfo(penalty.dtype).tiny ** 0.5
    size = lambda *vs: jnp.maximum(top(*map(jnp.abs, vs)), tiny)  # noqa: E731
    primal = size(Kx - at.z, at.x - at.v) / size(Kx, at.x, at.z, at.v)
    dual = size(Px + p.q + Ky) / size(Px, p.q, Ky)
    # By a power of two, so that the rounding of small residuals does not get into the penalty.
    power = jnp.round(0.5 * jnp.log2(primal / dual)).astype(jnp.int32)
    wanted = jnp.clip(jnp.ldexp(penalty, power), 1e-6, 1e6)
    # Residuals at rounding say nothing.
    settled = jnp.maximum(primal, dual) < jnp.finfo(penalty.dtype).eps ** 0.75
    near = (wanted < 5 * penalty) & (wanted > penalty / 5)
    return jnp.where(near | settled, penalty, wanted)


def _where_any(condition: Bool[Array, ""], make: Callable[[], Any], other: Any) -> Any:
    """``make()`` where the condition holds; under vmap it is computed only if it does for some member."""
    turn = lambda carry: (jnp.asarray(False), make())  # noqa: E731
    return jax.lax.while_loop(lambda carry: carry[0], turn, (condition, other))[1]
