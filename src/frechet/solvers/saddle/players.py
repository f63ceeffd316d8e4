"""Steps of the players of a saddle problem, each with a size of its own."""

import equinox as eqx
from jaxtyping import Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.saddle import Saddle, SaddlePoint
from frechet.solvers.saddle.step_size import Pace
from frechet.solvers.saddle.stepping import OperatorMethod


class PlayersState(State):
    """``pace`` is what step sizes are made of."""

    pace: Pace


class PlayersMethod(OperatorMethod):
    """An `OperatorMethod` in which the minimiser's steps are a fraction of the maximiser's.

    Attributes:
        ratio: the maximiser's step size over the minimiser's.
    """

    ratio: float | Scalar = eqx.field(
        default=1.0, converter=lambda v: parameter("ratio", v, positive=True), kw_only=True
    )

    def begin(self, problem: Saddle, x0: SaddlePoint) -> PlayersState:
        """The state before the first step."""
        pace, calls = Pace.start(problem, x0, self.step_size, self.stochastic)
        return PlayersState(x0, calls, pace)

    def sizes(self, state: PlayersState) -> SaddlePoint:
        """The two step sizes."""
        s = state.pace.size(self.step_size, self.share, state.x)
        return SaddlePoint((s / self.ratio).astype(s.dtype), s)


def stepped(problem: Saddle, z: SaddlePoint, direction: SaddlePoint, sizes: SaddlePoint) -> SaddlePoint:
    """The proximal map of ``z`` less the direction times the sizes, for either player."""
    x, y = (tree.axpy(-s, d, v) for s, d, v in zip(sizes, direction, z, strict=True))
    return problem.prox(SaddlePoint(x, y), sizes)
