"""Levenberg-Marquardt with Nielsen's damping."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.least_squares.linearised import linearised, residual


class LevenbergMarquardtState(State):
    r"""What is known at the iterate.

    Attributes:
        residual: $r(x)$, raveled.
        jacobian: $J(x)$, over the raveled ``x``.
        damping: $\mu$.
        growth: what $\mu$ is multiplied by if the next trial is rejected.
        move: the last trial $d$, raveled, accepted or not.
    """

    residual: Float[Array, " m"]
    jacobian: Float[Array, "m n"]
    damping: Scalar
    growth: Scalar
    move: Float[Array, " n"]


class LevenbergMarquardt(Solver):
    r"""Levenberg-Marquardt for nonlinear least squares, with Nielsen's rule for the damping.

    A step tries $x + d$, with $d$ the minimiser of $\|r + J d\|^2 + \mu \|d\|^2$ by QR of the stacked matrix.
    It is accepted where it lowers $\tfrac12\|r\|^2$, up to rounding. With $\varrho$ the decrease over the one
    the model promised, $\mu$ is then multiplied by $\max\{\tfrac13, 1 - (2\varrho - 1)^3\}$; after a
    rejection it grows by 2, 4, 8, ... It starts at a multiple of the largest diagonal entry of $J^\top J$.
    A trial costs a residual and a factorisation; an accepted one another residual and as many
    Jacobian-vector products as there are unknowns. The Jacobian is dense.

    Args:
        damping: the multiple with which $\mu$ starts; larger where the start is far off.

    Source: Nielsen 1999, Damping parameter in Marquardt's method; Madsen, Nielsen, Tingleff 2004, Methods for
    non-linear least squares problems, algorithm 3.16.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.LeastSquares(lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]))
        >>> fr.solve(problem, jnp.array([-1.2, 1.0]), LevenbergMarquardt()).x.round(4).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = LeastSquares
    needs: ClassVar[frozenset[str]] = frozenset({"residual", "smooth"})
    check_every: ClassVar[int] = 4  # so that a few rejections are no stall

    damping: float = 1e-3

    def init(self, problem: LeastSquares, x0: PyTree[Array], *, key: PRNGKeyArray) -> LevenbergMarquardtState:
        flat = ravel_pytree(x0)[0]
        r, J = linearised(problem, x0)
        calls = Calls().add(value=1, hvp=flat.size)
        mu = (self.damping * jnp.max(jnp.sum(J**2, axis=0), initial=0)).astype(flat.dtype)
        return LevenbergMarquardtState(x0, calls, r, J, mu, 2 * jnp.ones_like(mu), jnp.zeros_like(flat))

    def step(
        self, problem: LeastSquares, state: LevenbergMarquardtState, *, key: PRNGKeyArray
    ) -> LevenbergMarquardtState:
        (flat, unravel), (r, J, mu) = ravel_pytree(state.x), (state.residual, state.jacobian, state.damping)
        n, tiny = flat.size, jnp.finfo(flat.dtype).tiny
        root = jnp.sqrt(jnp.maximum(mu, tiny))
        stacked = lx.MatrixLinearOperator(jnp.concatenate([J, root * jnp.eye(n, dtype=J.dtype)]))
        rhs = jnp.concatenate([-r, jnp.zeros(n, r.dtype)])
        d = lx.linear_solve(stacked, rhs, lx.QR(), throw=False).value.astype(flat.dtype)

        trial = residual(problem, unravel(flat + d))
        promised = 0.5 * jnp.vdot(d, mu * d - r @ J)
        decrease = 0.5 * jnp.vdot(r - trial, r + trial)
        accepted = (decrease > 0) & (promised > 0)
        ratio = decrease / jnp.where(promised > 0, promised, 1)
        x = unravel(jnp.where(accepted, flat + d, flat))
        r, J = jax.lax.cond(accepted, lambda: linearised(problem, x), lambda: (r, J))
        softer = mu * jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3)
        return LevenbergMarquardtState(
            x=x,
            calls=state.calls.add(
                value=1 + accepted.astype(int), hvp=accepted.astype(int) * n, factorisation=1
            ),
            residual=r,
            jacobian=J,
            damping=jnp.where(accepted, softer, mu * state.growth).astype(mu.dtype),
            growth=jnp.where(accepted, 2, 2 * state.growth).astype(mu.dtype),
            move=d,
        )
