"""Coordinate descent for quadratic programs with bounds alone."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic import certificates, rows


class BoxCoordinateDescentState(State):
    """``moved`` is how far the last sweep went."""

    moved: Float[Array, " n"]


class BoxCoordinateDescent(Solver):
    r"""Minimises $\tfrac12 x^\top P x + q^\top x$ over $l \le x \le u$ in one coordinate after the other.

    Each coordinate goes to its exact minimiser $\mathrm{clip}(x_i - (Px + q)_i / P_{ii},\, l_i, u_i)$ with
    the gradient kept up to date, so that a step, a sweep over all of them, costs as much as two products
    with $P$. The objective never rises and, for positive semidefinite $P$, converges linearly to the least
    there is, fast where $P$ is diagonally dominant: the dual of a support vector machine, nonnegative least
    squares. Along a coordinate with $P_{ii} = 0$ the objective is linear; where no bound stops its fall,
    sweeps go down without end, and the program is reported as unbounded.

    Source:
        Luo, Tseng 1992, On the convergence of the coordinate descent method for convex differentiable
        minimization; Hsieh et al. 2008, A dual coordinate descent method for large-scale linear SVM.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> P = jnp.array([[2.0, 1.0], [1.0, 2.0]])
        >>> problem = fr.QuadraticProgram(P=P, q=jnp.array([-4.0, 1.0]), lower=0.0)
        >>> fr.solve(problem, jnp.zeros(2), BoxCoordinateDescent()).x.primal.tolist()
        [2.0, 0.0]
    """

    accepts: ClassVar[type] = QuadraticProgram
    needs: ClassVar[frozenset[str]] = frozenset({"bounds only", "dense matrices"})
    check_every: ClassVar[int] = 5

    def init(
        self, problem: QuadraticProgram, x0: KKTPoint, *, key: PRNGKeyArray
    ) -> BoxCoordinateDescentState:
        return BoxCoordinateDescentState(x0, Calls(), jnp.zeros_like(x0.primal))

    def step(
        self, problem: QuadraticProgram, state: BoxCoordinateDescentState, *, key: PRNGKeyArray
    ) -> BoxCoordinateDescentState:
        x = state.x.primal
        p = rows.stack(problem, x)
        P = jnp.zeros((x.size, x.size), x.dtype) if p.P is None else p.P
        curvature = jnp.diagonal(P)
        # Where it is linear a finite stride stands for an infinite one.
        stride = 1 + jnp.max(jnp.abs(x))

        def update(i: Array, at: tuple) -> tuple:
            x, slope = at
            flat = curvature[i] <= 0
            newton = -slope[i] / jnp.where(flat, 1, curvature[i])
            beyond = jnp.where(jnp.isfinite(jnp.where(slope[i] > 0, p.lower[i], p.upper[i])), jnp.inf, stride)
            change = jnp.where(flat & (slope[i] != 0), -jnp.sign(slope[i]) * beyond, newton)
            new = jnp.minimum(jnp.maximum(x[i] + change, p.lower[i]), p.upper[i])
            return x.at[i].set(new), slope + (new - x[i]) * P[i]

        ahead, _ = jax.lax.fori_loop(0, x.size, update, (x, p.curvature(x) + p.q))
        calls = state.calls.add(coordinate=x.size, matvec=1)
        return BoxCoordinateDescentState(state.x._replace(primal=ahead), calls, ahead - x)

    def diagnosis(self, problem: QuadraticProgram, state: BoxCoordinateDescentState) -> Int[Array, ""]:
        x = state.x.primal
        p = rows.stack(problem, x)
        endless = certificates.unbounded(p, state.moved, x, rows.multipliers(state.x))
        return certificates.ending(jnp.asarray(False), endless)
