"""Gauss-Newton."""

from typing import ClassVar

import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.least_squares.linearised import linearised


class GaussNewtonState(State):
    """``residual`` and ``gradient`` (raveled) are those of the point before the last step."""

    residual: Float[Array, " m"]
    gradient: Float[Array, " n"]


class GaussNewton(Solver):
    r"""Gauss-Newton for least squares whose residual is small or nearly linear at the solution.

    $$x_{k+1} = x_k - J(x_k)^+ r(x_k)$$

    with $J$ the Jacobian, dense, and $J^+$ its pseudoinverse, so that the step is the shortest one where $J$
    is rank deficient. Undamped: from a bad start it may not converge, and `LevenbergMarquardt` is the better
    one.

    A step costs a residual, as many Jacobian-vector products as there are unknowns and a factorisation.

    Source: Nocedal, Wright 2006, Numerical Optimization, section 10.3.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.LeastSquares(lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]))
        >>> fr.solve(problem, jnp.array([-1.2, 1.0]), GaussNewton()).x.round(4).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = LeastSquares
    needs: ClassVar[frozenset[str]] = frozenset({"residual", "smooth"})
    check_every: ClassVar[int] = 1

    def init(self, problem: LeastSquares, x0: PyTree[Array], *, key: PRNGKeyArray) -> GaussNewtonState:
        flat = ravel_pytree(x0)[0]
        r = ravel_pytree(problem.residual(x0))[0]
        return GaussNewtonState(x0, Calls().add(value=1), r, jnp.zeros_like(flat))

    def step(self, problem: LeastSquares, state: GaussNewtonState, *, key: PRNGKeyArray) -> GaussNewtonState:
        flat, unravel = ravel_pytree(state.x)
        r, J = linearised(problem, state.x)
        move = lx.linear_solve(lx.MatrixLinearOperator(J), r, lx.SVD(), throw=False).value
        calls = state.calls.add(value=1, hvp=flat.size, factorisation=1)
        return GaussNewtonState(unravel((flat - move).astype(flat.dtype)), calls, r, r @ J)
