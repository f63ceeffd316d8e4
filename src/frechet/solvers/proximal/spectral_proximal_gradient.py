"""Proximal gradient with Barzilai-Borwein steps and a nonmonotone line search."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.rounding import rounding
from frechet.solvers.trial_loop import trial_loop

MEMORY = 10


class SpectralProximalGradientState(State):
    """The last point and gradient (none before the first step: ``step`` is 1), and recent objectives."""

    previous: PyTree[Array]
    gradient: PyTree[Array]
    step: Scalar
    objectives: Float[Array, " memory"]


class SpectralProximalGradient(Solver):
    r"""Proximal gradient $x_{k+1} = \mathrm{prox}_{s_k g}(x_k - s_k\nabla f(x_k))$ with spectral steps.

    The first step size tried is Barzilai and Borwein's

    $$s_k = \frac{\|x_k - x_{k-1}\|^2}{\langle x_k - x_{k-1}, \nabla f(x_k) - \nabla f(x_{k-1})\rangle},$$

    the inverse of $f$'s curvature along the last step, so the eigenvalues are visited in turn and objectives
    need not decrease. It is halved until $f + g$ lies below the largest of its last 10 values by
    $\|x_{k+1} - x_k\|^2/(200 s_k)$, which makes every limit point stationary, convex $f$ or not. With a set's
    indicator for $g$ this is the spectral projected gradient method. A step costs one gradient and, for every
    step size tried, one value and one prox.

    Every differentiation mode works; step sizes count as constants.

    Source:
        Barzilai, Borwein 1988, Two-point step size gradient methods; Birgin, Martínez, Raydan 2000,
        Nonmonotone spectral projected gradient methods on convex sets; Wright, Nowak, Figueiredo 2009, Sparse
        reconstruction by separable approximation.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = lambda x: 0.5 * jnp.sum(jnp.array([1.0, 50.0]) * (x - 3.0) ** 2)
        >>> problem = fr.Composite(f, fr.convex.Box(0.0, 2.0))
        >>> fr.solve(problem, jnp.ones(2), SpectralProximalGradient()).x.tolist()
        [2.0, 2.0]
    """

    accepts: ClassVar[type] = Composite

    def init(
        self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray
    ) -> SpectralProximalGradientState:
        objective = problem.value(x0) + problem.g(x0)
        one = jnp.ones((), jnp.result_type(*jax.tree.leaves(x0)))
        objectives = jnp.full(MEMORY, -jnp.inf, objective.dtype).at[-1].set(objective)
        return SpectralProximalGradientState(x0, Calls().add(value=1), x0, x0, one, objectives)

    def step(
        self, problem: Composite, state: SpectralProximalGradientState, *, key: PRNGKeyArray
    ) -> SpectralProximalGradientState:
        gradient = problem.gradient(state.x)
        s, (x, objective, _), n = trial_loop(
            _trial, _accepted, _spectral(state, gradient), problem, state.x, gradient, state.objectives
        )
        objectives = jnp.concatenate([state.objectives[1:], objective[None]])
        calls = state.calls.add(value=n, gradient=1, prox=n)
        return SpectralProximalGradientState(x, calls, state.x, gradient, s, objectives)


def _spectral(state: SpectralProximalGradientState, gradient: PyTree[Array]) -> Scalar:
    moved = tree.subtract(state.x, state.previous)
    square, curvature = tree.vdot(moved, moved), tree.vdot(moved, tree.subtract(gradient, state.gradient))
    # No curvature to go by: a longer step, unless nothing moved.
    bold = jnp.where(square > 0, 10 * state.step, state.step)
    step = jnp.where(curvature > 0, square / jnp.where(curvature > 0, curvature, 1), bold)
    # A factor of a million at a time bounds what rounding can do to the quotient.
    return jnp.clip(step, 1e-6 * state.step, 1e6 * state.step).astype(state.step.dtype)


def _trial(s: Scalar, problem: Composite, x: PyTree, gradient: PyTree, _: Array) -> tuple:
    ahead = problem.prox(tree.axpy(-s, gradient, x), s)
    d = tree.subtract(ahead, x)
    return ahead, problem.value(ahead) + problem.g(ahead), tree.vdot(d, d)


def _accepted(
    s: Scalar, trial: tuple, problem: Composite, x: PyTree, gradient: PyTree, objectives: Array
) -> Bool[Array, ""]:
    _, objective, square = trial
    highest = jnp.max(objectives)
    below = objective <= highest - square / (200 * s) + rounding(highest, objective)
    return below & jnp.isfinite(objective) & jnp.isfinite(square)
