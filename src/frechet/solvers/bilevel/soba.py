"""SOBA: one step a level and one in the adjoint variable, all at once."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched, decayed
from frechet.solvers.bilevel.batches import both_batches, charge
from frechet.solvers.bilevel.directions import directions, inner_parts
from frechet.solvers.bilevel.lower_step import lower_step, shortened, step_or_none


class SOBAState(State):
    """``adjoint`` is $v$, ``rate`` the lower step size before decay, ``updates`` how many were made."""

    adjoint: PyTree[Array]
    rate: Scalar
    updates: Int[Array, ""]


class SOBA(Batched):
    r"""Stochastic bilevel algorithm: simultaneous steps in $x$, in $y$ and in the adjoint variable $v$.

    $$\begin{aligned}
      y &\leftarrow y - r_t\,\nabla_y g(x, y) \\
      v &\leftarrow v - r_t\,\bigl(\nabla^2_{yy} g(x, y)\, v + \nabla_y f(x, y)\bigr) \\
      x &\leftarrow \mathrm{prox}_{q_t p}\bigl(x - q_t\,(\nabla^2_{xy} g(x, y)\, v + \nabla_x f(x, y))\bigr)
    \end{aligned}$$

    all from the old point, with whole sums or a fresh batch at each level, and steps
    $r_t = r (t+1)^{-\text{lower decay}}$, $q_t = q (t+1)^{-\text{outer decay}}$. A step costs a gradient of
    each level, one second-order product and a prox; no system is solved.

    With whole sums and constant steps the limit is exact and convergence linear, as long as $q$ is small
    beside the lower level's rate $\mu r$. With batches steps have to fall, by a decay of one half each, and
    $\|\nabla\Phi\|^2$ falls like $\log t/\sqrt t$.

    Args:
        lower_step: $r$; left out, one over the largest eigenvalue of $\nabla^2_{yy} g$, estimated at the
            start and revised whenever a product shows a larger one.
        outer_step: $q$; the default suits hyperobjectives with second derivatives of the order of one.
        lower_decay: the exponent at the lower level.
        outer_decay: the exponent at the upper level.
        batch_size: terms a batch; whole sums when left out.

    Source:
        Dagréou, Ablin, Vaiter, Moreau 2022, A framework for bilevel optimization that enables stochastic and
        global variance reduction algorithms, arXiv 2201.13409.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2 + x**2, lambda x, y: (y - x) ** 2)
        >>> solution = fr.solve(problem, (jnp.array(0.0), jnp.array(0.0)), SOBA(), tol=1e-4)
        >>> round(float(solution.x.upper), 3)
        0.5
    """

    check_every: ClassVar[int] = 50
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer_step: float | Scalar = 0.1
    lower_decay: float | Scalar = 0.0
    outer_decay: float | Scalar = 0.0

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.stochastic

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> SOBAState:
        rate, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        return SOBAState(x0, calls, jax.tree.map(jnp.zeros_like, x0.lower), rate, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: SOBAState, *, key: PRNGKeyArray) -> SOBAState:
        (x, y, *_), v, t = state.x, state.adjoint, state.updates
        outer_indices, indices = both_batches(key, problem, self.batch_size)
        inner = inner_parts(problem, x, y, v, indices)
        D_y, D_v, D_x = directions(inner, problem.outer_gradients(x, y, outer_indices))
        rate = shortened(state.rate, v, inner.curved) if self.lower_step is None else state.rate
        r, q = decayed(rate, t, self.lower_decay, y), decayed(self.outer_step, t, self.outer_decay, x)
        ahead = state.x._replace(
            upper=problem.outer_prox(tree.axpy(-q, D_x, x), q), lower=tree.axpy(-r, D_y, y)
        )
        calls = charge(state.calls, self.batch_size, outer=1, inner=1, second=1, prox=1)
        return SOBAState(ahead, calls, tree.axpy(-r, D_v, v), rate, t + 1)
