"""What samplers share: a move of one chain, made by all chains side by side."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.density import Chains, Density


class SamplerState(State):
    """``memory`` is what each chain keeps besides its position, with a leading axis for chains."""

    memory: PyTree[Array]


class Sampler(Solver):
    """A Markov chain by the move of one chain; every chain makes its own, with its own randomness.

    A subclass gives ``move`` and, where chains have a memory, ``prepare``. Both say what they cost in oracle
    calls.
    """

    accepts: ClassVar[type] = Density
    stochastic: ClassVar[bool] = True
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50

    def prepare(
        self, problem: Density, position: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], dict[str, Any]]:
        """A chain's memory before its first move, and the oracle calls that took."""
        return None, {}

    @abc.abstractmethod
    def move(
        self, problem: Density, position: PyTree[Array], memory: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        """A chain's next position and memory, and the oracle calls that took."""

    def init(self, problem: Density, x0: Chains, *, key: PRNGKeyArray) -> SamplerState:
        keys = jax.random.split(key, x0.size)
        memory, cost = jax.vmap(lambda x, k: self.prepare(problem, x, k))(x0.position, keys)
        return SamplerState(x0, Calls().add(**_total(cost)), memory)

    def step(self, problem: Density, state: SamplerState, *, key: PRNGKeyArray) -> SamplerState:
        keys = jax.random.split(key, state.x.size)
        move = jax.vmap(lambda x, memory, k: self.move(problem, x, memory, k))
        position, memory, cost = move(state.x.position, state.memory, keys)
        return SamplerState(state.x.moved(position), state.calls.add(**_total(cost)), memory)


def _total(cost: dict[str, Array]) -> dict[str, Array]:
    return {k: jnp.sum(v) for k, v in cost.items()}
