"""The Frank-Wolfe method, also called conditional gradient."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.conditional_gradient.short_step import short_step
from frechet.solvers.known_value import KnownValue
from frechet.solvers.proximal.step_size import Backtracking


class FrankWolfeState(State):
    r"""``gap`` is the last Frank-Wolfe gap $\max_{s}\langle\nabla f(x), x - s\rangle$, infinite at first.

    ``value`` is $f(x)$; ``inside`` says whether ``x`` is a point of the set.
    """

    value: Scalar
    gap: Scalar
    inside: Bool[Array, ""]
    backtracking: Backtracking


class FrankWolfe(KnownValue):
    r"""Minimises a smooth function over a bounded set by linear minimisations alone.

    $$s_k \in \arg\min_{s \in C}\langle\nabla f(x_k), s\rangle, \qquad
      x_{k+1} = x_k + \gamma_k(s_k - x_k), \qquad
      \gamma_k = \min\Bigl\{1, \frac{\langle\nabla f(x_k), x_k - s_k\rangle}{L_k\|s_k - x_k\|^2}\Bigr\}$$

    with $L_k$ found by backtracking, until $f$ lies below its quadratic model at $x_{k+1}$. The gap
    $\langle\nabla f(x_k), x_k - s_k\rangle$, kept in the state, bounds $f(x_k) - \min f$ for convex $f$; both
    are $O(1/k)$, and no better in general, which is too slow for tight tolerances: on the simplex and the
    l1 ball see `AwayStepFrankWolfe`. A start outside the set is left for one of its points by the first step.
    A step costs a gradient, a linear minimisation and, for every $L$ tried, a value.

    Every differentiation mode works; step sizes count as constants.

    Source:
        Frank, Wolfe 1956, An algorithm for quadratic programming; Jaggi 2013, Revisiting Frank-Wolfe:
        projection-free sparse convex optimization; Pedregosa, Negiar, Askari, Jaggi 2020, Linearly convergent
        Frank-Wolfe with backtracking line-search, arXiv 1806.05123.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 2.0) ** 2), fr.convex.LinfBall(1.0))
        >>> fr.solve(problem, jnp.zeros(2), FrankWolfe()).x.tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"linear_min"})
    converges: ClassVar[bool] = False

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> FrankWolfeState:
        value = problem.value(x0)
        backtracking = Backtracking.start(jnp.result_type(*jax.tree.leaves(x0)))
        inside = jnp.isfinite(problem.g(x0))
        return FrankWolfeState(
            x0, Calls().add(value=1), value, jnp.full_like(value, jnp.inf), inside, backtracking
        )

    def step(self, problem: Composite, state: FrankWolfeState, *, key: PRNGKeyArray) -> FrankWolfeState:
        x, gradient = state.x, problem.gradient(state.x)
        d = tree.subtract(problem.linear_min(gradient), x)
        longest = jnp.ones_like(state.value)
        gap, _, x, value, backtracking, n = short_step(
            problem, x, state.value, gradient, d, longest, state.backtracking, force=~state.inside
        )
        calls = state.calls.add(gradient=1, linear_min=1, value=n)
        return FrankWolfeState(x, calls, value, gap, jnp.asarray(True), backtracking)
