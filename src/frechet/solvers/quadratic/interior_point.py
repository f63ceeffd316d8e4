"""Primal-dual interior point for dense quadratic and linear programs."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Scalar

from frechet.convex import homogeneous
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic import certificates, rows
from frechet.solvers.quadratic.embedded import program
from frechet.solvers.quadratic.equilibration import Scaling, equilibrate


class QuadraticInteriorPointState(State):
    r"""``at`` is the interior point in the scaled program, ``residual`` belongs to ``x``."""

    scaling: Scaling
    at: homogeneous.Point
    residual: Scalar


class QuadraticInteriorPoint(Solver):
    r"""Mehrotra's predictor-corrector method on a homogeneous embedding, for small dense programs.

    The conditions of Karush, Kuhn and Tucker, inequalities and bounds with slacks $s$ and multipliers $z$,
    are made homogeneous by a scalar $\tau$, and Newton's method follows their central path, $s_i z_i = \mu$
    and $\tau\kappa = \mu$, to $\mu = 0$. A predictor aims straight at it; a corrector takes the curvature
    that the predictor met into account and keeps to the middle. Where the program has a solution it is
    $x / \tau$; where it has none $\tau$ tends to zero, and what is left proves it infeasible or unbounded.

    A step is one factorisation and does not depend on how the program is scaled; some ten to twenty reach
    full accuracy. The start serves only to see whether it is a solution already. An infeasible program
    ends where the residual was last, not at a least violation.

    Source:
        Goulart, Chen 2024, Clarabel: an interior-point solver for conic programs with quadratic objectives,
        arXiv 2405.12762; Mehrotra 1992, On the implementation of a primal-dual interior point method.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.QuadraticProgram(q=-jnp.ones(2), G=jnp.array([[1.0, 2.0]]), h=jnp.ones(1), lower=0.0)
        >>> solution = fr.solve(problem, jnp.zeros(2), QuadraticInteriorPoint())
        >>> solution.x.primal.round(3).tolist(), solution.x.dual_ineq.round(3).tolist()
        ([1.0, 0.0], [1.0])
    """

    accepts: ClassVar[type] = QuadraticProgram
    needs: ClassVar[frozenset[str]] = frozenset({"dense matrices"})
    check_every: ClassVar[int] = 1

    def init(
        self, problem: QuadraticProgram, x0: KKTPoint, *, key: PRNGKeyArray
    ) -> QuadraticInteriorPointState:
        scaling = equilibrate(rows.stack(problem, x0.primal))
        at = homogeneous.start(program(problem, x0.primal, scaling))
        calls = Calls().add(factorisation=1, gradient=1, prox=1)
        return QuadraticInteriorPointState(x0, calls, scaling, at, tree.norm(problem.optimality(x0)))

    def step(
        self, problem: QuadraticProgram, state: QuadraticInteriorPointState, *, key: PRNGKeyArray
    ) -> QuadraticInteriorPointState:
        p = program(problem, state.x.primal, state.scaling)
        ahead = homogeneous.advance(p, state.at)
        x = problem.prox(state.scaling.columns * ahead.x / ahead.tau, 1.0)
        point = rows.point(state.x, x, self._multipliers(p, state.scaling, ahead) / ahead.tau)
        residual = tree.norm(problem.optimality(point))
        # Below the default tolerance rounding may undo what earlier steps reached.
        best = (residual <= state.residual) | (state.residual > jnp.sqrt(jnp.finfo(x.dtype).eps))
        best &= tree.all_finite((ahead, residual))
        point, ahead, residual = tree.where(
            best, (point, ahead, residual), (state.x, state.at, state.residual)
        )
        calls = state.calls.add(factorisation=1, gradient=1, prox=2)
        return QuadraticInteriorPointState(point, calls, state.scaling, ahead, residual)

    def _multipliers(self, p: homogeneous.Program, scaling: Scaling, at: homogeneous.Point) -> Array:
        """Those of the rows in the program as given, times $\\tau$."""
        return scaling.rows * jnp.concatenate([at.y, at.z[: p.G.shape[0]]]) / scaling.cost

    def diagnosis(self, problem: QuadraticProgram, state: QuadraticInteriorPointState) -> Int[Array, ""]:
        scaling, at = state.scaling, state.at
        given = rows.stack(problem, state.x.primal)
        p = program(problem, state.x.primal, scaling)
        x, y = scaling.columns * at.x, self._multipliers(p, scaling, at)
        w = p.bound_multipliers(at.z) / (scaling.columns * scaling.cost)
        none = certificates.infeasible(given, y, w, x)
        return certificates.ending(none, certificates.unbounded(given, x, x / at.tau, y))
