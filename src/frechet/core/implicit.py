r"""The implicit function theorem over a problem's optimality map.

At a solution $F(x, \theta) = 0$, so $\partial_x F\, \dot x = -\partial_\theta F\, \dot\theta$.
The tangent is one linear solve, linear in $\dot\theta$ and hence transposable: forward, reverse and higher
derivatives follow.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, PyTree

from frechet.core.problem import Problem

DENSE_UP_TO = 1024


class DerivativeWarning(UserWarning):
    """A derivative was taken where the implicit function theorem does not promise one."""


def tangent(
    problem_of: Callable[[list[Array]], Problem],
    theta: list[Array],
    theta_dot: list[Array],
    x: PyTree[Array],
    converged: Bool[Array, ""],
    solver: lx.AbstractLinearSolver | None,
) -> PyTree[Array]:
    r"""Directional derivative of a solution.

    The Jacobian is that of automatic differentiation: where the optimality map has a kink (a coordinate
    of a lasso exactly at the threshold, say) it is one element of the generalised Jacobian, the one the
    prox's own derivative rule picks.

    Up to `DENSE_UP_TO` unknowns the Jacobian is formed and factorised. Beyond, products alone are used:
    conjugate gradients where the problem is smooth (its Jacobian is a Hessian), GMRES elsewhere.

    Args:
        problem_of: makes the problem from its differentiable leaves.
        theta: those leaves that are perturbed.
        theta_dot: their tangents.
        x: the solution.
        converged: whether it is one; if not, a `DerivativeWarning` is issued at run time.
        solver: a Lineax solver to use instead of the default.

    Returns:
        The tangent of ``x``.
    """
    flat, unravel = ravel_pytree(x)

    def F(leaves: list[Array], z: Array) -> Array:
        return ravel_pytree(problem_of(leaves).optimality(unravel(z)))[0]

    problem = problem_of(theta)
    rhs = -jax.jvp(lambda leaves: F(leaves, flat), (theta,), (theta_dot,))[1]
    at_solution = lambda z: F(theta, z)  # noqa: E731
    regular = jnp.asarray(True)
    state = None
    if solver is None and not problem.isolated:
        solver = lx.SVD()
    if flat.size <= DENSE_UP_TO and not isinstance(solver, _MATRIX_FREE):
        operator = lx.MatrixLinearOperator(_jacobian(at_solution, flat))
        if solver is None:
            solver = lx.LU()
            state = lx.LU().init(operator, {})
            regular = _regular(operator.matrix)
    else:
        products = jax.linearize(at_solution, flat)[1]
        symmetric = "smooth" in problem.offers()
        tags = (lx.symmetric_tag, lx.positive_semidefinite_tag) if symmetric else ()
        operator = lx.FunctionLinearOperator(products, jax.eval_shape(lambda: flat), tags)
        if solver is None:
            tol = float(jnp.finfo(flat.dtype).eps) ** 0.75
            cg = lx.CG(rtol=tol, atol=tol, max_steps=10 * flat.size)
            solver = cg if symmetric else lx.GMRES(rtol=tol, atol=tol, restart=64, max_steps=10 * flat.size)
    _warn_unless(converged, regular)
    kwargs: dict[str, Any] = {} if state is None else {"state": state}
    return unravel(lx.linear_solve(operator, rhs, solver, throw=False, **kwargs).value)


_MATRIX_FREE = (lx.CG, lx.GMRES, lx.BiCGStab, lx.Normal, lx.LSMR)


def _jacobian(F: Callable[[Array], Array], x: Array) -> Array:
    return jax.jacfwd(F)(x)


def _regular(matrix: Array) -> Bool[Array, ""]:
    """Whether a row-equilibrated LU has no pivot at rounding level."""
    scale = jnp.max(jnp.abs(matrix), axis=1, keepdims=True)
    lu = jax.scipy.linalg.lu_factor(matrix / jnp.where(scale > 0, scale, 1))[0]
    pivots = jnp.abs(jnp.diagonal(lu))
    eps = jnp.finfo(matrix.dtype).eps
    return jnp.min(pivots) > matrix.shape[0] * eps * jnp.max(pivots)


def _warn_unless(converged: Bool[Array, ""], regular: Bool[Array, ""]) -> None:
    def warn(converged: Any, regular: Any) -> None:
        if not np.all(converged):
            warnings.warn(
                "derivative of a solve that did not converge: its error is of the order of the solution's; "
                "check solution.status",
                DerivativeWarning,
                stacklevel=2,
            )
        elif not np.all(regular):
            warnings.warn(
                "derivative at a solution where the optimality map's Jacobian is singular: the solution is "
                "not isolated or has a kink; declare isolated = False for the minimum-norm derivative",
                DerivativeWarning,
                stacklevel=2,
            )

    # The branch keeps the host out of every solve that has nothing to say.
    jax.lax.cond(
        converged & regular, lambda *_: None, lambda *a: jax.debug.callback(warn, *a), converged, regular
    )
