"""Step sizes of the proximal gradient family: constant, or found by backtracking and growth."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.solvers.rounding import rounding


def constant_or_none(step_size: Any) -> Any:
    """Converter of a solver's ``step_size`` field: a positive number or array, or None for backtracking."""
    return None if step_size is None else parameter("step_size", step_size, positive=True)


class Decrease(NamedTuple):
    r"""How $f$ at a trial compares with its quadratic model at the point stepped from.

    Attributes:
        bregman: $f(x) - f(y) - \langle\nabla f(y), x - y\rangle$.
        square: $\|x - y\|^2$.
        rounding: how far rounding may put ``bregman`` off.
    """

    bregman: Scalar
    square: Scalar
    rounding: Scalar

    @staticmethod
    def between(
        y: PyTree[Array], value: Scalar, gradient: PyTree[Array], x: PyTree[Array], value_at_x: Scalar
    ) -> "Decrease":
        """Compares ``value_at_x`` with the model that ``value`` and ``gradient`` at ``y`` give."""
        d = tree.subtract(x, y)
        return Decrease(
            value_at_x - value - tree.vdot(gradient, d), tree.vdot(d, d), rounding(value, value_at_x)
        )

    def sufficient(self, step: Scalar) -> Bool[Array, ""]:
        r"""Whether $f(x) \le f(y) + \langle\nabla f(y), x-y\rangle + \|x-y\|^2/(2s)$, up to rounding.

        Without that allowance steps shrink to nothing near a solution. A trial that is not finite never is.
        """
        excess = self.bregman - self.square / (2 * step)
        return (excess <= self.rounding) & jnp.isfinite(self.square) & jnp.isfinite(self.bregman)


class Backtracking(eqx.Module):
    """What is remembered of step sizes from one step to the next.

    Steps grow fourfold until the first rejection, which finds their scale, and by a tenth from then on,
    which follows a curvature that falls and costs one rejected trial in about seven.

    Attributes:
        trial: the step size to try next.
        growth: what an accepted one is multiplied by.
    """

    trial: Scalar
    growth: Scalar

    @staticmethod
    def start(dtype: Any) -> "Backtracking":
        """Before the first step."""
        return Backtracking(jnp.ones((), dtype), jnp.full((), 4.0, dtype))

    def after(self, step: Scalar, trials: Int[Array, ""], decrease: Decrease) -> "Backtracking":
        """After ``trials`` trials the last of which, of size ``step``, was accepted."""
        growth = jnp.where(trials > 1, 1.1, self.growth).astype(self.growth.dtype)
        # Where rounding hides the curvature a longer step would be accepted unseen.
        seen = decrease.square / (2 * step) > 100 * decrease.rounding
        return Backtracking(jnp.where(seen, growth * step, step).astype(self.trial.dtype), growth)
