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
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Bool, PyTree

from frechet.core import tree
from frechet.core.problem import Problem

DENSE_UP_TO = 256

Product = Callable[[Array], Array]


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
    prox's own derivative rule picks. Where the problem knows of such a kink nearer than the solution is
    exact (see `Problem.near_kink`), a `DerivativeWarning` is issued at run time.

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
    problem = problem_of(theta)
    if not problem.testable:
        raise TypeError(
            f"{problem.kind} has no optimality map to differentiate its solution through; "
            'use differentiate="unroll" or "none"'
        )
    x_dot, regular = response(problem_of, theta, theta_dot, x, solver)
    warn_unless(converged, regular, ~_near_kink(problem, x))
    return x_dot


def response(
    problem_of: Callable[[list[Array]], Problem],
    theta: list[Array],
    theta_dot: list[Array],
    x: PyTree[Array],
    solver: lx.AbstractLinearSolver | None = None,
) -> tuple[PyTree[Array], Bool[Array, ""]]:
    r"""How ``x`` moves, were it a root: $-(\partial_x F)^{-1}\partial_\theta F\,\dot\theta$.

    Up to `DENSE_UP_TO` unknowns the Jacobian is formed and factorised. Beyond, products alone are used:
    conjugate gradients where the problem names its symmetric parts (see `Problem.symmetric_parts`), GMRES
    elsewhere.

    Args:
        problem_of: makes the problem from its differentiable leaves.
        theta: those leaves that are perturbed.
        theta_dot: their tangents.
        x: where the map is linearised.
        solver: a Lineax solver to use instead of the default.

    Returns:
        The tangent of ``x``, and false where the Jacobian was formed and is singular.
    """
    problem = problem_of(theta)
    flat, unravel = ravel_pytree(x)

    def F(leaves: list[Array], z: Array) -> Array:
        return ravel_pytree(problem_of(leaves).conditions(unravel(z)))[0]

    rhs = -jax.jvp(lambda leaves: F(leaves, flat), (theta,), (theta_dot,))[1]
    # Under vmap it is batched wherever the Jacobian is: Equinox cannot transpose a solve where it is not.
    rhs = jnp.where(jnp.isnan(flat), jnp.nan, rhs)
    at_solution = lambda z: F(theta, z)  # noqa: E731
    formed = jnp.asarray(True)
    parts = problem.symmetric_parts(x) if solver is None and flat.size > DENSE_UP_TO else None
    if solver is None and not problem.isolated and parts is None:
        solver = lx.SVD()
    if flat.size <= DENSE_UP_TO and not isinstance(solver, _MATRIX_FREE):
        operator = lx.MatrixLinearOperator(jax.jacfwd(at_solution)(flat))
        if solver is not None:
            return unravel(_solve(operator, rhs, solver)), formed
        return unravel(jnp.linalg.solve(operator.matrix, rhs)), _regular(operator.matrix)

    tol = float(jnp.finfo(flat.dtype).eps) ** 0.75
    if parts is not None:
        D, H = (lambda v, part=part: ravel_pytree(part(unravel(v)))[0] for part in parts)
        return unravel(_solve_symmetric(D, H, rhs, tol)), formed
    operator = _operator(jax.linearize(at_solution, flat)[1], flat)
    if solver is not None:
        return unravel(_solve(operator, rhs, solver)), formed
    gmres = lx.GMRES(rtol=tol, atol=tol, restart=64, max_steps=10 * flat.size)
    return unravel(_regular_solve(operator, rhs, gmres)), formed


def _solve_symmetric(D: Product, H: Product, rhs: Array, tol: float) -> Array:
    """Solves $(I - D(I - H))u = r$ with $D$, $H$ symmetric, $0 \\preceq D \\preceq I$.

    With $u = Dw + r$ it is enough that $(D - D^2 + DHD)w = D(I - H)r$, whose matrix is symmetric, and
    positive semidefinite where $H$ is: for a lasso it is the Hessian on the active set.
    """

    def S(v: Array) -> Array:
        Dv = D(v)
        return D(v - Dv + H(Dv))

    # Not Lineax's, which gives NaN where curvature is below 100 n eps: in float32 a small ridge is.
    solve = lambda _, r: cg(S, r, tol=tol, maxiter=10 * rhs.size)[0]  # noqa: E731
    return D(jax.lax.custom_linear_solve(S, D(rhs - H(rhs)), solve, symmetric=True)) + rhs


def _operator(products: Product, like: Array) -> lx.FunctionLinearOperator:
    return lx.FunctionLinearOperator(products, jax.ShapeDtypeStruct(like.shape, like.dtype))


def _solve(operator: lx.AbstractLinearOperator, rhs: Array, solver: lx.AbstractLinearSolver) -> Array:
    return lx.linear_solve(operator, rhs, solver, throw=False).value


def _regular_solve(operator: lx.AbstractLinearOperator, rhs: Array, solver: lx.AbstractLinearSolver) -> Array:
    # Transposed by Lineax, a solve that fails would raise.
    return jax.lax.custom_linear_solve(
        operator.mv,
        rhs,
        lambda _, r: _solve(operator, r, solver),
        transpose_solve=lambda _, r: _solve(operator.T, r, solver),
    )


_MATRIX_FREE = (lx.CG, lx.GMRES, lx.BiCGStab, lx.Normal, lx.LSMR)


def _regular(matrix: Array) -> Bool[Array, ""]:
    """Whether a row-equilibrated LU has no pivot at rounding level."""
    scale = jnp.max(jnp.abs(matrix), axis=1, keepdims=True)
    lu = jax.scipy.linalg.lu_factor(matrix / jnp.where(scale > 0, scale, 1))[0]
    pivots = jnp.abs(jnp.diagonal(lu))
    eps = jnp.finfo(matrix.dtype).eps
    return jnp.min(pivots) > matrix.shape[0] * eps * jnp.max(pivots)


def _near_kink(problem: Problem, x: PyTree[Array]) -> Bool[Array, ""]:
    """Whether the optimality map has a kink that the solution's error may reach."""
    constant = lambda v: jax.lax.stop_gradient(v) if isinstance(v, jax.Array | np.ndarray) else v  # noqa: E731
    problem, x = jax.tree.map(constant, (problem, x))
    eps = max(float(jnp.finfo(v.dtype).eps) for v in jax.tree.leaves(x))
    rounding = 64 * eps * (1 + tree.largest(x))
    return problem.near_kink(x, 2 * tree.norm(problem.optimality(x)) + rounding)


def warn_unless(
    converged: Bool[Array, ""], regular: Bool[Array, ""], smooth: Bool[Array, ""] | bool = True
) -> None:
    """Issues a `DerivativeWarning` at run time where one of them does not hold."""

    def warn(converged: Any, regular: Any, smooth: Any) -> None:
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
        elif not np.all(smooth):
            warnings.warn(
                "derivative at a kink of the optimality map, as far as the solution is exact (a "
                "constraint or bound weakly active, a coordinate at its threshold): it may hold on one "
                "side only; a smaller tol may decide",
                DerivativeWarning,
                stacklevel=2,
            )

    # The branch keeps the host out of every solve that has nothing to say.
    jax.lax.cond(
        converged & regular & smooth,
        lambda *_: None,
        lambda *a: jax.debug.callback(warn, *a),
        converged,
        regular,
        smooth,
    )
