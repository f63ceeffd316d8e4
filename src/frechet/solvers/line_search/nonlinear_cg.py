"""Nonlinear conjugate gradients."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.known_value import KnownValue
from frechet.solvers.line_search import descent
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.search import Found, LineSearch, slope, steepest
from frechet.solvers.line_search.zoom import Zoom

Method = Literal["polak-ribiere", "fletcher-reeves", "hestenes-stiefel"]


class NonlinearCG(KnownValue):
    r"""Nonlinear conjugate gradients, for smooth $f$: less memory than any quasi-Newton method.

    The direction is $d_{k+1} = -g_{k+1} + \beta d_k$, with $g$ the gradient and, for $y = g_{k+1} - g_k$,
    $\beta$ the positive part of $g_{k+1}^\top y / g_k^\top g_k$ (Polak-Ribière),
    $g_{k+1}^\top g_{k+1} / g_k^\top g_k$ (Fletcher-Reeves) or $g_{k+1}^\top y / d_k^\top y$
    (Hestenes-Stiefel). Where it does not descend it starts again from $-g_{k+1}$. The line search first
    tries what would lower $f$ to first order as much as the step before.

    Args:
        method: the formula for $\beta$.
        search: the line search; conjugacy asks for a closer one than quasi-Newton methods do.

    Source: Nocedal, Wright 2006, Numerical Optimization, section 5.2.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> fr.solve(fr.Composite(rosenbrock), jnp.array([-1.2, 1.0]), NonlinearCG()).x.round(2).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"smooth"})

    method: Method = eqx.field(default="polak-ribiere", static=True)
    search: LineSearch = eqx.field(default_factory=lambda: Zoom(curvature=0.1))

    def __check_init__(self):
        if self.method not in Method.__args__:
            raise ValueError(f"method must be one of {', '.join(Method.__args__)}, got {self.method!r}")

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> DescentState:
        state = descent.begin(problem, x0, None)
        return eqx.tree_at(lambda s: s.memory, state, jnp.zeros_like(state.step), is_leaf=lambda v: v is None)

    def step(self, problem: Composite, state: DescentState, *, key: PRNGKeyArray) -> DescentState:
        size = tree.norm(state.gradient)
        guess = state.memory / slope(state.gradient, state.direction)
        short = jnp.minimum(1, 1 / jnp.where(size > 0, size, 1))
        first = jnp.where(jnp.isfinite(guess) & (guess > 0), guess, short)
        return descent.advance(problem, state, self.search, first, self.turn)

    def turn(self, state: DescentState, found: Found) -> tuple[Scalar, PyTree[Array]]:
        """The first-order change of $f$ over a step, and the direction after it."""
        g, before = found.gradient, state.gradient
        y = tree.subtract(g, before)
        dot = lambda a, b: slope(jax.tree.map(jnp.conj, a), b)  # noqa: E731
        above = dot(g, g if self.method == "fletcher-reeves" else y)
        below = slope(y, state.direction) if self.method == "hestenes-stiefel" else dot(before, before)
        beta = jnp.where(below > 0, jnp.maximum(above / jnp.where(below > 0, below, 1), 0), 0)
        change = (found.step * slope(before, state.direction)).astype(state.step.dtype)
        return change, tree.axpy(beta, state.direction, steepest(g))
