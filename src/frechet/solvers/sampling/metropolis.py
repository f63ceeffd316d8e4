"""Langevin moves that are accepted or rejected, so that the density itself is what they draw from."""

import abc
from collections import Counter
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler, diffused
from frechet.solvers.sampling.pace import Pace

BEST_ACCEPTANCE = 0.574
"""The share of moves accepted where mixing is fastest in many dimensions (Roberts, Rosenthal 1998)."""


class Visited(eqx.Module):
    """What a chain remembers of where it is, and its step size.

    Attributes:
        potential: minus the log density.
        gradient: that of the smooth part.
        pace: the step size.
    """

    potential: Scalar
    gradient: PyTree[Array]
    pace: Pace


class MetropolisLangevin(LangevinSampler):
    r"""A Langevin step as the proposal of a Metropolis-Hastings chain: no bias.

    A subclass gives ``look``, the potential and the gradient of its smooth part, and may change the
    proposal: its direction by ``direction``, its geometry by ``proposed`` and ``log_proposal``. The ratio of
    densities is that of the whole potential anyway. Where no step size is named, it follows the acceptance
    (see `Pace`).
    """

    share: ClassVar[float] = 1.0

    @abc.abstractmethod
    def look(self, problem: Density, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array], dict[str, int]]:
        """The potential, the gradient of its smooth part and the oracle calls that took."""

    def direction(
        self, problem: Density, x: PyTree[Array], gradient: PyTree[Array], step: Scalar
    ) -> tuple[PyTree[Array], dict[str, int]]:
        """What a proposal goes down, and the oracle calls it took."""
        return gradient, {}

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        return self.look(problem, x)[1:]

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, Any]]:
        potential, gradient, cost = self.look(problem, position)
        step = self.step_at(curvature)
        if self.step_size is None:
            step = step / sum(v.size for v in jax.tree.leaves(position)) ** (1 / 3)
        return Visited(potential, gradient, Pace.of(step, potential.dtype)), cost

    def proposed(
        self, x: PyTree[Array], down: PyTree[Array], step: Scalar, key: PRNGKeyArray
    ) -> PyTree[Array]:
        """A point drawn ahead of ``x``, whose direction is ``down``."""
        return diffused(tree.axpy(-step, down, x), step, key)

    def log_proposal(
        self, ahead: PyTree[Array], x: PyTree[Array], down: PyTree[Array], step: Scalar
    ) -> Scalar:
        """The logarithm of the density of proposing ``ahead`` from ``x``, but for a constant."""
        return -(tree.norm(tree.axpy(step, down, tree.subtract(ahead, x))) ** 2) / (4 * step)

    def move(
        self, problem: Density, position: PyTree[Array], memory: Visited, key: PRNGKeyArray
    ) -> tuple[PyTree[Array], Visited, dict[str, Any]]:
        of_noise, of_choice = jax.random.split(key)
        step = memory.pace.step
        # Both directions at the step of this move, or the ratio would not be that of its proposals.
        down, cost = self.direction(problem, position, memory.gradient, step)
        ahead = self.proposed(position, down, step, of_noise)
        potential, gradient, looked = self.look(problem, ahead)
        down_ahead, again = self.direction(problem, ahead, gradient, step)
        there = self.log_proposal(ahead, position, down, step)
        back = self.log_proposal(position, ahead, down_ahead, step)
        log_ratio = memory.potential - potential + back - there
        # Where the density is zero, or no number, a chain may only leave, and learns nothing; it never goes
        # there.
        inside = jnp.isfinite(memory.potential)
        log_ratio = jnp.where(inside, log_ratio, 0)
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        chance = jnp.exp(jnp.minimum(log_ratio, 0))
        accepted = jax.random.uniform(of_choice, (), chance.dtype) < chance
        pace = memory.pace.after(chance, BEST_ACCEPTANCE if self.step_size is None else None, inside)
        here = (position, memory.potential, memory.gradient)
        position, potential, gradient = tree.where(accepted, (ahead, potential, gradient), here)
        calls = Counter(cost) + Counter(looked) + Counter(again)
        return position, Visited(potential, gradient, pace), dict(calls)
