"""Implicit derivatives for a solver of one's own: decorators."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Bool, PyTree

from frechet.core import implicit, loop, tree
from frechet.core.problem import Problem

Products = Callable[[PyTree[Array]], PyTree[Array]]
Solve = Callable[[Products, PyTree[Array]], PyTree[Array]]


def custom_root(
    optimality: Callable,
    has_aux: bool = False,
    solve: Solve | lx.AbstractLinearSolver | None = None,
    *,
    tol: float | None = None,
) -> Callable[[Callable], Callable]:
    r"""Gives a solver of $F(x, \theta) = 0$ the derivative of its solution, by the implicit function theorem.

    The decorated ``solver(init, *args, **kwargs)`` returns $x$ with ``optimality(x, *args, **kwargs)`` zero.
    Whatever it does inside (loops, host callbacks, another library) is never differentiated:

    $$\partial_x F\,\dot x = -\partial_\theta F\,\dot\theta.$$

    Forward and reverse mode, higher derivatives, ``jit`` and ``vmap`` work, as far as the solver itself can
    be compiled and batched; without ``jit`` it sees concrete values. Derivatives are with respect to every
    inexact array among the arguments after ``init``, whose own is zero. Arrays that ``optimality`` captures
    are constants: pass what is to be differentiated.

    Whether the solver converged cannot be known. A derivative issues a `DerivativeWarning` where
    $\|F(x)\| > \mathrm{tol}\,\|\partial_x F\,(1 + |x|)\|$, which is to say that ``x`` is off by about more
    than ``tol``, relatively.

    Args:
        optimality: $F$, from ``(x, *args, **kwargs)`` to a pytree like ``x``. Keywords that its signature
            does not name go to the solver alone.
        has_aux: whether the solver returns ``(x, aux)``; ``aux`` has no derivative.
        solve: how to solve the linear system: a Lineax solver, or a function ``solve(products, right)`` of
            the linear map and the right-hand side; by default as `frechet.solve` does.
        tol: how far from a root a derivative is taken without a warning; left out, the fourth root of the
            dtype's epsilon (1e-4 in float64); infinity trusts the solver.

    Returns:
        A decorator.

    Raises:
        TypeError: ``optimality`` or the solver is not callable, ``x`` has integer leaves, or ``optimality``
            returns something of another form than ``x``.

    Source:
        Blondel et al. 2022, Efficient and modular implicit differentiation, arXiv 2105.15183.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> @fr.custom_root(lambda x, a: x**2 - a)
        ... def square_root(init, a):
        ...     return jax.lax.fori_loop(0, 30, lambda _, x: 0.5 * (x + a / x), init)
        >>> float(jax.grad(square_root, argnums=1)(1.0, 4.0))
        0.25
        >>> float(jax.grad(jax.grad(square_root, argnums=1), argnums=1)(1.0, 4.0))
        -0.03125
    """
    if not callable(optimality):
        raise TypeError(
            f"custom_root takes the function that is zero at the solution, got a {type(optimality).__name__}"
        )
    named = inspect.signature(optimality).parameters
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in named.values())

    def decorate(solver: Callable) -> Callable:
        if not callable(solver):
            raise TypeError(
                f"the solver must be callable as solver(init, *args), got a {type(solver).__name__}"
            )

        @functools.wraps(solver)
        def solved(*args: Any, **kwargs: Any) -> Any:
            init, args, kwargs = _arguments(solver, args, kwargs)
            shared = {k: v for k, v in kwargs.items() if any_keyword or k in named}
            alone = {k: v for k, v in kwargs.items() if k not in shared}
            equation = _Equation(optimality, _as_arrays((args, shared)))
            x, aux = _solution(_How(solver, has_aux, solve, tol), equation, _as_arrays((init, alone)))
            return (x, aux) if has_aux else x

        return solved

    return decorate


def custom_fixed_point(
    fixed_point: Callable,
    has_aux: bool = False,
    solve: Solve | lx.AbstractLinearSolver | None = None,
    *,
    tol: float | None = None,
) -> Callable[[Callable], Callable]:
    r"""Gives a solver of $T(x, \theta) = x$ the derivative of its solution: `custom_root` of $x - T(x)$.

    Args:
        fixed_point: the map $T$, from ``(x, *args, **kwargs)`` to a pytree like ``x``.
        has_aux: as in `custom_root`.
        solve: as in `custom_root`.
        tol: as in `custom_root`.

    Returns:
        A decorator.

    Raises:
        TypeError: as `custom_root`.

    Source:
        Blondel et al. 2022, Efficient and modular implicit differentiation, arXiv 2105.15183.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> @fr.custom_fixed_point(lambda x, a: jnp.cos(a * x))
        ... def solve(init, a):
        ...     return jax.lax.fori_loop(0, 100, lambda _, x: jnp.cos(a * x), init)
        >>> round(float(jax.grad(solve, argnums=1)(0.5, 1.0)), 4)
        -0.2975
    """
    if not callable(fixed_point):
        raise TypeError(
            "custom_fixed_point takes the map whose fixed point is sought, got a "
            f"{type(fixed_point).__name__}"
        )

    @functools.wraps(fixed_point)  # its signature says which keywords it takes
    def optimality(x: PyTree[Array], *args: Any, **kwargs: Any) -> PyTree[Array]:
        return tree.subtract(x, fixed_point(x, *args, **kwargs))

    return custom_root(optimality, has_aux, solve, tol=tol)


class _Equation(Problem):
    """An optimality map with the arguments that it shares with the solver."""

    F: Callable = eqx.field(static=True)
    shared: tuple

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        args, kwargs = self.shared
        return self.F(x, *args, **kwargs)


class _How(eqx.Module):
    """The user's solver and what the decorator was told."""

    solver: Callable = eqx.field(static=True)
    has_aux: bool = eqx.field(static=True)
    linear: Any = eqx.field(static=True)
    tol: float | None = eqx.field(static=True)


@eqx.filter_custom_jvp
def _solution(how: _How, equation: _Equation, rest: tuple) -> tuple:
    init, alone = rest
    args, kwargs = equation.shared
    out = how.solver(init, *args, **kwargs, **alone)
    if not how.has_aux:
        return jax.tree_util.tree_map_with_path(_inexact, out), None
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(f"with has_aux=True the solver returns (x, aux), got a {type(out).__name__}")
    return jax.tree_util.tree_map_with_path(_inexact, out[0]), out[1]


@_solution.def_jvp
def _solution_jvp(primals: tuple, tangents: tuple) -> tuple:
    how, equation, _ = primals
    x, aux = _solution(*primals)
    none = lambda v: v is None  # noqa: E731
    leaves, treedef = jax.tree.flatten(equation, is_leaf=none)
    dots = jax.tree.leaves(tangents[1], is_leaf=none)
    without = jax.tree.map(lambda _: None, (x, aux))
    if all(d is None for d in dots):
        return (x, aux), without

    def of(theta: list[Array]) -> _Equation:
        moved = iter(theta)
        return jax.tree.unflatten(
            treedef, [v if d is None else next(moved) for v, d in zip(leaves, dots, strict=True)]
        )

    theta = [v for v, d in zip(leaves, dots, strict=True) if d is not None]
    moved = [d for d in dots if d is not None]
    near = _near_a_root(equation, x, how.tol)
    if how.linear is None or isinstance(how.linear, lx.AbstractLinearSolver):
        return (x, aux), (implicit.tangent(of, theta, moved, x, near, how.linear), without[1])
    implicit.warn_unless(near, jnp.asarray(True))
    change = jax.jvp(lambda theta: of(theta).optimality(x), (theta,), (moved,))[1]
    products = jax.linearize(equation.optimality, x)[1]
    right = jax.tree.map(jnp.negative, change)
    x_dot = jax.lax.custom_linear_solve(products, right, how.linear, transpose_solve=how.linear)
    return (x, aux), (x_dot, without[1])


def _near_a_root(equation: _Equation, x: PyTree[Array], tol: float | None) -> Bool[Array, ""]:
    still = lambda v: jax.lax.stop_gradient(v) if eqx.is_inexact_array(v) else v  # noqa: E731
    equation, x = jax.tree.map(still, (equation, x))
    reach = max(float(jnp.finfo(v.dtype).eps) for v in jax.tree.leaves(x)) ** 0.25
    size = jax.tree.map(lambda v: (1 + jnp.abs(v)).astype(v.dtype), x)
    change = jax.jvp(equation.optimality, (x,), (size,))[1]
    return loop.residual(equation, x) <= (reach if tol is None else tol) * tree.norm(change)


def _arguments(solver: Callable, args: tuple, kwargs: dict) -> tuple[Any, tuple, dict]:
    """The init, which may come by name, and the rest."""
    if args:
        return args[0], args[1:], kwargs
    first = next(iter(inspect.signature(solver).parameters), None)
    if first not in kwargs:
        raise TypeError(f"{getattr(solver, '__name__', 'the solver')} takes the start as its first argument")
    return kwargs[first], (), {k: v for k, v in kwargs.items() if k != first}


def _as_arrays(parts: Any) -> Any:
    # Numbers and NumPy arrays have derivatives too, and what is traced does not depend on them.
    return jax.tree.map(
        lambda v: jnp.asarray(v) if isinstance(v, float | complex | np.ndarray | np.generic) else v, parts
    )


def _inexact(path: Any, v: Any) -> Array:
    v = jnp.asarray(v)
    if not jnp.issubdtype(v.dtype, jnp.inexact):
        raise TypeError(
            f"the solver returned x{jax.tree_util.keystr(path)} of dtype {v.dtype}; return floats"
        )
    return v
