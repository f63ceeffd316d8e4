"""CvxpyQP."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from frechet.compat.jaxopt.quadratic import (
    Program,
    QuadraticSolver,
    objective_parts,
    primal_form,
    with_constraints,
)
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint


@dataclasses.dataclass(eq=False)
class CvxpyQP(QuadraticSolver):
    r"""Minimises $\tfrac12 x^\top Q x + c^\top x$ subject to $Ax = b$, $Gx \le h$, accurately.

    ``run(init_params, params_obj, params_eq, params_ineq)`` with ``params_obj = (Q, c)``,
    ``params_eq = (A, b)`` or None and ``params_ineq = (G, h)`` or None, all of them arrays. Over
    `frechet.solvers.QuadraticInteriorPoint`, so that CVXPY need not be there, and ``jit`` and ``vmap`` work.
    The state is the native `Status`.

    Args:
        solver: unused.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit derivatives.
    """

    solver: str = "OSQP"
    implicit_diff_solve: Callable | None = None

    def __post_init__(self):
        warn_of_unused(self, "solver")

    def native(self) -> QuadraticInteriorPoint:
        return QuadraticInteriorPoint()

    def limits(self, program: Program) -> tuple[float, float, int]:
        return 0.0, float(jnp.finfo(program.native.q.dtype).eps ** 0.5), 50

    def program(
        self, init_params: Any, params_obj: Any = None, params_eq: Any = None, params_ineq: Any = None
    ) -> Program:
        if params_obj is None:
            raise ValueError("params_obj should be a tuple (Q, c)")
        x = primal_form(None, params_obj, None)
        _require_fit(jnp.shape(x)[0], params_obj[0], params_eq, params_ineq)
        return with_constraints(
            objective_parts(None, None, params_obj, x),
            x,
            None if params_eq is None else (None, params_eq),
            None if params_ineq is None else (None, params_ineq),
        )


def _require_fit(n: int, Q: Any, params_eq: Any, params_ineq: Any) -> None:
    if jnp.shape(Q) != (n, n):
        raise ValueError(f"Q must have shape ({n}, {n}) as c has {n} entries, got {jnp.shape(Q)}")
    for names, given in (("Ab", params_eq), ("Gh", params_ineq)):
        if given is None:
            continue
        matrix, right = map(jnp.shape, given)
        if matrix != (*right, n):
            raise ValueError(
                f"{names[0]} must have shape {(*right, n)} to fit {names[1]} and c, got {matrix}"
            )
