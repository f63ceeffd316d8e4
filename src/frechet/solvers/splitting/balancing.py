"""One number that trades progress in the primal point for progress in the dual one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree


class Balance(eqx.Module):
    r"""A ratio that is moved until primal and dual residuals, each relative to its own scale, fall alike.

    Where one residual exceeds the other by half, the ratio is multiplied or divided by $1/(1-\alpha)$. A move
    that takes back the last one multiplies $\alpha$, one half at first, by 0.7, one that goes on by
    0.98: the moves are summable, so methods that converge for a constant ratio converge with this one.

    Source: Goldstein, Li, Yuan, Esser, Baraniuk 2013, Adaptive primal-dual hybrid gradient methods for
    saddle-point problems, arXiv 1305.0546; Boyd, Parikh, Chu, Peleato, Eckstein 2011, Distributed
    optimization and statistical learning via the alternating direction method of multipliers, section 3.4.1;
    Wohlberg 2017, ADMM penalty parameter selection by residual balancing, arXiv 1704.06209.

    Attributes:
        ratio: the number.
        eagerness: $\alpha$.
        last: the last move, 1 up, -1 down, 0 before the first.
    """

    ratio: Scalar
    eagerness: Scalar
    last: Scalar

    @staticmethod
    def start(dtype: Any) -> "Balance":
        """A ratio of one."""
        return Balance(jnp.ones((), dtype), jnp.full((), 0.5, dtype), jnp.zeros((), dtype))

    def after(self, up: Scalar, down: Scalar) -> "Balance":
        """The ratio raised where the residual ``up`` is the larger one, lowered where ``down`` is."""
        move = jnp.where(up > 1.5 * down, 1, jnp.where(down > 1.5 * up, -1, 0)).astype(self.last.dtype)
        ratio = self.ratio * (1 - self.eagerness) ** -move
        fade = jnp.where(move * self.last < 0, 0.7, jnp.where(move != 0, 0.98, 1.0))
        eagerness = (fade * self.eagerness).astype(self.eagerness.dtype)
        return Balance(ratio, eagerness, jnp.where(move != 0, move, self.last))


def relative(residual: PyTree[Array], *scales: PyTree[Array]) -> Scalar:
    """The size of a residual over that of the largest of the terms that it is made of."""
    size, largest = tree.norm(residual), jnp.max(jnp.stack([tree.norm(s) for s in scales]))
    return size / jnp.maximum(largest, jnp.finfo(size.dtype).tiny)
