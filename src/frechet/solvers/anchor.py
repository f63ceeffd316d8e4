"""The anchor that iterations of Halpern's kind are drawn to, and when it moves."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

SHARE = math.exp(-1)
"""Of the first residual, at which the anchor moves.

An epoch that ends at a share $r$ takes $O(1/r)$ steps, so $1/e$ makes the steps for a digit fewest.
"""


class Anchor(eqx.Module):
    r"""Where an epoch began, and what has happened since; part of a solver's state.

    Methods that are drawn to a fixed anchor, the weaker the later, have residuals of $O(LD/k)$ with the
    distance $D$ from the anchor to the solutions, and no less even on easy problems. Where the residual
    bounds the distance, as for strongly monotone or piecewise affine operators, moving the anchor to the
    iterate whenever the residual has fallen by a fixed factor makes convergence linear.

    Attributes:
        point: the anchor.
        steps: how many steps were taken since it was set.
        first: the first residual since then; infinite before one is known.

    Source:
        Diakonikolas 2020, Halpern iteration for near-optimal and parameter-free monotone inclusion and strong
        solutions to variational inequalities, arXiv 2002.08872 (restarts); Lu, Yang 2024, Restarted Halpern
        PDHG for linear programming, arXiv 2407.16144 (adaptive ones).
    """

    point: PyTree[Array]
    steps: Int[Array, ""]
    first: Scalar

    @staticmethod
    def at(x: PyTree[Array]) -> "Anchor":
        """At the start."""
        dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(x))).dtype
        return Anchor(x, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, dtype))

    def moved(self, x: PyTree[Array], residual: Scalar) -> "Anchor":
        """The anchor for the next step: ``x``, where its residual is small enough by now, or the same."""
        residual = jax.lax.stop_gradient(residual).astype(self.first.dtype)
        first = jnp.where(jnp.isinf(self.first), residual, self.first)
        moves = (self.steps > 0) & (residual <= SHARE * first)
        at = lambda new, old: jnp.where(moves, new, old)  # noqa: E731
        return Anchor(
            jax.tree.map(at, x, self.point), at(jnp.zeros_like(self.steps), self.steps), at(residual, first)
        )

    def next(self) -> "Anchor":
        """A step later."""
        return Anchor(self.point, self.steps + 1, self.first)

    def mixed(self, x: PyTree[Array], weight: Scalar) -> PyTree[Array]:
        """``weight`` times the anchor plus one minus ``weight`` times ``x``."""
        return jax.tree.map(lambda u, v: (v + weight * (u - v)).astype(v.dtype), self.point, x)
