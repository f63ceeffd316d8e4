"""What the penalty methods share: two lower problems with proximal centres, and the continuation."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none


class PenaltyState(State):
    r"""The lower part of ``x`` is $w_y$ and ``plain`` is $w_z$; ``centres`` are $y$ and $z$.

    ``sigma`` is the penalty's parameter, ``rate`` one over the lower level's largest curvature.
    """

    plain: PyTree[Array]
    centres: tuple[PyTree[Array], PyTree[Array]]
    sigma: Scalar
    rate: Scalar


class Penalised(Batched):
    r"""A method that follows $\psi_\sigma(x) = (\min_y (\sigma f + g) - \min_y g) / \sigma$.

    Attributes:
        sigma: $\sigma$, its first value.
        shrink: what $\sigma$ is multiplied by whenever the residuals are below it, down to the square root of
            the machine epsilon; 1 keeps it.
        step_size: of the upper level.
        rho: of the proximal terms $\|w - \text{centre}\|^2 / (2\rho)$ at the lower level.
        relaxation: how far the centres follow, in (0, 1].
        lower_step: one over the largest eigenvalue of $\nabla^2_{yy} g$; estimated when left out.
    """

    asks: ClassVar[frozenset[str]] = frozenset(
        {"outer gradient", "inner gradient", "inner hvp", "prox", "no constraints"}
    )
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50
    sigma: float = 0.1
    shrink: float = 1 / 3
    step_size: float = 0.05
    rho: float = 2.0
    relaxation: float = 0.5
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> PenaltyState:
        y = x0.lower
        rate, calls = lower_step(problem, x0.upper, y, self.lower_step, Calls())
        return PenaltyState(x0, calls, y, (y, y), jnp.asarray(self.sigma, rate.dtype), rate)

    def lower_update(
        self, problem: Bilevel, state: PenaltyState, w: tuple[PyTree[Array], PyTree[Array]], slopes: tuple
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        r"""$(w_y, w_z)$ after a proximal gradient step each.

        Args:
            problem: the problem.
            state: for its centres, $\sigma$ and rate.
            w: before the step.
            slopes: $\nabla_y f$ and $\nabla_y g$ at $w_y$, then $\nabla_y g$ at $w_z$.
        """
        f_y, g_y, g_z = slopes
        s = state.sigma
        # The same step for both, so that their difference, which is divided by sigma, is all due to f.
        size = 1 / ((1 + s) / state.rate + 1 / self.rho)

        def moved(w: PyTree[Array], slope: PyTree[Array], centre: PyTree[Array]) -> PyTree[Array]:
            pulled = jax.tree.map(lambda d, v, c: d + (v - c) / self.rho, slope, w, centre)
            return problem.inner_prox(tree.axpy(-size, pulled, w), size)

        slopes = (tree.axpy(s, f_y, g_y), g_z)
        first, second = (moved(*each) for each in zip(w, slopes, state.centres, strict=True))
        return first, second

    def upper_update(
        self,
        problem: Bilevel,
        state: PenaltyState,
        w: tuple[PyTree[Array], PyTree[Array]],
        slopes: tuple,
        size: Any,
    ) -> dict[str, Any]:
        r"""What a step changes in the state, but for the calls: one proximal map.

        Args:
            problem: the problem.
            state: before the step.
            w: the new $(w_y, w_z)$.
            slopes: $\nabla_x f$ and $\nabla_x g$ at $w_y$, then $\nabla_x g$ at $w_z$.
            size: the step size.
        """
        f_x, g_y, g_z = slopes
        s = state.sigma
        x = problem.outer_prox(
            tree.axpy(-size, tree.axpy(1 / s, tree.subtract(g_y, g_z), f_x), state.x.upper), size
        )
        lag = tree.norm(tree.subtract(w, state.centres)) / self.rho
        # What is left of the lower problems is divided by sigma in the gradient.
        settled = (tree.norm(tree.subtract(x, state.x.upper)) < s * size) & (lag < s * s)
        least = jnp.minimum(jnp.finfo(s.dtype).eps ** 0.5, s)
        return {
            "x": BilevelPoint(x, w[0]),
            "plain": w[1],
            "centres": tree.axpy(self.relaxation, tree.subtract(w, state.centres), state.centres),
            "sigma": jnp.where(settled, jnp.maximum(self.shrink * s, least), s).astype(s.dtype),
        }
