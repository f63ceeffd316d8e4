"""Iterative differentiation: the hypergradient of what some gradient steps make of the lower variable."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none
from frechet.solvers.bilevel.outer_update import outer_update


class UnrolledState(State):
    """``begin`` is where the lower steps start, ``rate`` their size, ``memory`` the outer update's."""

    begin: PyTree[Array]
    rate: Scalar
    memory: Any


class IterativeDifferentiation(Solver):
    r"""Iterative differentiation (ITD): differentiates through $T$ gradient steps at the lower level.

    $$y_{k+1} = y_k - r\nabla_y g(x, y_k), \qquad
      h = \frac{\mathrm{d}}{\mathrm{d}x} f(x, y_T(x)),$$

    and $x$ moves along $h$. The derivative is taken in reverse: from $v_T = \nabla_y f(x, y_T)$,

    $$h \leftarrow h - r\nabla^2_{xy} g(x, y_k)\,v_{k+1}, \qquad
      v_k = v_{k+1} - r\nabla^2_{yy} g(x, y_k)\,v_{k+1}, \qquad k = T-1, \dots, 0,$$

    which needs the $T$ points kept. It is off from the hypergradient by $O((1 - r\mu)^T)$, and with it the
    limit. A step costs a gradient of $f$, $T$ gradients of $g$ and $T$ second-order products.

    Args:
        inner_steps: $T$.
        lower_step: $r$; left out, one over the largest eigenvalue of $\nabla^2_{yy} g$ at the start.
        outer: what makes a step of $h$: an Optax transformation, or left out, proximal gradient steps of
            adaptive size.
        warm_start: whether the lower steps go on from the last $y_T$ instead of from where the solve began.

    Source:
        Domke 2012, Generic methods for optimization-based modeling; Franceschi, Donini, Frasconi, Pontil
        2017, Forward and reverse gradient-based hyperparameter optimization, arXiv 1703.01785.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2 + x**2, lambda x, y: (y - x) ** 2)
        >>> solver = IterativeDifferentiation()
        >>> solution = fr.solve(problem, (jnp.array(0.0), jnp.array(0.0)), solver, tol=1e-4)
        >>> round(float(solution.x.upper), 3)
        0.5
    """

    accepts: ClassVar[type] = Bilevel
    needs: ClassVar[frozenset[str]] = frozenset(
        {"outer gradient", "inner gradient", "inner hvp", "smooth lower level", "unique lower solution"}
    )
    converges: ClassVar[bool] = False
    inner_steps: int = eqx.field(default=10, static=True)
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer: Any = eqx.field(default=None, converter=outer_update)
    warm_start: bool = eqx.field(default=True, static=True)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> UnrolledState:
        rate, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        return UnrolledState(x0, calls, x0.lower, rate, self.outer.init(x0.upper))

    def step(self, problem: Bilevel, state: UnrolledState, *, key: PRNGKeyArray) -> UnrolledState:
        x, r = state.x.upper, state.rate

        def descend(y: PyTree[Array], _: None) -> tuple:
            return tree.axpy(-r, problem.inner_gradient(x, y), y), y

        def reverse(carry: tuple, y: PyTree[Array]) -> tuple:
            h, v = carry
            crossed, curved = problem.inner_products(x, y, v)
            return (tree.axpy(-r, crossed, h), tree.axpy(-r, curved, v)), None

        y, passed = jax.lax.scan(descend, state.begin, None, length=self.inner_steps)
        (h, _), _ = jax.lax.scan(reverse, problem.outer_gradients(x, y), passed, reverse=True)
        T = self.inner_steps
        calls = state.calls.add(outer_gradient=1, gradient=T, hvp=T)
        ahead, memory, calls = self.outer.apply(problem, x, h, state.memory, calls)
        begin = y if self.warm_start else state.begin
        return UnrolledState(state.x._replace(upper=ahead, lower=y), calls, begin, r, memory)
