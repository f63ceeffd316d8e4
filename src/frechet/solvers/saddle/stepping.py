"""What methods for inclusions share: batches of components, step sizes, averages, and what is watched."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.monotonicity import Watch
from frechet.solvers.saddle.step_size import Pace, StepSize, step_size
from frechet.solvers.stochastic import sampling


class Batched(Solver):
    """A solver that evaluates the operator, or the mean of a batch of its components.

    Attributes:
        batch_size: components a batch; None for the whole operator.
    """

    accepts: ClassVar[type] = Inclusion
    batch_size: int | None = eqx.field(default=None, static=True, kw_only=True)

    def __check_init__(self):
        if self.batch_size is not None:
            sampling.check_batch_size(self.batch_size)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The operator, or components of it, and the proximal map."""
        return frozenset({"prox", "operator" if self.batch_size is None else "sample"})

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether components are drawn."""
        return self.batch_size is not None

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With the whole operator."""
        return self.batch_size is None

    def drawn(self, problem: Inclusion, key: PRNGKeyArray) -> Int[Array, " batch"] | None:
        """Indices of components, uniform with replacement; None without batches."""
        size = self.batch_size
        return None if size is None else sampling.draw(key, problem, 1, size)[0]  # pyright: ignore

    def operator(
        self, problem: Inclusion, z: PyTree[Array], indices: Int[Array, " batch"] | None
    ) -> PyTree[Array]:
        """The operator at ``z``, or the mean of some components."""
        return problem.operator(z) if indices is None else problem.sample_operator(z, indices)

    def charged(self, calls: Calls, evaluations: int, prox: int) -> Calls:
        """The calls with so many evaluations of `operator` and proximal maps more."""
        if self.batch_size is None:
            return calls.add(gradient=evaluations, prox=prox)
        return calls.add(sample=evaluations * self.batch_size, prox=prox)


class OperatorMethod(Batched):
    """A solver that steps along it.

    Attributes:
        step_size: a number, a schedule, or None to derive it.
        share: the derived step size as a share of the inverse Lipschitz constant.
    """

    share: ClassVar[float]
    step_size: StepSize = eqx.field(default=None, converter=step_size, kw_only=True)


class MonotoneState(State):
    """``iterate`` is where the method is; ``weight`` that of the average in ``x``, None without one."""

    iterate: PyTree[Array]
    pace: Pace
    weight: Scalar | None
    watch: Watch | None


class MonotoneMethod(OperatorMethod):
    """An `OperatorMethod` for monotone operators.

    Attributes:
        average: whether ``x`` is the average of the leading points, weighted by step sizes, instead of the
            last iterate.
    """

    average: bool = eqx.field(default=False, static=True, kw_only=True)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With the whole operator, and fast enough for a test only at the last iterate."""
        return self.batch_size is None and not self.average

    def begin(self, problem: Inclusion, x0: PyTree[Array]) -> MonotoneState:
        """The state before the first step."""
        pace, calls = Pace.start(problem, x0, self.step_size, self.stochastic)
        watch = Watch.start(x0)
        weight = watch.first if self.average else None
        return MonotoneState(x0, calls, x0, pace, weight, None if self.stochastic else watch)

    def shown(
        self, state: MonotoneState, iterate: PyTree[Array], lead: PyTree[Array], size: Scalar
    ) -> tuple[PyTree[Array], Scalar | None]:
        """The new ``x`` and weight of the average."""
        if state.weight is None:
            return iterate, None
        weight = state.weight + size
        return tree.axpy(
            size / jnp.where(weight > 0, weight, 1), tree.subtract(lead, state.x), state.x
        ), weight

    def diagnosis(self, problem: Inclusion, state: MonotoneState) -> Any:
        if state.watch is None:
            return super().diagnosis(problem, state)
        return state.watch.ending()
