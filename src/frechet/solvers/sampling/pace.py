"""The step size of a chain, which may follow how often its moves are accepted."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Pace(eqx.Module):
    """A chain's step size, and how its moves have fared.

    Attributes:
        log_step: the logarithm of the step size.
        moves: how many were tried.
        accepted: the probabilities of acceptance so far, summed.
    """

    log_step: Float[Array, "*chains"]
    moves: Float[Array, "*chains"]
    accepted: Float[Array, "*chains"]

    @classmethod
    def of(cls, step: Any, dtype: Any, chains: tuple[int, ...] = ()) -> "Pace":
        """Before the first move."""
        zero = jnp.zeros(chains, dtype)
        return cls(zero + jnp.log(jnp.asarray(step, dtype)), zero, zero)

    @property
    def step(self) -> Float[Array, "*chains"]:
        """The step size of the next move."""
        return jnp.exp(self.log_step)

    def after(self, chance: Array, aim: float | None, learns: Any = True) -> "Pace":
        r"""After a move that was accepted with a probability.

        Towards the share ``aim`` of accepted moves the logarithm changes by $k^{-0.6}$ at the $k$-th move at
        most, which leaves the limit of averages along the chain as it is.

        Args:
            chance: the probability.
            aim: the share to be accepted; None keeps the step size.
            learns: false where the move tells nothing.
        """
        moves = self.moves + 1
        change = 0 if aim is None else jnp.where(learns, (chance - aim) * moves**-0.6, 0)
        return Pace(self.log_step + change, moves, self.accepted + chance)
