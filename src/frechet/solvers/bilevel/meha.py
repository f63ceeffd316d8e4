"""MEHA: descent on the Moreau envelope of the lower level, single-loop and Hessian-free."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint

ORDERS = ("gauss-seidel", "jacobi")


class MEHAState(State):
    r"""``theta`` follows the proximal point of the lower level at $y$."""

    theta: PyTree[Array]
    count: Int[Array, ""]


class MEHA(Solver):
    r"""Moreau envelope based, Hessian-free descent.

    The lower level is replaced by $g + q \le v$, where
    $v(x, y) = \min_\theta g(x, \theta) + q(\theta) + \|\theta - y\|^2 / (2\gamma)$. With
    $c_k = c_0 (k+1)^p$ a step is

    $$\begin{aligned}
      \theta &\leftarrow \mathrm{prox}_{\eta q}\bigl(\theta
          - \eta(\nabla_y g(x, \theta) + (\theta - y)/\gamma)\bigr) \\
      x &\leftarrow \mathrm{prox}_{\alpha p / c_k}\bigl(x
          - \alpha(\nabla_x f(x, y)/c_k + \nabla_x g(x, y) - \nabla_x g(x, \theta))\bigr) \\
      y &\leftarrow \mathrm{prox}_{\beta q}\bigl(y
          - \beta(\nabla_y f(x, y)/c_k + \nabla_y g(x, y) - (y - \theta)/\gamma)\bigr)
      \end{aligned}$$

    $g$ may be nonconvex in $y$; the residual of the penalised problem falls like $k^{-(1-2p)/2}$. A step
    costs three gradients of the lower level and one of the upper one, one more of each in Gauss-Seidel order,
    and three proximal maps. The default steps suit gradients with Lipschitz constants about one.

    Args:
        step_size: $\alpha$.
        lower_step_size: $\beta$.
        inner_step: $\eta$.
        gamma: $\gamma$, below the inverse of the weak convexity of $g$ in $y$.
        penalty: $c_0$.
        growth: $p$, in $[0, 1/2)$.
        order: ``"gauss-seidel"``, where $y$ moves at the new $x$ as in the paper, or ``"jacobi"``.

    Raises:
        ValueError: an unknown order.

    Source:
        Liu, Liu, Yao, Zeng, Zhang 2024, Moreau envelope for nonconvex bi-level optimization: a single-loop
        and Hessian-free solution strategy, arXiv 2405.09927.

    Example:
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> found = fr.solve(problem, (0.0, 0.0), MEHA(), max_steps=2000).x
        >>> round(float(found.upper), 2), round(float(found.lower), 2)
        (0.5, 1.0)
    """

    accepts: ClassVar[type] = Bilevel
    needs: ClassVar[frozenset[str]] = frozenset(
        {"outer gradient", "inner gradient", "prox", "no constraints"}
    )
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 100
    step_size: float = 0.05
    lower_step_size: float = 0.05
    inner_step: float = 0.2
    gamma: float = 2.0
    penalty: float = 1.0
    growth: float = 0.45
    order: Literal["gauss-seidel", "jacobi"] = eqx.field(default="gauss-seidel", static=True)

    def __check_init__(self):
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> MEHAState:
        return MEHAState(x0, Calls(), x0.lower, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: MEHAState, *, key: PRNGKeyArray) -> MEHAState:
        x, y, theta = state.x.upper, state.x.lower, state.theta
        c = self.penalty * (state.count + 1) ** self.growth

        slope = problem.inner_gradient(x, theta)
        pulled = jax.tree.map(lambda s, t, v: s + (t - v) / self.gamma, slope, theta, y)
        theta = problem.inner_prox(tree.axpy(-self.inner_step, pulled, theta), self.inner_step)

        (f_x, f_y), (g_x, g_y) = problem.outer_gradients(x, y), problem.inner_gradients(x, y)
        v_x = problem.inner_gradients(x, theta)[0]
        down = jax.tree.map(lambda f, g, v: f / c + g - v, f_x, g_x, v_x)
        x = problem.outer_prox(tree.axpy(-self.step_size, down, x), self.step_size / c)
        again = self.order == "gauss-seidel"
        if again:
            f_y, g_y = problem.outer_gradients(x, y)[1], problem.inner_gradient(x, y)
        along = jax.tree.map(lambda f, g, v, t: f / c + g - (v - t) / self.gamma, f_y, g_y, y, theta)
        y = problem.inner_prox(tree.axpy(-self.lower_step_size, along, y), self.lower_step_size)

        calls = state.calls.add(outer_gradient=1 + again, gradient=3 + again, prox=3)
        return MEHAState(BilevelPoint(x, y), calls, theta, state.count + 1)
