"""EqualityConstrainedQP."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.compat.jaxopt import linear_solve
from frechet.compat.jaxopt.base import KKTSolution
from frechet.compat.jaxopt.quadratic import (
    Program,
    QuadraticSolver,
    extract_Qc_from_obj,  # noqa: F401  (a name of JAXopt's module)
    objective_parts,
    primal_form,
    with_constraints,
)
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.core import tree
from frechet.solvers.quadratic.direct import DirectKKT


@dataclasses.dataclass(eq=False)
class EqualityConstrainedQP(QuadraticSolver):
    r"""Minimises $\tfrac12 x^\top Q x + c^\top x$ subject to $Ax = b$.

    ``run(init_params, params_obj, params_eq)`` with ``params_obj = (Q, c)`` and ``params_eq = (A, b)``;
    solution and start are ``KKTSolution(x, dual_eq)``. Over `frechet.solvers.DirectKKT`: matrices given by
    their products are made, and factorised once. The state is the native `Status`.

    Args:
        matvec_Q: ``matvec_Q(params_Q, x)``; by default ``Q`` is a matrix, or a pytree of matrices like ``x``.
        matvec_A: ``matvec_A(params_A, x)``; by default ``A`` is a matrix, or a pytree of matrices like ``x``.
        fun: instead of ``Q`` and ``c`` the objective ``fun(x, params_obj)``, a convex quadratic polynomial.
        solve: unused: the system is factorised.
        refine_regularization: unused: a small one is always there and refined away.
        refine_maxiter: unused.
        maxiter: most steps of refinement.
        tol: for the norm of the residual, relative to ``c`` and ``b``.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit derivatives.
        jit: compile.
    """

    matvec_Q: Callable | None = None
    matvec_A: Callable | None = None
    fun: Callable | None = None
    solve: Callable = linear_solve.solve_gmres
    refine_regularization: float = 0.0
    refine_maxiter: int = 10
    maxiter: int = 1000
    tol: float = 1e-5
    implicit_diff_solve: Callable | None = None
    jit: bool = True

    def __post_init__(self):
        if self.fun is not None and self.matvec_Q is not None:
            raise ValueError("fun is incompatible with matvec_Q: each of them states the objective; give one")
        warn_of_unused(self, "solve", "refine_regularization", "refine_maxiter")

    def native(self) -> DirectKKT:
        return DirectKKT()

    def limits(self, program: Program) -> tuple[Scalar, Scalar, int]:
        size = tree.norm((program.native.q, program.native.equations()[1]))
        tol = self.tol * jnp.where(size > 0, size, 1)
        return tol, tol, self.maxiter

    def program(self, init_params: Any, params_obj: Any = None, params_eq: Any = None) -> Program:
        x = primal_form(self.fun, params_obj, _point(init_params))
        objective = objective_parts(self.fun, self.matvec_Q, params_obj, x)
        return with_constraints(objective, x, (self.matvec_A, params_eq), None)

    def example_calls(
        self, init_params: Any, params_obj: Any = None, params_eq: Any = None
    ) -> dict[str, tuple[tuple, dict]]:
        x = primal_form(self.fun, params_obj, _point(init_params))
        calls = {"matvec_A": ((params_eq[0], x), {})}
        if self.fun is not None:
            return calls | {"fun": ((x, params_obj), {})}
        return calls | {"matvec_Q": ((params_obj[0], x), {})}


def _point(init_params: KKTSolution | None) -> Any:
    return None if init_params is None else init_params.primal
