"""FISTA: accelerated proximal gradient with backtracking and adaptive restart."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.proximal.forward_backward import forward_backward


class FISTAState(State):
    """``y`` is the extrapolated point, ``t`` the momentum weight, ``step`` the next step to try."""

    y: PyTree[Array]
    t: Scalar
    step: Scalar


class FISTA(Solver):
    r"""Accelerated proximal gradient for $f + g$.

    $$x_{k+1} = \mathrm{prox}_{s g}(y_k - s\nabla f(y_k)), \qquad
      y_{k+1} = x_{k+1} + \frac{t_k - 1}{t_{k+1}}(x_{k+1} - x_k)$$

    with $t_{k+1} = \tfrac12\bigl(1 + \sqrt{1 + 4 t_k^2\, s_k/s_{k+1}}\bigr)$, which keeps the $O(1/k^2)$ rate for
    convex $f$ when steps grow as well as shrink. Momentum is dropped where it points uphill,
    $\langle y_k - x_{k+1}, x_{k+1} - x_k\rangle > 0$, which gives a linear rate on strongly convex problems
    without knowing their modulus. A step costs one value and gradient at $y_k$ and, a trial, one value and one prox.

    Args:
        step_size: first step size to try; found by backtracking and measured curvature from there.

    Source:
        Beck, Teboulle 2009, A fast iterative shrinkage-thresholding algorithm for linear inverse
        problems; O'Donoghue, Candès 2015, Adaptive restart for accelerated gradient schemes, arXiv 1204.3982;
        Scheinberg, Goldfarb, Bai 2014, Fast first-order methods for composite convex optimization with backtracking.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - 3.0) ** 2), fr.convex.L1(1.0))
        >>> fr.solve(problem, jnp.zeros(2), FISTA(), tol=1e-5).x.round(3).tolist()
        [2.0, 2.0]
    """

    accepts: ClassVar[type] = Composite
    step_size: float | Scalar = 1.0

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> FISTAState:
        dtype = jnp.result_type(tree.norm(x0))
        return FISTAState(x0, Calls(), x0, jnp.ones((), dtype), jnp.asarray(self.step_size, dtype))

    def step(self, problem: Composite, state: FISTAState, *, key: PRNGKeyArray) -> FISTAState:
        value, gradient = problem.value_and_gradient(state.y)
        ahead = forward_backward(problem, state.y, value, gradient, state.step)
        moved = tree.subtract(ahead.x, state.x)
        restart = tree.vdot(tree.subtract(state.y, ahead.x), moved) > 0
        t = jnp.where(restart, 1.0, state.t)
        t_next = 0.5 * (1 + jnp.sqrt(1 + 4 * t**2 * ahead.step / ahead.next_step))
        y = tree.axpy(jnp.where(restart, 0.0, (t - 1) / t_next), moved, ahead.x)
        calls = state.calls.add(value=1 + ahead.trials, gradient=1, prox=ahead.trials)
        return FISTAState(ahead.x, calls, y, t_next, ahead.next_step)
