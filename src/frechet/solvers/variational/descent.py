"""What methods of Gaussian variational inference share: steps along which the free energy never rises."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.gaussian_expectations import Expectation, Gaussian
from frechet.problems.gaussian_variational import GaussianVariational
from frechet.solvers.proximal.step_size import constant_or_none
from frechet.solvers.rounding import rounding


class VariationalState(State):
    """``ahead`` and ``free_energy`` are those at ``x``; ``scale`` is the share of the longest step to try."""

    ahead: Expectation
    free_energy: Scalar
    scale: Scalar


class VariationalDescent(Solver):
    """A method whose step is a path of candidates, one expectation each.

    A step size that is left out is a share of the longest, halved where the free energy would rise (up to
    rounding; the iterate then stays), which grows again where it falls. A subclass gives ``path`` and
    ``longest``.
    """

    accepts: ClassVar[type] = GaussianVariational
    cost: ClassVar[dict[str, int]] = {}
    """Oracle calls that a candidate costs besides its expectation."""

    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    @abc.abstractmethod
    def path(self, problem: GaussianVariational, state: VariationalState) -> Callable[[Scalar], Gaussian]:
        """The candidate that each step size leads to."""

    @abc.abstractmethod
    def longest(self, state: VariationalState) -> Scalar | float:
        """The longest step size that makes sense."""

    def init(self, problem: GaussianVariational, x0: Gaussian, *, key: PRNGKeyArray) -> VariationalState:
        ahead = problem.expectation(x0)
        energy = ahead.value - problem.entropy(x0)
        return VariationalState(x0, _counted(Calls()), ahead, energy, jnp.ones_like(energy))

    def step(
        self, problem: GaussianVariational, state: VariationalState, *, key: PRNGKeyArray
    ) -> VariationalState:
        size = state.scale * self.longest(state) if self.step_size is None else self.step_size
        candidate = self.path(problem, state)(jnp.asarray(size, state.scale.dtype))
        ahead = problem.expectation(candidate)
        entropy = problem.entropy(candidate)
        calls, energy = _counted(state.calls).add(**self.cost), ahead.value - entropy
        if self.step_size is not None:
            return VariationalState(candidate, calls, ahead, energy, state.scale)
        fall, unseen = state.free_energy - energy, 8 * rounding(ahead.value, entropy)
        # Where rounding hides the fall a longer step would be taken unseen, and again and again.
        longer = jnp.where(fall > 100 * unseen, jnp.minimum(1, 1.2 * state.scale), state.scale)
        moved = VariationalState(candidate, calls, ahead, energy, longer)
        stayed = VariationalState(state.x, calls, state.ahead, state.free_energy, state.scale / 2)
        return tree.where((fall >= -unseen) & jnp.isfinite(energy), moved, stayed)

    def objective(self, problem: GaussianVariational, state: VariationalState) -> Scalar:
        return state.free_energy


def spectral_radius(A: Float[Array, "d d"]) -> Scalar:
    """The largest modulus of an eigenvalue of a symmetric matrix."""
    return jnp.max(jnp.abs(jnp.linalg.eigvalsh(A)))


def _counted(calls: Calls) -> Calls:
    return calls.add(value=1, gradient=1, jacobian=1)
