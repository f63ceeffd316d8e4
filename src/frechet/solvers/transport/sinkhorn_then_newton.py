"""Accelerated Sinkhorn sweeps while they are fast, then Sinkhorn-Newton-Sparse."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.transport.sinkhorn import Sinkhorn, SinkhornState
from frechet.solvers.transport.sinkhorn_newton_sparse import SinkhornNewtonSparse, SNSState

SLOW = 0.1
"""A step of sweeps that leaves more than this part of the error is the last one."""


class SinkhornThenNewtonState(State):
    """``sinkhorn`` is the state of the sweeps; ``newton`` is true once they are over."""

    sinkhorn: SinkhornState
    newton: Bool[Array, ""]


class SinkhornThenNewton(Solver):
    r"""`Sinkhorn` while it is fast, then `SinkhornNewtonSparse`: the default for stored costs.

    Down to $\varepsilon$ of a thousandth of the mean cost or so, accelerated sweeps by products with a plan
    need a few dozen to a few hundred products and nothing else, less than the first Newton steps take. Below,
    their number grows as $1/\varepsilon$ and faster, and that of Newton's steps hardly at all. So steps are
    those of `Sinkhorn` until one that used up its sweeps has not made the error of the marginals ten times
    smaller (or, where $\varepsilon$ is on its way down, small enough to go on). From then on a step is
    up to ``steps`` of those of `SinkhornNewtonSparse`, fewer where marginals are right before.

    Args:
        sinkhorn: the one.
        newton: the other.
        steps: how many of Newton's make a step.

    Source:
        See `Sinkhorn` and `SinkhornNewtonSparse`; changing from the one to the other: Tang et al. 2024,
        Accelerating Sinkhorn algorithm with sparse Newton iterations, arXiv 2401.12253.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Transport(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> bool(fr.solve(problem, problem.initial(), SinkhornThenNewton()).status.converged)
        True
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"plan", "entropic", "balanced"})
    check_every: ClassVar[int] = 1
    sinkhorn: Sinkhorn = eqx.field(default_factory=Sinkhorn)
    newton: SinkhornNewtonSparse = eqx.field(default_factory=SinkhornNewtonSparse)
    steps: int = 30

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SinkhornThenNewtonState:
        begun = self.sinkhorn.init(problem, x0, key=key)
        return SinkhornThenNewtonState(x0, begun.calls, begun, jnp.asarray(False))

    def step(
        self, problem: Transport, state: SinkhornThenNewtonState, *, key: PRNGKeyArray
    ) -> SinkhornThenNewtonState:
        return jax.lax.cond(
            state.newton,
            lambda s: self._newton_steps(problem, s, key),
            lambda s: self._sweeps(problem, s, key),
            state,
        )

    def _sweeps(
        self, problem: Transport, state: SinkhornThenNewtonState, key: PRNGKeyArray
    ) -> SinkhornThenNewtonState:
        before = state.sinkhorn
        s = self.sinkhorn.step(problem, before, key=key)
        last = before.epsilon <= problem.epsilon
        # Where epsilon has just come down, the error before was one at another.
        stuck = last & jnp.isfinite(before.error) & (s.error > SLOW * before.error)
        slow = s.used_up & (stuck | (s.epsilon == before.epsilon) & ~last)
        s = eqx.tree_at(lambda s: s.error, s, jnp.where(last, s.error, jnp.inf))
        return SinkhornThenNewtonState(s.x, s.calls, s, slow)

    def _newton_steps(
        self, problem: Transport, state: SinkhornThenNewtonState, key: PRNGKeyArray
    ) -> SinkhornThenNewtonState:
        target = SLOW * jnp.finfo(problem.a.dtype).eps ** 0.5

        def going(carry: tuple[Array, SNSState]) -> Bool[Array, ""]:
            count, s = carry
            right = (s.epsilon <= problem.epsilon) & (jnp.sum(jnp.abs(s.rows - problem.a)) <= target)
            return state.newton & (count < self.steps) & ((count == 0) | ~right)

        def turn(carry: tuple[Array, SNSState]) -> tuple[Array, SNSState]:
            count, s = carry
            return count + 1, self.newton.step(problem, s, key=key)

        begun = self.newton.init(problem, state.x, key=key)
        _, s = jax.lax.while_loop(going, turn, (jnp.zeros((), jnp.int32), begun))
        calls = Calls(state.calls.counts + s.calls.counts)
        return SinkhornThenNewtonState(s.x, calls, state.sinkhorn, state.newton)
