"""Newton's method with directions by truncated conjugate gradients."""

from typing import Any, ClassVar

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
from frechet.solvers.second_order.truncated_cg import truncated_cg
from frechet.solvers.trial_loop import trial_loop


class NewtonCGState(State):
    r"""``value`` is $f(x)$; ``slope`` is the previous step's $\|\nabla f\|$, zero before the first."""

    value: Scalar
    slope: Scalar


class NewtonCG(KnownValue):
    r"""Newton's method, matrix free, for smooth $f$; convex or not.

    The direction solves $\nabla^2 f(x_k) d = -\nabla f(x_k)$ by conjugate gradients up to a relative residual
    $\eta_k = \min\{\tfrac12, 0.9\,(\|\nabla f(x_k)\|/\|\nabla f(x_{k-1})\|)^2\}$, which makes convergence
    superlinear near a minimiser with a positive definite Hessian; negative curvature ends the inner
    iteration and is followed downhill. The step is the longest of $1, \tfrac12, \tfrac14, \dots$ that
    satisfies Armijo's condition up to rounding. A step costs one gradient, one Hessian-vector product an
    inner iteration and, for every step length tried, one value.

    Every differentiation mode works: the direction is differentiated as the exact solution of its linear
    system, the step length as a constant.

    Source:
        Nocedal, Wright 2006, Numerical Optimization, algorithm 7.1; Eisenstat, Walker 1996, Choosing the
        forcing terms in an inexact Newton method.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> fr.solve(fr.Composite(rosenbrock), jnp.array([-1.2, 1.0]), NewtonCG()).x.round(2).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"smooth"})
    check_every: ClassVar[int] = 1

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> NewtonCGState:
        value = problem.value(x0)
        return NewtonCGState(x0, Calls().add(value=1), value, jnp.zeros_like(tree.norm(x0)))

    def step(self, problem: Composite, state: NewtonCGState, *, key: PRNGKeyArray) -> NewtonCGState:
        gradient = problem.gradient(state.x)
        slope = jax.lax.stop_gradient(tree.norm(gradient))
        eta = jnp.minimum(0.5, 0.9 * (slope / state.slope) ** 2)
        d, products = _direction((problem, state.x, gradient), eta)
        _, (x, value), n = trial_loop(
            _trial, _armijo, jnp.ones_like(slope), problem, state.x, d, state.value, tree.vdot(gradient, d)
        )
        return NewtonCGState(x, state.calls.add(value=n, gradient=1, hvp=products), value, slope)


@eqx.filter_custom_jvp
def _direction(at: tuple, eta: Scalar) -> tuple:
    problem, x, gradient = at
    size = sum(v.size for v in jax.tree.leaves(x))
    return truncated_cg(hessian(problem, x), gradient, eta, max(2 * size, 20))


@_direction.def_jvp
def _direction_jvp(primals: tuple, tangents: tuple) -> tuple:
    at, _ = primals
    d, products = _direction(*primals)

    def system(at: tuple) -> PyTree[Array]:
        problem, x, gradient = at
        return tree.axpy(1.0, problem.hvp(x, d), gradient)

    right = jax.tree.map(jnp.negative, eqx.filter_jvp(system, (at,), (tangents[0],))[1])
    operator = lx.FunctionLinearOperator(
        hessian(*at[:2]), jax.eval_shape(lambda: d), lx.positive_semidefinite_tag
    )
    tol = float(max(jnp.finfo(v.dtype).eps for v in jax.tree.leaves(d))) ** 0.75
    dot = lx.linear_solve(operator, right, lx.CG(rtol=tol, atol=tol), throw=False).value
    return (d, products), (dot, None)


def _trial(length: Scalar, problem: Composite, x: PyTree, d: PyTree, *_: Any) -> tuple:
    ahead = tree.axpy(length, d, x)
    return ahead, problem.value(ahead)


def _armijo(
    length: Scalar, trial: tuple, problem: Composite, x: PyTree, d: PyTree, value: Scalar, slope: Scalar
) -> Bool[Array, ""]:
    ahead = trial[1]
    return (ahead <= value + 1e-4 * length * slope + rounding(value, ahead)) & jnp.isfinite(ahead)
