"""Direct solution of quadratic programs with equations alone."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic import certificates, rows
from frechet.solvers.quadratic.equilibration import Scaling, equilibrate


class DirectKKTState(State):
    """``moved`` is the last change of point and multipliers; ``factors`` belong to the scaled system."""

    scaling: Scaling
    factors: Any
    moved: tuple[Float[Array, " n"], Float[Array, " m"]]


class DirectKKT(Solver):
    r"""Solves the linear equations that a quadratic program with equations alone amounts to.

    $$\begin{pmatrix} P + \delta I & A^\top \\ A & -\delta I\end{pmatrix} \begin{pmatrix} u \\ v\end{pmatrix}
      = -\begin{pmatrix} Px + q + A^\top y \\ Ax - b\end{pmatrix}, \qquad (x, y) \leftarrow (x, y) + (u, v).$$

    The equilibrated matrix is factorised once, in ``init``. With $\delta = 0$ the first step would end at the
    solution; the small $\delta$ (the square root of the rounding unit) keeps it regular where rows of
    $A$ are dependent or $P$ is singular, and further steps, which cost as much as products with the matrix,
    undo its effect: they are those of the proximal method of multipliers. Where no solution exists the
    steps tend to the direction that proves it.

    Source:
        Saunders 1996, Cholesky-based methods for sparse least squares: the benefits of regularization;
        Nocedal, Wright 2006, Numerical Optimization, section 16.2.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.QuadraticProgram(P=jnp.eye(2), q=jnp.zeros(2), A=jnp.ones((1, 2)), b=jnp.ones(1))
        >>> solution = fr.solve(problem, jnp.zeros(2), DirectKKT())
        >>> solution.x.primal.round(3).tolist(), solution.x.dual_eq.round(3).tolist()
        ([0.5, 0.5], [-0.5])
    """

    accepts: ClassVar[type] = QuadraticProgram
    needs: ClassVar[frozenset[str]] = frozenset({"equations alone", "dense matrices"})
    check_every: ClassVar[int] = 1

    def init(self, problem: QuadraticProgram, x0: KKTPoint, *, key: PRNGKeyArray) -> DirectKKTState:
        p = rows.stack(problem, x0.primal)
        scaling = equilibrate(p)
        factors = jax.lax.stop_gradient(lx.LU().init(_system(scaling.apply(p)), {}))
        nowhere = jnp.zeros_like(p.q), jnp.zeros_like(p.l)
        return DirectKKTState(x0, Calls().add(factorisation=1), scaling, factors, nowhere)

    def step(self, problem: QuadraticProgram, state: DirectKKTState, *, key: PRNGKeyArray) -> DirectKKTState:
        given = rows.stack(problem, state.x.primal)
        p = state.scaling.apply(given)
        x, y = state.scaling.shrink(state.x.primal, rows.multipliers(state.x))
        left = jnp.concatenate([p.slope(x, y), p.K @ x - p.l])
        moved = lx.linear_solve(_system(p), -left, lx.LU(), state=state.factors, throw=False).value
        u, v = state.scaling.expand(*jnp.split(moved, [x.size]))
        ahead = KKTPoint(state.x.primal + u, None if state.x.dual_eq is None else state.x.dual_eq + v)
        calls = state.calls.add(matvec=2 * (problem.eq is not None) + (problem.P is not None))
        return DirectKKTState(ahead, calls, state.scaling, state.factors, (u, v))

    def diagnosis(self, problem: QuadraticProgram, state: DirectKKTState) -> Int[Array, ""]:
        p, x, (u, v) = rows.stack(problem, state.x.primal), state.x.primal, state.moved
        none = certificates.infeasible(p, v, jnp.zeros_like(u), x)
        return certificates.ending(none, certificates.unbounded(p, u, x, rows.multipliers(state.x)))


def _system(p: rows.Rows) -> lx.MatrixLinearOperator:
    n, m, delta = p.q.size, p.l.size, jnp.finfo(p.q.dtype).eps ** 0.5
    P = jnp.zeros((n, n), p.q.dtype) if p.P is None else p.P
    shift = jnp.concatenate([jnp.full(n, delta), jnp.full(m, -delta)]).astype(p.q.dtype)
    return lx.MatrixLinearOperator(
        jnp.block([[P, p.K.T], [p.K, jnp.zeros((m, m), p.q.dtype)]]) + jnp.diag(shift)
    )
