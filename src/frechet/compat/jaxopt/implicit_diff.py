"""``jaxopt.implicit_diff``: derivatives of roots and fixed points, over `frechet.core.custom`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from frechet.compat.jaxopt.base import KKTSolution
from frechet.compat.jaxopt.linear_solve import solve_normal_cg
from frechet.core import custom, tree

Solve = Callable[[Callable, Any], Any]


def root_vjp(
    optimality_fun: Callable, sol: PyTree, args: tuple, cotangent: PyTree, solve: Solve = solve_normal_cg
) -> tuple:
    """A cotangent of the root ``sol`` as cotangents of ``args``.

    Args:
        optimality_fun: ``optimality_fun(sol, *args)``, zero at the root.
        sol: the root.
        args: what it depends on.
        cotangent: like ``sol``.
        solve: ``solve(matvec, b)``.

    Returns:
        One a member of ``args``.

    Example:
        >>> import jax.numpy as jnp
        >>> F = lambda x, a: x**2 - a
        >>> float(root_vjp(F, jnp.asarray(2.0), (jnp.asarray(4.0),), jnp.asarray(1.0))[0])
        0.25
    """
    _, back = jax.vjp(lambda x: optimality_fun(x, *args), sol)
    u = solve(lambda v: back(v)[0], jax.tree.map(lambda c: -c, cotangent))
    return jax.vjp(lambda *a: optimality_fun(sol, *a), *args)[1](u)


def root_jvp(
    optimality_fun: Callable, sol: PyTree, args: tuple, tangents: tuple, solve: Solve = solve_normal_cg
) -> PyTree:
    """The tangent of the root ``sol`` that tangents of ``args`` give; arguments as for `root_vjp`.

    Example:
        >>> import jax.numpy as jnp
        >>> F = lambda x, a: x**2 - a
        >>> float(root_jvp(F, jnp.asarray(2.0), (jnp.asarray(4.0),), (jnp.asarray(1.0),)))
        0.25
    """
    if len(args) != len(tangents):
        raise ValueError(f"args and tangents must be as many, got {len(args)} and {len(tangents)}")
    _, push = jax.linearize(lambda x: optimality_fun(x, *args), sol)
    moved = jax.jvp(lambda *a: optimality_fun(sol, *a), args, tangents)[1]
    return solve(push, jax.tree.map(lambda v: -v, moved))


def custom_root(
    optimality_fun: Callable,
    has_aux: bool = False,
    solve: Solve | None = None,
    reference_signature: Callable | inspect.Signature | None = None,
) -> Callable[[Callable], Callable]:
    """A decorator that gives a root finder implicit derivatives, forward and reverse.

    Args:
        optimality_fun: ``optimality_fun(sol, *args)``, zero at the root.
        has_aux: whether the solver returns the root with auxiliary data.
        solve: ``solve(matvec, b)`` for the derivatives; by default `frechet`'s own choice.
        reference_signature: a function, or its signature, which says what order keyword arguments have;
            ``optimality_fun`` itself if left out.

    Returns:
        The decorator of ``solver(init_params, *args, **kwargs)``.

    Example:
        >>> import jax.numpy as jnp
        >>> root = custom_root(lambda x, a: x**2 - a)(lambda init, a: jnp.sqrt(a))
        >>> float(jax.grad(root, argnums=1)(None, 4.0))
        0.25
    """
    reference = optimality_fun if reference_signature is None else reference_signature
    signature = reference if isinstance(reference, inspect.Signature) else inspect.signature(reference)

    def optimality(sol: PyTree, args: tuple, kwargs: dict) -> PyTree:
        bound = signature.bind(sol, *args, **kwargs)
        return optimality_fun(*bound.args, **bound.kwargs)

    def decorator(solver: Callable) -> Callable:
        @custom.custom_root(optimality, has_aux=has_aux, solve=solve)
        def packed(init_params: PyTree, args: tuple, kwargs: dict) -> Any:
            return solver(init_params, *args, **kwargs)

        @functools.wraps(solver)
        def decorated(init_params: PyTree, *args: Any, **kwargs: Any) -> Any:
            return packed(init_params, args, kwargs)

        return decorated

    return decorator


def custom_fixed_point(
    fixed_point_fun: Callable,
    has_aux: bool = False,
    solve: Solve | None = None,
    reference_signature: Callable | inspect.Signature | None = None,
) -> Callable[[Callable], Callable]:
    """As `custom_root`, for ``fixed_point_fun(sol, *args) == sol``."""

    @functools.wraps(fixed_point_fun)
    def difference(sol: PyTree, *args: Any, **kwargs: Any) -> PyTree:
        return tree.subtract(fixed_point_fun(sol, *args, **kwargs), sol)

    return custom_root(difference, has_aux, solve, reference_signature or fixed_point_fun)


def make_kkt_optimality_fun(
    obj_fun: Callable, eq_fun: Callable | None, ineq_fun: Callable | None = None
) -> Callable[..., KKTSolution]:
    r"""The conditions of Karush, Kuhn and Tucker as a map whose root is a `KKTSolution`.

    Stationarity, the equations $h = 0$ and complementary slackness $\lambda c = 0$; that $c \le 0$ and
    $\lambda \ge 0$ it does not say.

    Args:
        obj_fun: ``obj_fun(primal, params_obj)``.
        eq_fun: ``eq_fun(primal, params_eq)``, zero where feasible.
        ineq_fun: ``ineq_fun(primal, params_ineq)``, at most zero where feasible.

    Returns:
        ``optimality_fun(kkt, params_obj, params_eq, params_ineq)``.
    """

    def optimality_fun(params: Any, params_obj: Any, params_eq: Any, params_ineq: Any) -> KKTSolution:
        primal, dual_eq, dual_ineq = params
        stationarity = jax.grad(obj_fun)(primal, params_obj)
        equations = slackness = None
        if dual_eq is not None and eq_fun is not None:
            equations, back = jax.vjp(lambda x, fun=eq_fun: fun(x, params_eq), primal)
            stationarity = tree.axpy(1, back(dual_eq)[0], stationarity)
        if dual_ineq is not None and ineq_fun is not None:
            inequalities, back = jax.vjp(lambda x, fun=ineq_fun: fun(x, params_ineq), primal)
            stationarity = tree.axpy(1, back(dual_ineq)[0], stationarity)
            slackness = jax.tree.map(lambda c, m: c * m, inequalities, dual_ineq)
        return KKTSolution(stationarity, equations, slackness)

    return optimality_fun
