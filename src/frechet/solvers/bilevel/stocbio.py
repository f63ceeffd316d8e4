"""stocBiO: hypergradients from a Neumann series whose factors are independent batches."""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched, as_numbers_of
from frechet.solvers.bilevel.batches import both_batches, charge, inner_batch
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none


class StocBiOState(State):
    """``rate`` is the lower step size."""

    rate: Scalar


class StocBiO(Batched):
    r"""Stochastic bilevel optimiser: gradient steps on $g$, then a sampled Neumann series for the adjoint.

    $$\begin{aligned}
      y &\leftarrow y - r\nabla_y g(x, y) && T\text{ times} \\
      u_{k+1} &= (I - r\nabla^2_{yy} g(x, y))\,u_k, \quad u_0 = \nabla_y f(x, y) && Q\text{ times} \\
      x &\leftarrow \mathrm{prox}_{q p}\Bigl(x - q\,\bigl[\nabla_x f(x, y)
        - \nabla^2_{xy} g(x, y)\, r\textstyle\sum_{k=0}^Q u_k\bigr]\Bigr)
    \end{aligned}$$

    with a fresh batch for every gradient and every factor of the series: a shared one would bias the product
    of the factors. What is cut off the series leaves a relative bias of at most $(1 - r\mu)^{Q+1}$. A step
    costs a gradient of $f$, $T$ of $g$ and $Q + 1$ second-order products; to
    $\|\nabla\Phi\|^2 \le \varepsilon$ it takes $O(\varepsilon^{-2})$ gradients of terms.

    Args:
        lower_step: $r$; left out, one over the largest eigenvalue of $\nabla^2_{yy} g$ at the start.
        outer_step: $q$; the default suits hyperobjectives with second derivatives of the order of one.
        inner_steps: $T$.
        terms: $Q$.
        batch_size: terms a batch; whole sums when left out.

    Source:
        Ji, Yang, Liang 2021, Bilevel optimization: convergence analysis and enhanced design,
        arXiv 2010.07962.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2 + x**2, lambda x, y: (y - x) ** 2)
        >>> solution = fr.solve(problem, (jnp.array(0.0), jnp.array(0.0)), StocBiO(), tol=1e-4)
        >>> round(float(solution.x.upper), 3)
        0.5
    """

    converges: ClassVar[bool] = False
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer_step: float | Scalar = 0.1
    inner_steps: int = eqx.field(default=10, static=True)
    terms: int = eqx.field(default=10, static=True)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> StocBiOState:
        rate, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        return StocBiOState(x0, calls, rate)

    def step(self, problem: Bilevel, state: StocBiOState, *, key: PRNGKeyArray) -> StocBiOState:
        x, size, r = state.x.upper, self.batch_size, state.rate
        lower, series, last = jax.random.split(key, 3)

        def descend(y: PyTree[Array], key: PRNGKeyArray) -> tuple:
            return tree.axpy(-r, problem.inner_gradient(x, y, inner_batch(key, problem, size)), y), None

        y, _ = jax.lax.scan(descend, state.x.lower, jax.random.split(lower, self.inner_steps))
        outer, inner = both_batches(last, problem, size)
        outer_x, outer_y = problem.outer_gradients(x, y, outer)

        def extend(carry: tuple, key: PRNGKeyArray) -> tuple:
            u, total = carry
            u = tree.axpy(-r, problem.inner_hvp(x, y, u, inner_batch(key, problem, size)), u)
            return (u, tree.axpy(1.0, u, total)), None

        (_, total), _ = jax.lax.scan(extend, (outer_y, outer_y), jax.random.split(series, self.terms))
        h = tree.axpy(-r, problem.inner_products(x, y, total, inner)[0], outer_x)
        q = as_numbers_of(x, self.outer_step)
        ahead = state.x._replace(upper=problem.outer_prox(tree.axpy(-q, h, x), q), lower=y)
        calls = charge(state.calls, size, outer=1, inner=self.inner_steps, second=self.terms + 1, prox=1)
        return StocBiOState(ahead, calls, r)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"StocBiO": cls(batch_size=16)}
