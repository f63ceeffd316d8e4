"""Whether an operator that ought to be monotone is, as far as the iterates can tell."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.core.status import Ending

GROWTH = 1e3
"""An operator's growth over its size at the start from which on iterates count as running away.

Less could be a way around a stationary point that is none of those looked for.
"""


class Watch(eqx.Module):
    r"""Two points with $\langle F(u) - F(v), u - v\rangle < 0$ prove that $F$ is not monotone.

    Methods for monotone operators often converge all the same, so it is reported only where the iterates run
    away as well. Part of a solver's state.

    Attributes:
        first: $\|F\|$ where it was seen first; zero before.
        last: where it was seen last.
        refuted: whether two such points were met.
    """

    first: Scalar
    last: Scalar
    refuted: Bool[Array, ""]

    @staticmethod
    def start(z: PyTree[Array]) -> "Watch":
        """Before anything was seen."""
        zero = jnp.zeros((), jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype)
        return Watch(zero, zero, jnp.asarray(False))

    def after(self, here: PyTree[Array], change: PyTree[Array], move: PyTree[Array]) -> "Watch":
        """Having seen the operator's value ``here``, and its change along a move."""
        here, change, move = jax.lax.stop_gradient((here, change, move))
        now, risen = tree.norm(here).astype(self.first.dtype), tree.norm(change)
        slack = jnp.sqrt(jnp.finfo(self.first.dtype).eps)
        against = tree.vdot(change, move) < -slack * risen * tree.norm(move)
        first = jnp.where(self.first > 0, self.first, now)
        # A change that is small beside the values it is the difference of may be rounding.
        return Watch(first, now, self.refuted | (against & (risen > slack * now)))

    def ending(self) -> Int[Array, ""]:
        """Nonmonotone, or running."""
        away = self.refuted & (self.last > GROWTH * self.first)
        return jnp.where(away, Ending.NONMONOTONE, Ending.RUNNING).astype(jnp.int32)
