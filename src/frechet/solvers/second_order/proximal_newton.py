"""Proximal Newton: a quadratic model of the smooth part, minimised inexactly with the nonsmooth part."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.known_value import KnownValue
from frechet.solvers.rounding import rounding
from frechet.solvers.second_order.hessian import hessian
from frechet.solvers.second_order.model_descent import model_descent
from frechet.solvers.trial_loop import trial_loop


class ProximalNewtonState(State):
    """``value`` and ``penalty`` are $f(x)$ and $g(x)$; ``slope`` the last gradient mapping's norm, zero
    before the first; ``inner_step`` and ``shift`` the inner iteration's last step size and regularisation."""

    value: Scalar
    penalty: Scalar
    slope: Scalar
    inner_step: Scalar
    shift: Scalar


class ProximalNewton(KnownValue):
    r"""Inexact proximal Newton for $f + g$, matrix free.

    The direction minimises $\langle\nabla f(x_k), d\rangle + \tfrac12\langle d, \nabla^2 f(x_k) d\rangle
    + g(x_k + d)$ by FISTA: a product with the Hessian and a prox an inner iteration, nothing else. The inner
    gradient mapping shrinks by $\eta_k = \min\{\tfrac12, 0.9\,(r_k/r_{k-1})^2\}$, with $r_k$ the outer one's
    norm, so that convergence is superlinear where the Hessian is positive definite. Where negative curvature
    is met, a multiple of the identity is added, which later steps reduce tenfold; a direction that promises
    less than a tenth of what a proximal gradient step does is replaced by that step. So every step descends,
    convex $f$ or not. The step is the longest of
    $1, \tfrac12, \tfrac14, \dots$ with sufficient decrease up to rounding. A step costs one gradient, one
    product and one prox an inner iteration and, for every step length tried, one value.

    Every differentiation mode works: the direction is differentiated as the model's exact minimiser, the step
    length as a constant.

    Source:
        Lee, Sun, Saunders 2014, Proximal Newton-type methods for minimizing composite functions,
        arXiv 1206.1623; Kanzow, Lechner 2021, Globalized inexact proximal Newton-type methods for nonconvex
        composite functions (the safeguard).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = lambda x: 0.5 * jnp.sum(jnp.array([1.0, 4.0]) * (x - 3.0) ** 2)
        >>> problem = fr.Composite(f, fr.convex.L1(1.0))
        >>> fr.solve(problem, jnp.zeros(2), ProximalNewton()).x.round(2).tolist()
        [2.0, 2.75]
    """

    accepts: ClassVar[type] = Composite
    check_every: ClassVar[int] = 1

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> ProximalNewtonState:
        one = jnp.ones((), jnp.result_type(*jax.tree.leaves(x0)))
        value, penalty = problem.value(x0), problem.g(x0)
        return ProximalNewtonState(x0, Calls().add(value=1), value, penalty, 0 * one, one, 0 * one)

    def step(
        self, problem: Composite, state: ProximalNewtonState, *, key: PRNGKeyArray
    ) -> ProximalNewtonState:
        gradient = problem.gradient(state.x)
        d, promised, inner_step, shift, slope, k = _direction((problem, state.x, gradient), state)
        now = (state.value, state.penalty, promised)
        _, (x, value, penalty), n = trial_loop(
            _trial, _accepted, jnp.ones_like(state.slope), problem, state.x, d, now
        )
        calls = state.calls.add(value=n, gradient=1, hvp=k, prox=k)
        return ProximalNewtonState(x, calls, value, penalty, slope, inner_step, shift)


@eqx.filter_custom_jvp
def _direction(at: tuple, state: ProximalNewtonState) -> tuple:
    """The direction, what it promises, the inner step size and shift, the mapping's norm, products."""
    problem, x, gradient = at
    accuracy = lambda slope: jnp.minimum(0.5, 0.9 * (slope / state.slope) ** 2) * slope  # noqa: E731
    inner = model_descent(
        problem, x, gradient, hessian(problem, x), accuracy, state.inner_step, 0.1 * state.shift
    )

    def promise(d: PyTree[Array]) -> Scalar:
        # Without the model's curvature it bounds the decrease of shorter steps too.
        return tree.vdot(gradient, d) + problem.g(tree.axpy(1, d, x)) - state.penalty

    # An accelerated iteration need not descend at every step; a proximal gradient step does.
    promised, certain = promise(inner.d), promise(inner.first)
    better = promised <= 0.1 * certain + rounding(state.value, state.penalty)
    d = tree.where(better, inner.d, inner.first)
    # A shift far below the curvature that allowed the last step size is none.
    shift = jnp.where(inner.shift * inner.trial > 1e-6, inner.shift, 0)
    return d, jnp.where(better, promised, certain), inner.trial, shift, inner.slope, inner.products


@_direction.def_jvp
def _direction_jvp(primals: tuple, tangents: tuple) -> tuple:
    out = _direction(*primals)
    d, step, shift = out[0], out[2], out[3]

    def optimality(at: tuple, d: PyTree[Array]) -> PyTree[Array]:
        problem, x, gradient = at
        z, slope = tree.axpy(1, d, x), tree.axpy(1, problem.hvp(x, d), gradient)
        slope = tree.axpy(shift, d, slope)
        return tree.subtract(z, problem.prox(tree.axpy(-step, slope, z), step))

    dot = eqx.filter_jvp(lambda at: optimality(at, d), primals[:1], tangents[:1])[1]
    products = jax.linearize(lambda d: optimality(primals[0], d), d)[1]
    operator = lx.FunctionLinearOperator(products, jax.eval_shape(lambda: d))
    size = sum(v.size for v in jax.tree.leaves(d))
    tol = float(max(jnp.finfo(v.dtype).eps for v in jax.tree.leaves(d))) ** 0.75
    solver = lx.GMRES(rtol=tol, atol=tol, restart=min(size, 64))
    d_dot = lx.linear_solve(operator, jax.tree.map(jnp.negative, dot), solver, throw=False).value
    return out, (d_dot, None, None, None, None, None)


def _trial(length: Scalar, problem: Composite, x: PyTree, d: PyTree, _: tuple) -> tuple:
    ahead = tree.axpy(length, d, x)
    return ahead, problem.value(ahead), problem.g(ahead)


def _accepted(
    length: Scalar, trial: tuple, problem: Composite, x: PyTree, d: PyTree, now: tuple
) -> Bool[Array, ""]:
    value, penalty, promised = now
    before, after = value + penalty, trial[1] + trial[2]
    enough = after <= before + 1e-4 * length * promised + rounding(before, after)
    # A start outside the domain of g is left by any step into it.
    return (enough | ~jnp.isfinite(before)) & jnp.isfinite(after)
