"""Halpern's iteration, drawn to an anchor."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import FixedPoint
from frechet.solvers.anchor import Anchor


class HalpernState(State):
    """``anchor`` is where the epoch began."""

    anchor: Anchor


class Halpern(Solver):
    r"""Averages the map with an anchor $a$, at first the start, for nonexpansive maps.

    $$x_{k+1} = \frac1{k+2}\,a + \frac{k+1}{k+2}\,T(x_k)$$

    Wherever $T$ is nonexpansive $\|x_k - T(x_k)\| \le 2D/(k+1)$ with the distance $D$ from the anchor to the
    fixed points, which no method that evaluates $T$ can better in general; averaging with the iterate has
    $O(1/\sqrt k)$. Solutions of an inclusion $0 \in F(z) + \partial g(z)$ whose operator is
    $1/L$-cocoercive are the fixed points of $T(z) = \mathrm{prox}_{s g}(z - s F(z))$, with any $s \le 2/L$.
    A step costs one evaluation of $T$.

    The anchor moves to the iterate, and $k$ to 0, whenever $\|x_k - T(x_k)\|$ has fallen by a factor of $e$.
    That makes convergence linear where this residual bounds the distance to the fixed points, and costs at
    most a constant elsewhere.

    Args:
        restarts: whether the anchor moves.

    Source:
        Halpern 1967, Fixed points of nonexpanding maps; Lieder 2021, On the convergence rate of the
        Halpern-iteration (the constant); Diakonikolas 2020, Halpern iteration for near-optimal and
        parameter-free monotone inclusion and strong solutions to variational inequalities, arXiv 2002.08872.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> quarter_turn = fr.FixedPoint(lambda x: jnp.array([1 - x[1], x[0]]))
        >>> fr.solve(quarter_turn, jnp.zeros(2), Halpern(), tol=1e-5).x.round(3).tolist()
        [0.5, 0.5]
    """

    accepts: ClassVar[type] = FixedPoint
    restarts: bool = eqx.field(default=True, static=True, kw_only=True)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With restarts; without them too, but at O(1/k) however easy the problem."""
        return self.restarts

    def init(self, problem: FixedPoint, x0: PyTree[Array], *, key: PRNGKeyArray) -> HalpernState:
        return HalpernState(x0, Calls(), Anchor.at(x0))

    def step(self, problem: FixedPoint, state: HalpernState, *, key: PRNGKeyArray) -> HalpernState:
        image, anchor = problem.apply(state.x), state.anchor
        if self.restarts:
            anchor = anchor.moved(state.x, tree.norm(tree.subtract(state.x, image)))
        ahead = anchor.mixed(image, 1 / (anchor.steps + 2).astype(anchor.first.dtype))
        return HalpernState(ahead, state.calls.add(value=1), anchor.next())
