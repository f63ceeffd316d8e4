"""Step sizes along an operator: given ones, or derived from how steep it turns out to be."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle import lipschitz

StepSize = float | Array | Callable[[Int[Array, ""]], Scalar] | None


def step_size(given: Any) -> Any:
    """Converter: None, a positive number, or a function of the step's number from 0 (a schedule)."""
    return given if given is None or callable(given) else parameter("step_size", given, positive=True)


class Harmonic(eqx.Module):
    r"""The schedule $s_t = c / (t + b)$ for steps $t = 0, 1, \dots$

    With noise of bounded variance and a $\mu$-strongly monotone operator, $c > 1/\mu$ makes the mean squared
    distance to the solution $O(1/t)$; $b$ keeps the first steps short.

    Args:
        numerator: $c$.
        offset: $b$.

    Source:
        Robbins, Monro 1951, A stochastic approximation method; for extragradient methods Hsieh, Iutzeler,
        Malick, Mertikopoulos 2019, On the convergence of single-call stochastic extra-gradient methods,
        arXiv 1908.08465.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Harmonic(2.0, 20.0)(jnp.array(20)))
        0.05000000074505806
    """

    numerator: Any = eqx.field(converter=lambda v: parameter("numerator", v, positive=True))
    offset: Any = eqx.field(converter=lambda v: parameter("offset", v, positive=True))

    def __call__(self, t: Int[Array, ""]) -> Scalar:
        return self.numerator / (t + self.offset)


class Pace(eqx.Module):
    """What step sizes are made of; part of a solver's state.

    Attributes:
        steps: how many steps were taken.
        lipschitz: an estimate of the operator's Lipschitz constant; None where step sizes are given.
    """

    steps: Int[Array, ""]
    lipschitz: Scalar | None

    @staticmethod
    def start(problem: Inclusion, z: PyTree[Array], given: Any, sampled: bool) -> tuple["Pace", Calls]:
        """Before the first step, and the calls it took; of components the largest constant counts."""
        calls, L = Calls(), None
        if given is None:
            terms = getattr(problem.F, "lipschitz_terms", None)
            known = jnp.max(terms()) if sampled and terms is not None else None
            L, calls = lipschitz.first(problem, z, known, calls)
        return Pace(jnp.zeros((), int), jax.lax.stop_gradient(L)), calls

    def size(self, given: Any, share: float, z: PyTree[Array]) -> Scalar:
        """The given step size, or ``share`` over the Lipschitz constant."""
        if self.lipschitz is not None:
            given = share / self.lipschitz
        elif callable(given):
            given = given(self.steps)
        return jnp.asarray(given, jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype)

    def after(
        self, z: PyTree[Array], here: PyTree[Array], lead: PyTree[Array], there: PyTree[Array]
    ) -> "Pace":
        """A step later, when the operator was seen to be ``here`` at ``z`` and ``there`` at ``lead``."""
        L = self.lipschitz
        if L is not None:
            z, here, lead, there = jax.lax.stop_gradient((z, here, lead, there))
            change, move = tree.subtract(there, here), tree.subtract(lead, z)
            # Of points and values that agree in all but their last digits the ratio is rounding.
            digits = 100 * jnp.finfo(L.dtype).eps
            heard = (tree.norm(move) > digits * tree.norm(z)) & (tree.norm(change) > digits * tree.norm(here))
            L = jnp.where(heard, lipschitz.revised(L, change, move), L)
        return Pace(self.steps + 1, L)

    def next(self) -> "Pace":
        """A step later, when nothing was seen."""
        return Pace(self.steps + 1, self.lipschitz)

    def tried(
        self,
        share: float,
        z: PyTree[Array],
        here: PyTree[Array],
        lead: PyTree[Array],
        there: PyTree[Array],
    ) -> tuple["Pace", Bool[Array, ""]]:
        r"""The same, and whether a derived step size was short enough: $s\|F(u) - F(v)\| \le \|u - v\|$.

        Where it was not, or the operator is not finite at ``lead``, the next is between a half and an eighth
        of it: how steep the operator is far away need not matter. A given step size always is.
        """
        seen = self.after(z, here, lead, there)
        if self.lipschitz is None or seen.lipschitz is None:
            return seen, jnp.asarray(True)
        good = (share * seen.lipschitz <= self.lipschitz) & tree.all_finite(there)
        closer = jnp.clip(seen.lipschitz, 2 * self.lipschitz, 8 * self.lipschitz)
        L = jnp.where(good, seen.lipschitz, closer)
        return Pace(seen.steps, L), good
