"""One number that trades progress in the primal point for progress in the dual one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar


class Balance(eqx.Module):
    r"""A ratio that is moved until primal and dual residuals fall alike.

    Where one residual exceeds the other by half, the ratio is multiplied or divided by $1/(1-\alpha)$; every
    such move multiplies $\alpha$, one half at first, by 0.95. The moves are summable, so methods that
    converge for a constant ratio converge with this one.

    Source: Goldstein, Li, Yuan, Esser, Baraniuk 2013, Adaptive primal-dual hybrid gradient methods for
    saddle-point problems, arXiv 1305.0546; Boyd, Parikh, Chu, Peleato, Eckstein 2011, Distributed
    optimization and statistical learning via the alternating direction method of multipliers, section 3.4.1.

    Attributes:
        ratio: the number.
        eagerness: $\alpha$.
    """

    ratio: Scalar
    eagerness: Scalar

    @staticmethod
    def start(dtype: Any) -> "Balance":
        """A ratio of one."""
        return Balance(jnp.ones((), dtype), jnp.full((), 0.5, dtype))

    def after(self, primal: Scalar, dual: Scalar) -> "Balance":
        """The ratio raised where the primal residual is the larger one, lowered where the dual one is."""
        up, down = primal > 1.5 * dual, dual > 1.5 * primal
        shrink = 1 - self.eagerness
        ratio = jnp.where(up, self.ratio / shrink, jnp.where(down, self.ratio * shrink, self.ratio))
        return Balance(ratio, jnp.where(up | down, 0.95 * self.eagerness, self.eagerness))
