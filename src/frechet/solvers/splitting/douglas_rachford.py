"""Douglas-Rachford splitting and, with a smooth part, the three-operator splitting of Davis and Yin."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.core import lift, tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.linear_composite import LinearComposite, PrimalDual
from frechet.solvers.proximal.step_size import Decrease
from frechet.solvers.splitting.balancing import Balance, relative
from frechet.solvers.trial_loop import trial_loop


class DouglasRachfordState(State):
    """``point`` is $z$; ``balance`` holds the step size, which is at most ``longest``."""

    point: PyTree[Array]
    balance: Balance
    longest: Scalar


class DouglasRachford(Solver):
    r"""Splitting for $f + g + h$, one proximal map after the other: Douglas-Rachford, or with $f$ Davis-Yin.

    $$x_{k+1} = \mathrm{prox}_{s g}\bigl(z_k - s(\nabla f(z_k) + u_k)\bigr), \qquad
      z_{k+1} = \mathrm{prox}_{s h}(x_{k+1} + s u_k), \qquad
      u_{k+1} = u_k + \tfrac1s(x_{k+1} - z_{k+1})$$

    Without $f$ any step size $s$ converges; it is moved until $\|x - z\|$ and $\|\Delta z\|/s$ fall alike.
    With $f$ it has to satisfy $f(x_{k+1}) \le f(z_k) + \langle\nabla f(z_k), d\rangle + \|d\|^2/(2s)$,
    $d = x_{k+1} - z_k$, and is halved until it does. The objective's gap at averages is $O(1/k)$; the
    iterates converge linearly in the end where the functions are piecewise linear or quadratic. A step costs
    the proximal map of $h$ and, for every step size tried, that of $g$; with $f$ also a gradient and a value,
    and a value a trial.

    Source:
        Lions, Mercier 1979, Splitting algorithms for the sum of two nonlinear operators; Davis, Yin 2017, A
        three-operator splitting scheme and its optimization applications, arXiv 1504.01032; Pedregosa, Gidel
        2018, Adaptive three operator splitting, arXiv 1804.02339.

    Example:
        The point of the simplex nearest to the origin in a ball elsewhere:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> ball = fr.convex.Translated(fr.convex.L2Ball(0.5), jnp.array([1.0, 0.5]))
        >>> problem = fr.LinearComposite(lambda x: 0.5 * jnp.sum(x**2), fr.convex.Simplex(), ball)
        >>> fr.solve(problem, jnp.zeros(2), DouglasRachford()).x.primal.round(2).tolist()
        [0.5, 0.5]
    """

    accepts: ClassVar[type] = LinearComposite
    needs: ClassVar[frozenset[str]] = frozenset({"identity"})

    def init(self, problem: LinearComposite, x0: PrimalDual, *, key: PRNGKeyArray) -> DouglasRachfordState:
        dtype = jnp.result_type(*jax.tree.leaves(x0))
        return DouglasRachfordState(
            x0, Calls(), x0.primal, Balance.start(dtype), jnp.full((), jnp.inf, dtype)
        )

    def step(
        self, problem: LinearComposite, state: DouglasRachfordState, *, key: PRNGKeyArray
    ) -> DouglasRachfordState:
        z, u = state.point, state.x.dual
        size, longest = state.balance.ratio, state.longest
        if problem.f is None:
            x = problem.prox(tree.axpy(-size, u, z), size)
            calls = state.calls.add(prox=2)
        else:
            value, gradient = problem.value_and_gradient(z)
            size, (x, _), n = trial_loop(_trial, _accepted, size, problem, z, u, value, gradient)
            calls = state.calls.add(value=1 + n, gradient=1, prox=1 + n)
            longest = jnp.where(n > 1, size, longest)
        ahead = problem.outer_prox(tree.axpy(size, u, x), size)
        apart, u = tree.subtract(x, ahead), tree.axpy(1 / size, tree.subtract(x, ahead), u)
        dual = relative(tree.subtract(ahead, z), u) / size
        balance = lift.replaced(state.balance, ratio=size).after(dual, relative(apart, x, ahead))
        balance = lift.replaced(balance, ratio=jnp.minimum(balance.ratio, longest))
        return DouglasRachfordState(PrimalDual(x, u), calls, ahead, balance, longest)


def _trial(
    size: Scalar, problem: LinearComposite, z: PyTree, u: PyTree, value: Scalar, gradient: PyTree
) -> Any:
    x = problem.prox(tree.axpy(-size, tree.axpy(1.0, u, gradient), z), size)
    return x, Decrease.between(z, value, gradient, x, problem.value(x))


def _accepted(size: Scalar, trial: tuple, *_: Any) -> Bool[Array, ""]:
    return trial[1].sufficient(size)
