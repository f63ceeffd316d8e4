"""What variance reduction and momentum share: batches of one size, and one step size for the whole run."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Scalar

from frechet.core.problem import Problem
from frechet.core.solver import Solver
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling


class Batched(Solver):
    """A solver that draws batches of terms, with a constant step size.

    Attributes:
        step_size: derived from ``f.lipschitz_terms()`` when left out.
        batch_size: terms a batch.
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    stochastic: ClassVar[bool] = True
    check_every: ClassVar[int] = 1
    step_size: float | Scalar | None = None
    batch_size: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        sampling.check_batch_size(self.batch_size)

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason is None and self.step_size is None:
            reason = sampling.lacks_step_size(problem, type(self).__name__)  # pyright: ignore
        return reason
