"""The primal-dual method of Condat and Vu; without a smooth part, that of Chambolle and Pock."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.linear_composite import LinearComposite, PrimalDual
from frechet.solvers.rounding import rounding
from frechet.solvers.splitting import smooth_part
from frechet.solvers.splitting.balancing import Balance, relative
from frechet.solvers.trial_loop import trial_loop


class CondatVuState(State):
    r"""Products with $K$ are kept: ``image`` is $Kx$, ``pull`` is $K^\top u$.

    ``value`` is $f(x)$ (0 without $f$), ``step`` the dual step size $\sigma$, ``growth`` what it is
    multiplied by for the next trial, ``balance`` holds $\sqrt\beta$.
    """

    image: PyTree[Array]
    pull: PyTree[Array]
    value: Scalar
    step: Scalar
    growth: Scalar
    balance: Balance


class CondatVu(Solver):
    r"""Primal-dual splitting for $f + g + h\circ K$; the method of Chambolle and Pock where $f$ is absent.

    $$u_{k+1} = \mathrm{prox}_{\sigma_k h^*}(u_k + \sigma_k K x_k), \qquad
      \bar u = u_{k+1} + \theta(u_{k+1} - u_k), \qquad
      x_{k+1} = \mathrm{prox}_{\tau g}\bigl(x_k - \tau(\nabla f(x_k) + K^\top\bar u)\bigr)$$

    with $\tau = \beta\sigma_{k+1}$ and $\theta = \sigma_{k+1}/\sigma_k$. Neither $\|K\|$ nor the Lipschitz
    constant of $\nabla f$ is asked for: $\sigma_{k+1}$ is the first of a falling sequence with

    $$\tau\sigma\|K d\|^2 + 2\tau\bigl(f(x_{k+1}) - f(x_k) - \langle\nabla f(x_k), d\rangle\bigr)
      \le 0.99\,\|d\|^2, \qquad d = x_{k+1} - x_k,$$

    and $\beta$ is moved until $\|x_{k+1} - x_k\|/\tau$ and $\|u_{k+1} - u_k\|/\sigma$ fall alike. The
    averages of the iterates have a primal-dual gap of $O(1/k)$; where $f$, $g$, $h$ are piecewise linear or
    quadratic the iterates converge linearly in the end. A step costs a gradient, the proximal map of $h^*$
    and a product with $K^\top$, and for every step size tried a value, the proximal map of $g$ and a product
    with $K$. Where $f$ or $K$ is ill-conditioned `ADMM` needs far fewer steps, each with an inner solve.

    Source:
        Chambolle, Pock 2011, A first-order primal-dual algorithm for convex problems with applications to
        imaging; Condat 2013, A primal-dual splitting method for convex optimization; Malitsky, Pock 2018, A
        first-order primal-dual algorithm with linesearch, arXiv 1608.08883 (algorithm 4, with the roles of
        the two points exchanged).

    Example:
        Basis pursuit, the point of least l1 norm with $x_1 + 2x_2 = 2$:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> on = fr.convex.Box(2.0, 2.0)
        >>> problem = fr.LinearComposite(g=fr.convex.L1(), h=on, K=jnp.array([[1.0, 2.0]]))
        >>> fr.solve(problem, jnp.zeros(2), CondatVu()).x.primal.round(2).tolist()
        [0.0, 1.0]
    """

    accepts: ClassVar[type] = LinearComposite

    def init(self, problem: LinearComposite, x0: PrimalDual, *, key: PRNGKeyArray) -> CondatVuState:
        x, u = x0
        dtype = jnp.result_type(*jax.tree.leaves(x))
        one = jnp.ones((), dtype)
        calls = Calls().add(matvec=2, value=smooth_part.present(problem))
        image, pull, value = problem.forward(x), problem.adjoint(u, x), smooth_part.value(problem, x)
        return CondatVuState(x0, calls, image, pull, value, one, 1.6 * one, Balance.start(dtype))

    def step(self, problem: LinearComposite, state: CondatVuState, *, key: PRNGKeyArray) -> CondatVuState:
        x, u = state.x
        smooth, gradient = smooth_part.present(problem), smooth_part.gradient(problem, x)
        u_next = problem.dual_prox(tree.axpy(state.step, state.image, u), state.step)
        pull = problem.adjoint(u_next, x)
        slope = tree.axpy(1.0, pull, gradient)
        turn = tree.subtract(pull, state.pull)
        known = (state.image, state.value, gradient, slope, turn, state.step, state.balance.ratio**2)
        step, (ahead, image, value, excess), n = trial_loop(
            _trial, _accepted, state.growth * state.step, problem, x, *known, factor=0.7
        )
        # Steps grow fast until the first rejection, then slowly, and not where rounding hides their limit.
        theta = step / state.step
        growth = jnp.where((n > 1) | (state.growth < 1.2), 1.1, jnp.sqrt(1 + theta))
        growth = jnp.where(excess[2], growth, 1).astype(step.dtype)
        point = PrimalDual(ahead, u_next)
        primal = relative(tree.subtract(ahead, x), gradient, pull) / (state.balance.ratio**2 * step)
        dual = relative(tree.subtract(u_next, u), image) / state.step
        balance = state.balance.after(primal, dual)
        # The product of the two steps is what the search has found; their ratio moves around it.
        step = step * state.balance.ratio / balance.ratio
        calls = state.calls.add(gradient=smooth, value=smooth * n, prox=1 + n, matvec=1 + n)
        return CondatVuState(point, calls, image, pull, value, step, growth, balance)


def _trial(
    step: Scalar,
    problem: LinearComposite,
    x: PyTree,
    image: PyTree,
    value: Scalar,
    gradient: PyTree,
    slope: PyTree,
    turn: PyTree,
    last: Scalar,
    ratio: Scalar,
) -> tuple:
    tau = ratio * step
    ahead = problem.prox(tree.axpy(-tau, tree.axpy(step / last, turn, slope), x), tau)
    image_ahead, value_ahead = problem.forward(ahead), smooth_part.value(problem, ahead)
    d, Kd = tree.subtract(ahead, x), tree.subtract(image_ahead, image)
    bregman = value_ahead - value - tree.vdot(gradient, d)
    excess = tau * step * tree.vdot(Kd, Kd) + 2 * tau * bregman
    eps = jnp.finfo(step.dtype).eps
    unseen = tau * step * (4 * eps) ** 2 * tree.vdot(image, image)
    if smooth_part.present(problem):
        unseen = unseen + 2 * tau * rounding(value, value_ahead)
    square = tree.vdot(d, d)
    return ahead, image_ahead, value_ahead, (excess - unseen, square, square > 100 * unseen)


def _accepted(step: Scalar, trial: Any, *_: Any) -> Bool[Array, ""]:
    excess, square, _ = trial[3]
    return (excess <= 0.99 * square) & jnp.isfinite(square)
