"""BOME: descent on the upper objective that makes the lower level's gap fall as well."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none


class BOMEState(State):
    """``rate`` is the step size of gradient steps at the lower level."""

    rate: Scalar


class BOME(Solver):
    r"""Bilevel optimisation made easy: dynamic barrier descent on the value-function gap, first-order.

    With $y_T$ made of $y$ by $T$ gradient steps on $g(x, \cdot)$ and then held fixed, the gap is
    $q(x, y) = g(x, y) - g(x, y_T)$, and

    $$(x, y) \leftarrow (x, y) - \alpha (\nabla f + \lambda \nabla q), \qquad
      \lambda = \frac{\max(\eta\|\nabla q\|^2 - \langle\nabla f, \nabla q\rangle,\, 0)}{\|\nabla q\|^2},$$

    the direction nearest to $\nabla f$ along which $q$ falls at a rate of at least $\eta \|\nabla q\|^2$. The
    residual of the conditions of Karush, Kuhn and Tucker of $\min f$ subject to $q \le 0$ falls like
    $k^{-1/4}$ or so. A step costs $T + 1$ gradients of the lower level and one of the upper one.

    Args:
        step_size: $\alpha$.
        ratio: $\eta$.
        lower_step: size of the $T$ gradient steps; one over the largest eigenvalue of $\nabla^2_{yy} g$,
            estimated at the start, when left out.
        inner_steps: $T$.

    Raises:
        ValueError: ``inner_steps`` below 1.

    Source:
        Ye, Liu, Wright, Stone, Liu 2022, BOME! Bilevel optimization made easy: a simple first-order approach,
        arXiv 2209.08709.

    Example:
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> found = fr.solve(problem, (0.0, 0.0), BOME(), max_steps=2000).x
        >>> round(float(found.upper), 2), round(float(found.lower), 2)
        (0.5, 1.0)
    """

    accepts: ClassVar[type] = Bilevel
    needs: ClassVar[frozenset[str]] = frozenset(
        {"outer gradient", "inner gradient", "inner hvp", "smooth lower level", "smooth upper level"}
    )
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50
    step_size: float = 0.05
    ratio: float = 0.5
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    inner_steps: int = eqx.field(default=10, static=True)

    def __check_init__(self):
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps must be a positive integer, got {self.inner_steps}")

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> BOMEState:
        size, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        return BOMEState(x0, calls, size)

    def step(self, problem: Bilevel, state: BOMEState, *, key: PRNGKeyArray) -> BOMEState:
        x, y, size = state.x.upper, state.x.lower, state.rate
        g_x, g_y = problem.inner_gradients(x, y)

        def descend(_: Any, w: PyTree[Array]) -> PyTree[Array]:
            return tree.axpy(-size, problem.inner_gradient(x, w), w)

        lowest = jax.lax.fori_loop(1, self.inner_steps, descend, tree.axpy(-size, g_y, y))
        f = problem.outer_gradients(x, y)
        q = (tree.subtract(g_x, problem.inner_gradients(x, lowest)[0]), g_y)
        length = tree.vdot(q, q)
        # Where the gap's gradient vanishes there is nothing to make fall.
        scale = jnp.where(length > 0, length, 1)
        weight = jnp.maximum(self.ratio - tree.vdot(f, q) / scale, 0)
        x, y = tree.axpy(-self.step_size, tree.axpy(weight, q, f), (x, y))
        calls = state.calls.add(outer_gradient=1, gradient=self.inner_steps + 1)
        return BOMEState(BilevelPoint(x, y), calls, size)
