"""FISTA: accelerated proximal gradient with backtracking and adaptive restart."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.proximal.step_size import Backtracking, Decrease, constant_or_none
from frechet.solvers.trial_loop import trial_loop


class FISTAState(State):
    """``previous`` is $x_{k-1}$; ``t`` and ``step`` are $t_k$ and $s_k$, with ``t`` zero for no momentum."""

    previous: PyTree[Array]
    t: Scalar
    step: Scalar
    backtracking: Backtracking | None


class FISTA(Solver):
    r"""Accelerated proximal gradient for $f + g$.

    $$y_k = x_k + \frac{t_k - 1}{t_{k+1}}(x_k - x_{k-1}), \qquad
      x_{k+1} = \mathrm{prox}_{s_{k+1} g}(y_k - s_{k+1}\nabla f(y_k))$$

    with $s_{k+1} t_{k+1}(t_{k+1} - 1) = s_k t_k^2$, which keeps $O(1/k^2)$ for convex $f$ when steps grow as
    well as shrink. It takes a new $y_k$ for every step size tried, so a trial costs one gradient, two values
    and one prox. Momentum is dropped where it points uphill,
    $\langle y_k - x_{k+1}, x_{k+1} - x_k\rangle > 0$, which gives a linear rate on strongly convex problems
    without knowing their modulus. A constant step costs one gradient and one prox.

    Every differentiation mode works; step sizes and momentum weights count as constants.

    Args:
        step_size: a constant step size, at most $1/L$; None finds step sizes by backtracking and growth.

    Source:
        Beck, Teboulle 2009, A fast iterative shrinkage-thresholding algorithm for linear inverse
        problems; Scheinberg, Goldfarb, Bai 2014, Fast first-order methods for composite convex optimization
        with backtracking; O'Donoghue, Candès 2015, Adaptive restart for accelerated gradient schemes,
        arXiv 1204.3982.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - 3.0) ** 2), fr.convex.L1(1.0))
        >>> fr.solve(problem, jnp.zeros(2), FISTA(), tol=1e-5).x.round(3).tolist()
        [2.0, 2.0]
    """

    accepts: ClassVar[type] = Composite
    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> FISTAState:
        dtype = jnp.result_type(*jax.tree.leaves(x0))
        backtracking = Backtracking.start(dtype) if self.step_size is None else None
        return FISTAState(x0, Calls(), x0, jnp.zeros((), dtype), jnp.ones((), dtype), backtracking)

    def step(self, problem: Composite, state: FISTAState, *, key: PRNGKeyArray) -> FISTAState:
        start = (problem, state.x, state.previous, state.t, state.step)
        if state.backtracking is None:
            s = jnp.asarray(self.step_size, state.t.dtype)
            y, t = _ahead(s, *start[1:])
            x = problem.prox(tree.axpy(-s, problem.gradient(y), y), s)
            calls, backtracking = state.calls.add(gradient=1, prox=1), None
        else:
            s, (x, y, t, decrease), n = trial_loop(_trial, _accepted, state.backtracking.trial, *start)
            calls = state.calls.add(value=2 * n, gradient=n, prox=n)
            backtracking = state.backtracking.after(s, n, decrease)
        uphill = tree.vdot(tree.subtract(y, x), tree.subtract(x, state.x)) > 0
        return FISTAState(x, calls, state.x, jnp.where(uphill, 0, t), s, backtracking)


def _ahead(s: Scalar, x: PyTree[Array], previous: PyTree[Array], t: Scalar, step: Scalar) -> tuple:
    """The extrapolated point for a step of size ``s`` and its momentum weight."""
    t_next = 0.5 * (1 + jnp.sqrt(1 + 4 * t**2 * step / s))
    return tree.axpy(jnp.maximum(t - 1, 0) / t_next, tree.subtract(x, previous), x), t_next


def _trial(s: Scalar, problem: Composite, *start: Any) -> tuple:
    y, t = _ahead(s, *start)
    value, gradient = problem.value_and_gradient(y)
    x = problem.prox(tree.axpy(-s, gradient, y), s)
    return x, y, t, Decrease.between(y, value, gradient, x, problem.value(x))


def _accepted(s: Scalar, trial: tuple, *_: Any) -> Array:
    return trial[3].sufficient(s)
