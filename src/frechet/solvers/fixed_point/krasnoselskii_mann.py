"""The averaged fixed-point iteration of Krasnoselskii and Mann."""

from typing import ClassVar

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import FixedPoint


class KrasnoselskiiMann(Solver):
    r"""Averages the map with the identity, for nonexpansive maps.

    $$x_{k+1} = (1-\alpha)\,x_k + \alpha\,T(x_k)$$

    For $0 < \alpha < 1$ it converges wherever $T$ is nonexpansive and has a fixed point, with
    $\|x_k - T(x_k)\| = O(1/\sqrt{k})$; a rotation, say, where repeating $T$ itself goes round in circles.
    $\alpha = 1$ is Picard's iteration $x_{k+1} = T(x_k)$, the right choice for contractions, which is also
    what Optimistix's `FixedPointIteration` does. A step costs one
    evaluation of $T$.

    Args:
        relaxation: the weight $\alpha$ of the map.

    Source:
        Krasnoselskii 1955, Two remarks on the method of successive approximations; Mann 1953, Mean value
        methods in iteration; Bauschke, Combettes 2017, Convex Analysis and Monotone Operator Theory,
        theorem 5.15.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> quarter_turn = fr.FixedPoint(lambda x: jnp.array([1 - x[1], x[0]]))
        >>> fr.solve(quarter_turn, jnp.zeros(2), KrasnoselskiiMann(), tol=1e-5).x.round(3).tolist()
        [0.5, 0.5]
    """

    accepts: ClassVar[type] = FixedPoint
    relaxation: float = 0.5

    def init(self, problem: FixedPoint, x0: PyTree[Array], *, key: PRNGKeyArray) -> State:
        return State(x0, Calls())

    def step(self, problem: FixedPoint, state: State, *, key: PRNGKeyArray) -> State:
        return State(relaxed(state.x, problem.apply(state.x), self.relaxation), state.calls.add(value=1))

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"KrasnoselskiiMann": cls(), "Picard": cls(relaxation=1.0)}


def relaxed(x: PyTree[Array], image: PyTree[Array], weight: float) -> PyTree[Array]:
    """``(1 - weight) x + weight * image``, and ``image`` itself for a weight of one."""
    return jax.tree.map(lambda u, v: (weight * v + (1 - weight) * u).astype(u.dtype), x, image)
