"""Bisection of a bracket."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root


class BisectionState(State):
    """The bracket, the sign of $F$ at its first lower end and $F(x)$, all in the form of ``x``."""

    lower: PyTree[Array]
    upper: PyTree[Array]
    sign: PyTree[Array]
    value: PyTree[Array]


class Bisection(Solver):
    r"""Halves a bracket until the root is known to the last bit.

    For a continuous $F$ of one unknown that changes sign between the ends of the problem's bracket, from any
    start inside of it. An array of unknowns is as many equations at once, each entry of $F$ a
    function of the same entry of ``x`` alone. A step costs one value, the start two. A point where $F$ is
    zero is kept. Without a change of sign it closes in on one end of the bracket, and the solve ends stalled.

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
        value = problem.optimality(x0)
        lower, upper = _cut(lower, upper, sign, x0, value)
        return BisectionState(x0, Calls().add(value=2), lower, upper, sign, value)

    def step(self, problem: Root, state: BisectionState, *, key: PRNGKeyArray) -> BisectionState:
        middle = jax.tree.map(lambda a, b: a + (b - a) / 2, state.lower, state.upper)
        value = problem.optimality(middle)
        lower, upper = _cut(state.lower, state.upper, state.sign, middle, value)
        # NaN decides nothing; it is passed on, for the loop to report.
        x = jax.tree.map(lambda m, f: jnp.where(jnp.isnan(f), f, m), middle, value)
        return BisectionState(x, state.calls.add(value=1), lower, upper, state.sign, value)


def _cut(lower: PyTree, upper: PyTree, sign: PyTree, x: PyTree, value: PyTree) -> tuple[PyTree, PyTree]:
    """The part of the bracket with the root in it, given the sign at its lower end and the value at ``x``."""
    left = jax.tree.map(lambda f, sign: jnp.sign(f) == sign, value, sign)  # the root is to the right of x
    found = jax.tree.map(lambda f: f == 0, value)
    lower = jax.tree.map(lambda at, a, l, z: jnp.where(l | z, at, a), x, lower, left, found)
    return lower, jax.tree.map(lambda at, b, l, z: jnp.where(l & ~z, b, at), x, upper, left, found)
