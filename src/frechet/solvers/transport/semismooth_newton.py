"""Newton's method on the dual of transport with sparse plans."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.rounding import rounding
from frechet.solvers.trial_loop import trial_loop

ARMIJO, MOST_SHIFT = 1e-4, 1e-3


class SemismoothNewtonState(State):
    """``value`` and ``gradient`` are those of minus the dual value at ``x``."""

    value: Scalar
    gradient: Potentials


class SemismoothNewton(Solver):
    r"""Semismooth Newton method on the dual of transport with sparse plans.

    Where $A$ marks the positive entries of the plan, minus the dual value has the generalised Hessian

    $$H = \frac1\gamma
      \begin{bmatrix} \mathrm{diag}(A1) & A \\ A^\top & \mathrm{diag}(A^\top 1) \end{bmatrix},$$

    plus the diagonal of the penalties where marginals are penalised. A step goes along
    $-(H + \delta I)^{-1}\nabla$, with a shift that vanishes with the error of the marginals,
    and is halved until Armijo's condition holds. The last steps are few: the dual is piecewise quadratic.
    In all there are fewer than twenty where $\gamma$ times a plan's entry is of the size of the costs, and
    more the smaller $\gamma$ is. With `frechet.transport.TopK` this holds where the solution is not at a
    kink; elsewhere use `frechet.solvers.SemiDualBFGS`.

    A step costs a plan, a gradient, a value a trial, and a factorisation of a matrix as large as there are
    sources, $O(m^2 (m + n))$ operations.

    Source: Lorenz, Manns, Meyer 2021, Quadratically regularized optimal transport, Applied Mathematics and
    Optimization 83, arXiv 1903.01112.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> problem = fr.Transport(C, regulariser=fr.transport.Quadratic(4.0))
        >>> solution = fr.solve(problem, problem.initial(), SemismoothNewton())
        >>> [[round(float(v), 3) for v in row] for row in problem.plan(solution.x)]
        [[0.375, 0.125], [0.125, 0.375]]
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"plan", "sparse", "gradient", "value"})
    check_every: ClassVar[int] = 1

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SemismoothNewtonState:
        calls = Calls().add(value=1, gradient=1)
        return SemismoothNewtonState(x0, calls, problem.value(x0), problem.gradient(x0))

    def step(
        self, problem: Transport, state: SemismoothNewtonState, *, key: PRNGKeyArray
    ) -> SemismoothNewtonState:
        x, gradient = state.x, state.gradient
        direction = self.direction(problem, x, gradient)
        known = (problem, x, direction, state.value, tree.vdot(gradient, direction))
        _, (x, value), trials = trial_loop(_trial, _falls, jnp.ones_like(state.value), *known)
        x = problem.centred(x)
        calls = state.calls.add(matvec=1, value=trials, gradient=1, factorisation=1)
        return SemismoothNewtonState(x, calls, value, problem.gradient(x))

    def objective(self, problem: Transport, state: SemismoothNewtonState) -> Scalar:
        return state.value

    def direction(self, problem: Transport, x: Potentials, gradient: Potentials) -> Potentials:
        """The Newton direction, by elimination of the targets."""
        regulariser: Any = problem.regulariser
        W = jnp.where(problem.plan(x) > 0, 1 / regulariser.gamma, 0).astype(x.f.dtype)
        # A supply depends on its own potential alone, so its derivatives are a product with ones.
        ones = Potentials(jnp.ones_like(x.f), jnp.ones_like(x.g))
        penalties = jax.jvp(problem.supplies, (x,), (ones,))[1]
        rows, columns = jnp.sum(W, 1) - penalties[0], jnp.sum(W, 0) - penalties[1]
        scale = jnp.maximum(jnp.max(rows), jnp.max(columns))
        scale = jnp.maximum(scale, 1 / regulariser.gamma)
        error = (jnp.sum(jnp.abs(gradient.f)) + jnp.sum(jnp.abs(gradient.g))) / jnp.sum(problem.a)
        shift = scale * jnp.clip(error, jnp.finfo(error.dtype).eps ** 0.75, MOST_SHIFT)
        columns = columns + shift
        share = W / columns
        right = share @ gradient.g - gradient.f
        f = jnp.linalg.solve(jnp.diag(rows + shift) - share @ W.T, right)
        return Potentials(f, -(gradient.g + f @ W) / columns)


def _trial(t: Scalar, problem: Transport, x: Potentials, direction: Potentials, *_: Any) -> tuple:
    ahead = tree.axpy(t, direction, x)
    return ahead, problem.value(ahead)


def _falls(t: Scalar, trial: tuple, *known: Any) -> Bool[Array, ""]:
    value, slope = known[-2:]
    return trial[1] <= value + ARMIJO * t * slope + rounding(value, trial[1])
