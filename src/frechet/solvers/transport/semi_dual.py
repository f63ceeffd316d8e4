"""Quasi-Newton methods on the semi-dual of transport, for plans that are sparse."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from frechet.core.solver import Solver, State
from frechet.problems.minimisation import Minimisation
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.line_search.bfgs import BFGS
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.lbfgs import LBFGS
from frechet.solvers.line_search.search import LineSearch
from frechet.solvers.line_search.weak_wolfe import WeakWolfe


class SemiDual(Minimisation):
    r"""$f \mapsto -D(f, g(f))$ with $g(f)$ the best potentials for $f$, at which columns have their mass.

    The gradient is the error of the rows. It sums to zero but for rounding, which is taken away: along
    constants the function would otherwise fall for ever, if slowly.
    """

    transport: Transport

    def value(self, x: Float[Array, " m"]) -> Scalar:
        return self.transport.value(self.potentials(x))

    def value_and_gradient(self, x: Float[Array, " m"]) -> tuple[Scalar, Float[Array, " m"]]:
        best = self.potentials(x)
        error = self.transport.gradient(best).f
        return self.transport.value(best), error - jnp.mean(error)

    def potentials(self, f: Float[Array, " m"]) -> Potentials:
        """``f`` with its best potentials."""
        return Potentials(f, self.transport.best_g(f))


class SemiDualState(State):
    """``x`` has the mass of every column; ``descent`` is where the search in $f$ is."""

    descent: DescentState


class _SemiDualDescent(Solver):
    """What a method for smooth functions does in $f$ alone."""

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"best g", "balanced"})
    check_every: ClassVar[int] = 1

    def method(self) -> LBFGS | BFGS:
        """The method."""
        raise NotImplementedError

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SemiDualState:
        semi_dual: Any = SemiDual(problem)
        descent = self.method().init(semi_dual, x0.f, key=key)
        return SemiDualState(x0, descent.calls.add(matvec=1), descent)

    def step(self, problem: Transport, state: SemiDualState, *, key: PRNGKeyArray) -> SemiDualState:
        semi_dual: Any = SemiDual(problem)
        descent = self.method().step(semi_dual, state.descent, key=key)
        values = descent.calls.value - state.descent.calls.value
        gradients = descent.calls.gradient - state.descent.calls.gradient
        # Whoever asks for the value or the gradient at f asks for the best potentials first.
        calls = state.calls.add(value=values, gradient=gradients, matvec=values + 1)
        return SemiDualState(problem.centred(semi_dual.potentials(descent.x)), calls, descent)


class SemiDualLBFGS(_SemiDualDescent):
    r"""L-BFGS on the semi-dual $\max_f D(f, g(f))$, where columns have the right mass all along.

    Rows have it at the solution, where $D$ is smooth there: with `frechet.transport.Quadratic` always, with
    `frechet.transport.TopK` where no column of the solution has ties at its $k$-th largest slack. Small $k$
    makes ties the rule. Then the search stalls close to the maximum, at a row error that does not vanish,
    and `SemiDualBFGS` is the one that gets there.

    A step tries a few lengths; each costs a value, a gradient and a pass for the best potentials.

    Args:
        history: how many pairs are kept.
        search: the line search.

    Source: Blondel, Seguy, Rolet 2018, Smooth and sparse optimal transport, arXiv 1710.06276; Liu,
    Puigcerver, Blondel 2023, Sparsity-constrained optimal transport, arXiv 2209.15466.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> problem = fr.Transport(C, regulariser=fr.transport.Quadratic(0.5))
        >>> solution = fr.solve(problem, problem.initial(), SemiDualLBFGS())
        >>> problem.plan(solution.x).round(2).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """

    history: int = eqx.field(default=10, static=True)
    search: LineSearch = eqx.field(default_factory=WeakWolfe)

    def method(self) -> LBFGS:
        return LBFGS(self.history, self.search)


class SemiDualBFGS(_SemiDualDescent):
    r"""BFGS on the semi-dual $\max_f D(f, g(f))$, which gets to maxima at kinks too.

    With `frechet.transport.TopK` and small $k$ the maximum is at a kink as a rule. There the dual value
    converges, for some hundreds of sources to rounding level, and bounds the value of every plan with $k$
    entries a column from below; no potentials give a plan whose rows have the right mass, so the residual
    does not vanish and solves end as stalled. How far the rows of the plan at hand are off depends on where
    the search ended.

    A step tries a few lengths; each costs a value, a gradient and a pass for the best potentials. Memory is
    quadratic in the sources; beyond a thousand or so use `SemiDualLBFGS`.

    Args:
        search: the line search.

    Source: Liu, Puigcerver, Blondel 2023, Sparsity-constrained optimal transport, arXiv 2209.15466; BFGS at
    kinks: Lewis, Overton 2013, Nonsmooth optimization via quasi-Newton methods, Mathematical Programming 141.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 1.0, 3.0], [1.0, 0.0, 1.0]])
        >>> problem = fr.Transport(C, jnp.array([0.75, 0.25]), regulariser=fr.transport.TopK(1, gamma=0.1))
        >>> solution = fr.solve(problem, problem.initial(), SemiDualBFGS())
        >>> round(-float(problem.value(solution.x)) - 0.05 / 3, 3)  # transport without regularisation
        0.833
    """

    search: LineSearch = eqx.field(default_factory=WeakWolfe)

    def method(self) -> BFGS:
        return BFGS(self.search)
