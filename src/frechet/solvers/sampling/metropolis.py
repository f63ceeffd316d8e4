"""Langevin moves that are accepted or rejected, so that the density itself is what they draw from."""

import abc
from collections import Counter
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler, diffused

BEST_ACCEPTANCE = 0.574
"""The share of moves accepted where mixing is fastest in many dimensions (Roberts, Rosenthal 1998)."""


class Visited(eqx.Module):
    """What a chain remembers of where it is, and its step size.

    Attributes:
        potential: minus the log density.
        gradient: that of the smooth part.
        log_step: the logarithm of the step size.
        moves: how many were tried.
        accepted: the probabilities of acceptance so far, summed.
        curvature: as in `LangevinSampler`.
    """

    potential: Scalar
    gradient: PyTree[Array]
    log_step: Float[Array, ""]
    moves: Float[Array, ""]
    accepted: Float[Array, ""]
    curvature: Any


class MetropolisLangevin(LangevinSampler):
    r"""A Langevin step as the proposal of a Metropolis-Hastings chain: no bias.

    A subclass gives ``look``, the potential and the gradient of its smooth part, and may change the direction
    of the proposal by ``direction``: the ratio of densities is that of the whole potential anyway. Where no
    step size is named, it follows the acceptance, by changes that fade as $k^{-0.6}$, which leaves the limit
    of the chain's averages as it is.
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
        zero = jnp.zeros((), potential.dtype)
        log_step = jnp.log(jnp.asarray(step, potential.dtype))
        return Visited(potential, gradient, log_step, zero, zero, curvature), cost

    def move(
        self, problem: Density, position: PyTree[Array], memory: Visited, key: PRNGKeyArray
    ) -> tuple[PyTree[Array], Visited, dict[str, Any]]:
        of_noise, of_choice = jax.random.split(key)
        step = jnp.exp(memory.log_step)
        # Both directions at the step of this move, or the ratio would not be that of its proposals.
        down, cost = self.direction(problem, position, memory.gradient, step)
        ahead = diffused(tree.axpy(-step, down, position), step, of_noise)
        potential, gradient, looked = self.look(problem, ahead)
        down_ahead, again = self.direction(problem, ahead, gradient, step)
        away = tree.subtract(ahead, position)
        there = tree.norm(tree.axpy(step, down, away)) ** 2
        back = tree.norm(tree.axpy(-step, down_ahead, away)) ** 2
        log_ratio = memory.potential - potential + (there - back) / (4 * step)
        # Where the density is zero, or no number, a chain may only leave, and learns nothing; it never goes
        # there.
        inside = jnp.isfinite(memory.potential)
        log_ratio = jnp.where(inside, log_ratio, 0)
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        chance = jnp.exp(jnp.minimum(log_ratio, 0))
        accepted = jax.random.uniform(of_choice, (), chance.dtype) < chance
        moves, log_step = memory.moves + 1, memory.log_step
        if self.step_size is None:
            log_step = log_step + jnp.where(inside, (chance - BEST_ACCEPTANCE) * moves**-0.6, 0)
        here = (position, memory.potential, memory.gradient)
        position, potential, gradient = tree.where(accepted, (ahead, potential, gradient), here)
        total = memory.accepted + chance
        memory = Visited(potential, gradient, log_step, moves, total, memory.curvature)
        return position, memory, dict(Counter(cost) + Counter(looked) + Counter(again))
