"""Frank-Wolfe with away steps."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from frechet.convex.polytope import Polytope
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.conditional_gradient.short_step import short_step
from frechet.solvers.known_value import KnownValue
from frechet.solvers.proximal.step_size import Backtracking


class AwayStepFrankWolfeState(State):
    """``weights`` are those of the vertices, shape (m,); the rest as in `FrankWolfeState`."""

    weights: Float[Array, " m"]
    value: Scalar
    gap: Scalar
    inside: Bool[Array, ""]
    backtracking: Backtracking


class AwayStepFrankWolfe(KnownValue):
    r"""Frank-Wolfe over the hull of few points, which also steps away from a bad one; linearly convergent.

    The iterate is a convex combination $x = \sum_i \lambda_i v_i$ of the vertices. A step goes towards the
    vertex $s$ that is least along $\nabla f(x)$, or away from the vertex $a$ with $\lambda_a > 0$ that is
    greatest, whichever promises more,

    $$d = s - x \quad\text{or}\quad d = x - a, \qquad
      \gamma = \min\Bigl\{\gamma_{\max}, \frac{-\langle\nabla f(x), d\rangle}{L\|d\|^2}\Bigr\}, \qquad
      \gamma_{\max} = 1 \quad\text{or}\quad \frac{\lambda_a}{1 - \lambda_a},$$

    with $L$ found by backtracking; $\gamma_{\max}$ away from a vertex drops it. For strongly convex $f$ the
    gap falls linearly, where that of `FrankWolfe` is $O(1/k)$. A start outside the set is left for a vertex
    by the first step. A step costs a gradient, the inner products of the vertices with it (a linear
    minimisation) and, for every $L$ tried, a value.

    Source:
        Guélat, Marcotte 1986, Some comments on Wolfe's away step; Lacoste-Julien, Jaggi 2015, On the global
        linear convergence of Frank-Wolfe optimization variants, arXiv 1511.05932; Pedregosa, Negiar, Askari,
        Jaggi 2020, Linearly convergent Frank-Wolfe with backtracking line-search, arXiv 1806.05123.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = lambda x: jnp.sum((x - jnp.array([1.0, 0.5, -1.0])) ** 2)
        >>> problem = fr.Composite(f, fr.convex.Simplex())
        >>> x = fr.solve(problem, jnp.ones(3) / 3, AwayStepFrankWolfe()).x
        >>> bool(jnp.allclose(x, jnp.array([0.75, 0.25, 0.0]), atol=1e-3))
        True
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"vertices"})

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> AwayStepFrankWolfeState:
        value, weights = problem.value(x0), _polytope(problem).vertex_weights(x0)
        backtracking = Backtracking.start(jnp.result_type(*jax.tree.leaves(x0)))
        gap, inside = jnp.full_like(value, jnp.inf), jnp.isfinite(problem.g(x0))
        return AwayStepFrankWolfeState(x0, Calls().add(value=1), weights, value, gap, inside, backtracking)

    def step(
        self, problem: Composite, state: AwayStepFrankWolfeState, *, key: PRNGKeyArray
    ) -> AwayStepFrankWolfeState:
        x, weights, hull = state.x, state.weights, _polytope(problem)
        gradient = problem.gradient(x)
        products = problem.vertex_products(gradient)
        best = jnp.argmin(products)
        worst = jnp.argmax(jnp.where(weights > 0, products, -jnp.inf))
        # Products less their smallest: their combination is the gap, without cancellation.
        excess = products - products[best]
        gap = jnp.sum(weights * excess)
        away = (excess[worst] - gap > gap) & state.inside
        index = jnp.where(away, worst, best)
        one = jax.nn.one_hot(index, weights.size, dtype=weights.dtype)
        turn = jnp.where(away, weights - one, one - weights)
        last = weights[worst]
        longest = jnp.where(away, last / jnp.where(last < 1, 1 - last, 1), 1).astype(weights.dtype)
        d = hull.vertex_combination(turn, x)
        d = tree.where(state.inside, d, tree.subtract(hull.vertex_combination(one, x), x))
        taken = short_step(
            problem, x, state.value, gradient, d, longest, state.backtracking, force=~state.inside
        )
        weights = jnp.maximum(weights + taken.length * turn, 0)
        dropped = away & (taken.length >= longest)
        weights = jnp.where(dropped & (one > 0), 0, weights)
        weights = jnp.where(state.inside, weights / jnp.sum(weights), one)
        calls = state.calls.add(gradient=1, linear_min=1, value=taken.trials)
        return AwayStepFrankWolfeState(
            taken.x, calls, weights, taken.value, gap, jnp.asarray(True), taken.backtracking
        )


def _polytope(problem: Composite) -> Polytope:
    return problem.g  # pyright: ignore[reportReturnType]
