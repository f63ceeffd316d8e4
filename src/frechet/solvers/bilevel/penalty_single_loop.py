"""The penalty method with one update of everything in every step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.lift import replaced
from frechet.core.solver import Solver
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batches import Indices, both_batches, charge
from frechet.solvers.bilevel.penalised import Penalised, PenaltyState


class Point(NamedTuple):
    """Where gradients are taken: $x$, $w_y$ and $w_z$."""

    upper: PyTree[Array]
    lower: PyTree[Array]
    plain: PyTree[Array]


class Memory(NamedTuple):
    """An estimator: its last value, and the point that it was at."""

    estimate: PyTree[Array]
    at: Point


class SingleLoopState(PenaltyState):
    """With batches, estimators of the gradients that move the lower level and of those of the upper one."""

    in_lower: Memory | None
    in_upper: Memory | None
    count: Int[Array, ""]


class PenaltySingleLoop(Penalised):
    r"""First-order penalty method, fully single loop, with momentum estimators.

    `PenaltyBilevel` with one proximal gradient step at the lower level in every step, and an upper step size
    of $\alpha\sqrt\sigma$. With batches each gradient $G$ is replaced by the estimator

    $$\tilde G_k = G(u_k; \xi_k) + (1 - \eta)\bigl(\tilde G_{k-1} - G(u_{k-1}; \xi_k)\bigr),$$

    which evaluates the same batch at two points. An $\epsilon$-stationary point takes $O(\epsilon^{-5})$
    gradients of terms where they are Lipschitz in the mean square. A step costs two gradients of the upper
    level, four of the lower one and three proximal maps; with batches twice as many gradients of batches.

    Args:
        sigma: as in `PenaltyBilevel`.
        shrink: as in `PenaltyBilevel`.
        step_size: $\alpha$.
        rho: as in `PenaltyBilevel`.
        relaxation: as in `PenaltyBilevel`.
        lower_step: as in `PenaltyBilevel`.
        momentum: $\eta$, the weight of the fresh batch alone; 1 makes it plain stochastic gradients.
        batch_size: terms a batch; whole sums when left out.

    Source:
        Kwon, Kwon, Wright, Nowak 2024, On penalty methods for nonconvex bilevel optimization and first-order
        stochastic approximation, arXiv 2309.01753.

    Example:
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> found = fr.solve(problem, (0.0, 0.0), PenaltySingleLoop(), max_steps=1000).x
        >>> round(float(found.upper), 1), round(float(found.lower), 1)
        (0.5, 1.0)
    """

    momentum: float = 0.03

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> SingleLoopState:
        begun = super().init(problem, x0, key=key)
        x, y = x0.upper, x0.lower
        memories = (None, None)
        if self.batch_size is not None:
            at = Point(x, y, y)
            empty = lambda v: jax.tree.map(jnp.zeros_like, (v, v, v))  # noqa: E731
            memories = (Memory(empty(y), at), Memory(empty(x), at))
        fields = (begun.plain, begun.centres, begun.sigma, begun.rate)
        return SingleLoopState(begun.x, begun.calls, *fields, *memories, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: SingleLoopState, *, key: PRNGKeyArray) -> SingleLoopState:
        x, w = state.x.upper, (state.x.lower, state.plain)
        first, second = (key, key) if self.batch_size is None else jax.random.split(key)

        def in_lower(u: Point, outer: Indices, inner: Indices) -> tuple:
            f_y = problem.outer_gradients(u.upper, u.lower, outer)[1]
            return f_y, *(problem.inner_gradient(u.upper, v, inner) for v in u[1:])

        def in_upper(u: Point, outer: Indices, inner: Indices) -> tuple:
            f_x = problem.outer_gradients(u.upper, u.lower, outer)[0]
            return f_x, *(problem.inner_gradients(u.upper, v, inner)[0] for v in u[1:])

        def tracked(gradients: Callable, u: Point, memory: Memory | None, key: PRNGKeyArray) -> Any:
            batches = both_batches(key, problem, self.batch_size)
            fresh = gradients(u, *batches)
            if memory is None:
                return fresh
            kept = jnp.where(state.count > 0, 1 - self.momentum, 0)
            error = tree.subtract(memory.estimate, gradients(memory.at, *batches))
            return tree.axpy(kept, error, fresh)

        before = Point(x, *w)
        slopes = tracked(in_lower, before, state.in_lower, first)
        w = self.lower_update(problem, state, w, slopes)
        after = Point(x, *w)
        crossed = tracked(in_upper, after, state.in_upper, second)
        changes = self.upper_update(problem, state, w, crossed, self.step_size * jnp.sqrt(state.sigma))
        n = 1
        if self.batch_size is not None:
            changes |= {"in_lower": Memory(slopes, before), "in_upper": Memory(crossed, after)}
            n = 2
        calls = charge(state.calls, self.batch_size, outer=2 * n, inner=4 * n, prox=3)
        return replaced(state, calls=calls, count=state.count + 1, **changes)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"PenaltySingleLoop": cls(batch_size=4)}
