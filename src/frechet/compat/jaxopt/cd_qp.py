"""BoxCDQP."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from frechet.compat.jaxopt.base import AutoOrBoolean, CompiledUpdate, OptStep
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic.box_coordinate_descent import BoxCoordinateDescent


class BoxCDQPState(NamedTuple):
    """State of `BoxCDQP`.

    Attributes:
        iter_num: sweeps so far.
        error: sum of the moduli of the last sweep's changes.
    """

    iter_num: Any
    error: Any


@dataclasses.dataclass(eq=False)
class BoxCDQP(CompiledUpdate):
    r"""Minimises $\tfrac12 x^\top Q x + c^\top x$ over $l \le x \le u$ by coordinate descent.

    ``run(init_params, params_obj, params_ineq)`` with ``params_obj = (Q, c)`` and ``params_ineq = (l, u)``.
    Over `frechet.solvers.BoxCoordinateDescent`; an update is a sweep.

    Args:
        maxiter: most sweeps.
        tol: for the sum of the moduli of a sweep's changes.
        verbose: print each sweep.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit ones.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    maxiter: int = 500
    tol: float = 1e-4
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    def init_state(self, init_params: Any, params_obj: Any = None, params_ineq: Any = None) -> BoxCDQPState:
        return BoxCDQPState(jnp.asarray(0), jnp.asarray(jnp.inf, jnp.result_type(float, init_params)))

    def advance(
        self, params: Float[Array, " n"], state: BoxCDQPState, params_obj: Any, params_ineq: Any
    ) -> OptStep:
        problem, solver, key = (
            _problem(params, params_obj, params_ineq),
            BoxCoordinateDescent(),
            jax.random.key(0),
        )
        begun = solver.init(problem, KKTPoint(params), key=key)
        ahead = solver.step(problem, begun, key=key)
        return OptStep(ahead.x.primal, BoxCDQPState(state.iter_num + 1, jnp.sum(jnp.abs(ahead.moved))))

    def optimality_fun(self, params: Float[Array, " n"], params_obj: Any, params_ineq: Any) -> Array:
        return _problem(params, params_obj, params_ineq).optimality(KKTPoint(params)).primal


def _problem(like: Array, params_obj: Any, params_ineq: Any) -> QuadraticProgram:
    P, q, lower, upper = (jnp.asarray(v, like.dtype) for v in (*params_obj, *params_ineq))
    return QuadraticProgram(P, q, lower=lower, upper=upper)
