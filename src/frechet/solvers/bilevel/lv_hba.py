"""LV-HBA: descent on the proximal Lagrangian value function, for constraints that both levels enter."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint


class LVHBAState(State):
    r"""``theta`` and the multipliers of ``x`` solve the regularised lower problem, ``centre`` is $z$."""

    theta: PyTree[Array]
    centre: PyTree[Array]
    count: Int[Array, ""]


class LVHBA(Solver):
    r"""Single-loop, Hessian-free descent for a lower problem with constraints $h(x, y) = 0$, $c(x, y) \le 0$.

    The bilevel problem is $\min f$ over the $(x, y)$ that satisfy the constraints with $g - v \le 0$, where

    $$v(x, y, z) = \min_\theta \max_{\lambda \in Z}\; g(x, \theta) + \langle\lambda, (h, c)(x, \theta)\rangle
      + \frac{\|\theta - y\|^2}{2\gamma_1} - \frac{\|\lambda - z\|^2}{2\gamma_2}$$

    is smooth, with a gradient that needs $\theta$ and $\lambda$ only. A step is one of descent in $\theta$
    and ascent in $\lambda$, of length $\eta$; then, with $c_k = c_0 (k+1)^p$, one along the negative gradient
    of $f/c_k + g - v$: of length $\alpha$ in $(x, y)$, projected onto the pairs that satisfy the
    constraints, and $\beta$ in $z$. Multipliers lie in $Z$, within $[-r, r]$ for equations and $[0, r]$ for
    inequalities. Every iterate after the first is feasible. The lower solution need not be unique.

    Residuals of the penalised problem fall like $k^{-(1-2p)/2}$ and the gap $g - v$ like $k^{-p}$, and so
    slowly does the problem's own residual. A step costs three gradients of the lower level, one of the upper
    one, one value of the constraints and two proximal maps (three without constraints, when the two levels'
    sets are projected onto one by one).

    The defaults suit gradients of $g$ and of the constraints with Lipschitz and norm about one: scale them.
    Descent-ascent is stable for $\eta \lesssim m / (m^2 + \|\nabla(h, c)\|^2)$, $m = \min(1/\gamma_1,
    1/\gamma_2)$. The functions of $x$ and of $y$ must be sets where there are constraints.

    Args:
        step_size: $\alpha$.
        centre_step: $\beta$.
        inner_step: $\eta$.
        gamma: $\gamma_1$, below the inverse of the weak convexity of $g$ in $y$.
        dual_gamma: $\gamma_2$.
        penalty: $c_0$.
        growth: $p$, in $[0, 1/2)$; 0 keeps the penalty constant, at whose stationary points it then ends.
        multiplier_bound: $r$.

    Source:
        Yao, Yu, Zeng, Zhang 2024, Constrained bi-level optimization: proximal Lagrangian value function
        approach and Hessian-free algorithm, arXiv 2401.16164.

    Example:
        >>> import frechet as fr
        >>> pairs = fr.convex.Halfspace((-1.0, -1.0), -1.0)  # x + y >= 1
        >>> problem = fr.Bilevel(lambda x, y: 0.5 * (x - 0.2) ** 2 + 0.5 * y**2, lambda x, y: 0.5 * y**2,
        ...     ineq=lambda x, y: 1.0 - x - y, joint=pairs)
        >>> found = fr.solve(problem, (0.0, 1.0), LVHBA(), max_steps=2000).x
        >>> round(float(found.upper), 1), round(float(found.lower), 1), round(float(found.dual_ineq), 1)
        (0.6, 0.4, 0.4)
    """

    accepts: ClassVar[type] = Bilevel
    needs: ClassVar[frozenset[str]] = frozenset({"outer gradient", "inner gradient", "prox"})
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 100
    step_size: float = 0.05
    centre_step: float = 0.05
    inner_step: float = 0.2
    gamma: float = 2.0
    dual_gamma: float = 2.0
    penalty: float = 1.0
    growth: float = 0.45
    multiplier_bound: float = 1e3

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason is None and isinstance(problem, Bilevel) and problem.constrained and problem.joint is None:
            return "needs the joint projection onto the pairs that satisfy the constraints; pass joint=..."
        return reason

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> LVHBAState:
        centre = (x0.dual_eq, x0.dual_ineq)
        return LVHBAState(x0, Calls(), x0.lower, centre, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: LVHBAState, *, key: PRNGKeyArray) -> LVHBAState:
        x, y, *dual = state.x
        theta, centre = state.theta, state.centre
        eta, c = self.inner_step, self.penalty * (state.count + 1) ** self.growth

        slope = problem.constrained_gradients(x, theta, *dual)[1]
        rise = problem.constraints(x, theta) if problem.constrained else (None, None)
        pulled = jax.tree.map(lambda s, t, v: s + (t - v) / self.gamma, slope, theta, y)
        theta = problem.inner_prox(tree.axpy(-eta, pulled, theta), eta)
        pulled = jax.tree.map(lambda h, u, z: h - (u - z) / self.dual_gamma, rise, tuple(dual), centre)
        dual = self._bounded(tree.axpy(eta, pulled, tuple(dual)))

        (f_x, f_y), (g_x, g_y) = problem.outer_gradients(x, y), problem.inner_gradients(x, y)
        v_x = problem.constrained_gradients(x, theta, *dual)[0]
        down = jax.tree.map(lambda f, g, v: f / c + g - v, f_x, g_x, v_x)
        along = jax.tree.map(lambda f, g, v, t: f / c + g - (v - t) / self.gamma, f_y, g_y, y, theta)
        x, y = tree.axpy(-self.step_size, down, x), tree.axpy(-self.step_size, along, y)
        if problem.joint is None:
            x, y = problem.outer_prox(x, self.step_size / c), problem.inner_prox(y, self.step_size)
        else:
            x, y = problem.joint_prox(x, y)
        centre = self._bounded(
            tree.axpy(self.centre_step / self.dual_gamma, tree.subtract(dual, centre), centre)
        )

        calls = state.calls.add(
            outer_gradient=1,
            gradient=3,
            value=int(problem.constrained),
            prox=3 if problem.joint is None else 2,
        )
        return LVHBAState(BilevelPoint(x, y, *dual), calls, theta, centre, state.count + 1)

    def _bounded(self, dual: PyTree[Array]) -> PyTree[Array]:
        """The nearest multipliers in $Z$."""
        r = self.multiplier_bound
        eq, ineq = dual
        inside = lambda low: lambda v: jnp.clip(v, low, r).astype(v.dtype)  # noqa: E731
        return jax.tree.map(inside(-r), eq), jax.tree.map(inside(0), ineq)
