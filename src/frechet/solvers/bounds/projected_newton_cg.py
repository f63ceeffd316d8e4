"""Projected Newton's method with directions by truncated conjugate gradients."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.known_value import KnownValue
from frechet.solvers.rounding import rounding
from frechet.solvers.second_order.hessian import hessian
from frechet.solvers.second_order.truncated_cg import truncated_cg
from frechet.solvers.trial_loop import trial_loop


class ProjectedNewtonCGState(State):
    r"""``value`` is $f(x)$; ``residual`` is the previous step's $\|x - P(x - \nabla f(x))\|$, at first 0."""

    value: Scalar
    residual: Scalar


class ProjectedNewtonCG(KnownValue):
    r"""Bertsekas' two-metric projection: Newton's method inside the bounds, matrix free; convex or not.

    A coordinate is held when it lies within $\epsilon_k$ of a bound that its derivative pushes it against,
    with $\epsilon_k = \min\{10^{-3}, \|x_k - P(x_k - \nabla f(x_k))\|\}$ and $P$ the projection. On the
    others a direction solves $\nabla^2 f(x_k) d = -\nabla f(x_k)$ by conjugate gradients, up to a tolerance
    that makes convergence superlinear and until negative curvature is met; held ones follow the negative
    gradient. The next point is the first of $P(x_k + t d)$, $t = 1, \tfrac12, \tfrac14, \dots$ that satisfies
    Armijo's condition up to rounding, so any number of bounds can change in a step and $f$ is never evaluated
    outside. A step costs one gradient, one Hessian-vector product an inner iteration and, for every
    step length tried, one value.

    Source:
        Bertsekas 1982, Projected Newton methods for optimization problems with simple constraints; Schmidt,
        Kim, Sra 2011, Projected Newton-type methods in machine learning.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> problem = fr.Bounded(rosenbrock, upper=jnp.array([0.5, jnp.inf]))
        >>> fr.solve(problem, jnp.array([-1.2, 1.0]), ProjectedNewtonCG()).x.round(3).tolist()
        [0.5, 0.25]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"bounds"})
    check_every: ClassVar[int] = 1

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> ProjectedNewtonCGState:
        x = problem.g.prox(x0, 1.0)
        return ProjectedNewtonCGState(
            x, Calls().add(value=1), problem.value(x), jnp.zeros_like(tree.norm(x0))
        )

    def step(
        self, problem: Composite, state: ProjectedNewtonCGState, *, key: PRNGKeyArray
    ) -> ProjectedNewtonCGState:
        x, gradient = state.x, problem.gradient(state.x)
        lower, upper = problem.g.bounds(x)
        residual = jax.lax.stop_gradient(tree.norm(problem.g.residual(x, gradient)))
        near = jnp.minimum(1e-3, residual)
        free = jax.tree.map(lambda x, g, l, u: ~_held(x, g, l, u, near), x, gradient, lower, upper)
        H = hessian(problem, x)
        on_free = lambda v: jax.tree.map(lambda m, u: jnp.where(m, u, 0), free, v)  # noqa: E731
        eta = jnp.minimum(0.5, 0.9 * (residual / state.residual) ** 2)
        size = sum(v.size for v in jax.tree.leaves(x))
        d, products = truncated_cg(
            lambda v: on_free(H(on_free(v))), on_free(gradient), eta, max(2 * size, 20)
        )
        d = jax.tree.map(lambda m, u, g: jnp.where(m, u, -g).astype(g.dtype), free, d, gradient)
        _, (ahead, value), trials = trial_loop(
            _trial, _armijo, jnp.ones_like(residual), problem, x, d, state.value, gradient, free
        )
        calls = state.calls.add(value=trials, gradient=1, hvp=products)
        return ProjectedNewtonCGState(ahead, calls, value, residual)


def _held(x: Array, gradient: Array, lower: Array, upper: Array, within: Scalar) -> Bool[Array, "..."]:
    within = within.astype(x.dtype)
    return ((x <= lower + within) & (gradient > 0)) | ((x >= upper - within) & (gradient < 0))


def _trial(t: Scalar, problem: Composite, x: PyTree, d: PyTree, *_: PyTree) -> tuple[PyTree, Scalar]:
    ahead = problem.g.prox(tree.axpy(t, d, x), 1.0)
    return ahead, problem.value(ahead)


def _armijo(
    t: Scalar,
    trial: tuple,
    problem: Composite,
    x: PyTree,
    d: PyTree,
    value: Scalar,
    gradient: PyTree,
    free: PyTree,
) -> Bool[Array, ""]:
    # What the model promises: along d on free coordinates, along what is left of the step on held ones.
    ahead, value_ahead = trial
    along = jax.tree.map(lambda m, x, a, d: jnp.where(m, t * d, a - x), free, x, ahead, d)
    promised = tree.vdot(gradient, along)
    below = value_ahead <= value + 1e-4 * promised + rounding(value, value_ahead)
    return below & jnp.isfinite(value_ahead)
