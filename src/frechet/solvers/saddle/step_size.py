"""Step sizes along an operator: given ones, or derived from how steep it turns out to be."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.convex.parameters import parameter
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

    def after(self, change: PyTree[Array], move: PyTree[Array]) -> "Pace":
        """A step later, when the operator was seen to change so much along a move."""
        L = self.lipschitz
        if L is not None:
            L = jax.lax.stop_gradient(lipschitz.revised(L, change, move))
        return Pace(self.steps + 1, L)

    def next(self) -> "Pace":
        """A step later, when nothing was seen."""
        return Pace(self.steps + 1, self.lipschitz)
