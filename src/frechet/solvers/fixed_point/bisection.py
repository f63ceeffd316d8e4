"""Bisection of a bracket."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root


class BisectionState(State):
    """The bracket and the sign of $F$ at its lower end, in the form of ``x``."""

    lower: PyTree[Array]
    upper: PyTree[Array]
    sign: PyTree[Array]


class Bisection(Solver):
    r"""Halves a bracket until the root is known to the last bit.

    For a continuous $F$ of one unknown that changes sign between the ends of the problem's bracket, from any
    start inside of it. An array of unknowns is as many equations at once, each entry of $F$ a
    function of the same entry of ``x`` alone. A step costs one value, the start another. Without a change of
    sign it closes in on one end of the bracket, and the solve ends stalled.

    Optimistix's bisection takes scalars alone and raises inside ``jit`` where the signs agree; hence this.

    Source:
        Burden, Faires 1985, Numerical Analysis, section 2.1.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Root(lambda x: x**3 - 2, bracket=(0.0, 2.0))
        >>> round(float(fr.solve(problem, jnp.asarray(1.0), Bisection(), tol=1e-5).x), 4)
        1.2599
    """

    accepts: ClassVar[type] = Root
    needs: ClassVar[frozenset[str]] = frozenset({"bracket"})
    check_every: ClassVar[int] = 5

    def init(self, problem: Root, x0: PyTree[Array], *, key: PRNGKeyArray) -> BisectionState:
        lower, upper = problem.bounds(x0)
        sign = jax.tree.map(jnp.sign, problem.optimality(lower))
        return BisectionState(x0, Calls().add(value=1), lower, upper, sign)

    def step(self, problem: Root, state: BisectionState, *, key: PRNGKeyArray) -> BisectionState:
        F = problem.optimality(state.x)
        left = jax.tree.map(
            lambda f, sign: jnp.sign(f) == sign, F, state.sign
        )  # the root is to the right of x
        lower = jax.tree.map(jnp.where, left, state.x, state.lower)
        upper = jax.tree.map(jnp.where, left, state.upper, state.x)
        # NaN decides nothing; it is passed on, for the loop to report.
        middle = jax.tree.map(lambda a, b, f: jnp.where(jnp.isnan(f), f, a + (b - a) / 2), lower, upper, F)
        return BisectionState(middle, state.calls.add(value=1), lower, upper, state.sign)
