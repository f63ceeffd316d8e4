"""BO-REP: normalised momentum at the upper level, a lower level that is updated now and then."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched
from frechet.solvers.bilevel.batches import both_batches, charge, inner_batch
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none


class BORepState(State):
    """``adjoint`` is $z$, ``momentum`` $m$, ``rate`` the lower step size, ``updates`` how many were made."""

    adjoint: PyTree[Array]
    momentum: PyTree[Array]
    rate: Scalar
    updates: Int[Array, ""]


class BORep(Batched):
    r"""Bilevel optimisation under unbounded smoothness: Initialisation Refinement and Periodic updates.

    For upper objectives whose gradients may grow as fast as their size, as those of recurrent networks do.
    The lower variable stays where it is but for $N_0$ steps at the very start and $N$ at every $I$-th later
    step, each on a fresh batch,

    $$y \leftarrow \mathrm{proj}_{B(\bar y, R)}\bigl(y - \gamma\,\nabla_y g(x, y)\bigr),$$

    $\bar y$ being the $y$ at the start of these. Then, at every step, in this order,

    $$\begin{aligned}
      z &\leftarrow z - \nu\,\bigl(\nabla^2_{yy} g(x, y)\, z - \nabla_y f(x, y)\bigr) \\
      m &\leftarrow \beta m + (1-\beta)\,\bigl(\nabla_x f(x, y) - \nabla^2_{xy} g(x, y)\, z\bigr) \\
      x &\leftarrow x - \eta\, m / \|m\|
    \end{aligned}$$

    with the norm that of all of $m$ and products from two independent batches. So $x$ moves by exactly
    $\eta$, however steep $\Phi$ is, and ends up going around a solution at a distance of that order.

    A step costs a gradient of $f$ and two second-order products and, on average, $N/I$ gradients of $g$; to
    $\mathbb E\|\nabla\Phi\| \le \varepsilon$ it takes $\tilde O(\varepsilon^{-4})$ of them.

    Args:
        outer_step: $\eta$, the length of each step.
        lower_step: $\gamma$; left out, one over the largest eigenvalue of $\nabla^2_{yy} g$ at the start.
        adjoint_step: $\nu$; left out, as $\gamma$.
        momentum: $\beta$.
        period: $I$.
        inner_steps: $N$.
        initial_steps: $N_0$.
        radius: $R$; infinite in the authors' program, finite in their theory.
        batch_size: terms a batch; whole sums when left out.

    Source:
        Hao, Gong, Liu 2024, Bilevel optimization under unbounded smoothness: a new algorithm and convergence
        analysis, arXiv 2401.09587.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: 0.25 * y**4, lambda x, y: (y - x) ** 2)
        >>> start = (jnp.array(9.0), jnp.array(0.0))
        >>> solution = fr.solve(problem, start, BORep(0.1), max_steps=200)
        >>> bool(abs(solution.x.upper) < 1.0)
        True
    """

    asks: ClassVar[frozenset[str]] = Batched.asks | {"smooth upper level"}
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50
    outer_step: float | Scalar = 0.01
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    adjoint_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    momentum: float | Scalar = 0.9
    period: int = eqx.field(default=2, static=True)
    inner_steps: int = eqx.field(default=3, static=True)
    initial_steps: int = eqx.field(default=50, static=True)
    radius: float | Scalar = jnp.inf

    def __check_init__(self):
        if self.period < 1:
            raise ValueError(f"period must be a positive integer, got {self.period}")

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> BORepState:
        rate, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        z, m = jax.tree.map(jnp.zeros_like, (x0.lower, x0.upper))
        return BORepState(x0, calls, z, m, rate, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: BORepState, *, key: PRNGKeyArray) -> BORepState:
        size, x, t = self.batch_size, state.x.upper, state.updates
        lower_key, adjoint_key, upper_key = jax.random.split(key, 3)
        n = jnp.where(t == 0, self.initial_steps, jnp.where(t % self.period == 0, self.inner_steps, 0))
        centre = state.x.lower

        def descend(i: Int[Array, ""], y: PyTree[Array]) -> PyTree[Array]:
            indices = inner_batch(jax.random.fold_in(lower_key, i), problem, size)
            y = tree.axpy(-state.rate, problem.inner_gradient(x, y, indices), y)
            away = tree.subtract(y, centre)
            length = tree.norm(away)
            return tree.where(length <= self.radius, y, tree.axpy(self.radius / length, away, centre))

        y = jax.lax.fori_loop(0, n, descend, centre)
        outer, inner = both_batches(adjoint_key, problem, size)
        outer_x, outer_y = problem.outer_gradients(x, y, outer)
        nu = state.rate if self.adjoint_step is None else self.adjoint_step
        z = state.adjoint
        z = tree.axpy(-nu, tree.subtract(problem.inner_hvp(x, y, z, inner), outer_y), z)
        crossed = problem.inner_products(x, y, z, inner_batch(upper_key, problem, size))[0]
        hypergradient = tree.subtract(outer_x, crossed)
        m = tree.axpy(1 - self.momentum, tree.subtract(hypergradient, state.momentum), state.momentum)
        length = tree.norm(m)
        ahead = tree.axpy(-self.outer_step / jnp.where(length > 0, length, 1), m, x)
        calls = charge(state.calls, size, outer=1, inner=n, second=2)
        return BORepState(BilevelPoint(ahead, y), calls, z, m, state.rate, t + 1)
