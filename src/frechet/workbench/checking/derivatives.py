"""Checks of the derivative of the solution, against finite differences of the known one."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from frechet.core.solve import default_tol, join, solve, split
from frechet.core.solver import Solver
from frechet.workbench.checking.canonical import Case, Parameters, cast
from frechet.workbench.checking.common import key, raveled


@functools.partial(jax.jit, static_argnums=(0, 1))
def _both_ways(
    make: Callable, static: Any, dynamic: list, parameters: Any, x0: Any, dot: Any, weights: Any
) -> tuple:
    """Inside jit: the tangent of the solution along ``dot``, and the gradient of its sum with ``weights``."""
    (solver,) = join(static, dynamic)

    def solution(parameters: Any) -> Any:
        return solve(make(parameters), x0, solver, tol=default_tol(x0), key=key()).x

    _, push = jax.linearize(solution, parameters)
    return push(dot), jax.linear_transpose(push, parameters)(weights)[0]


def _derivatives(solver: Solver, case: Case) -> tuple[Parameters, Any, Any, Any]:
    rng = np.random.default_rng(7)
    dot = {k: rng.normal(size=np.shape(v)) for k, v in case.parameters.items()}
    weights = jax.tree.map(lambda v: rng.normal(size=np.shape(v)), case.x0)
    dynamic, static = split((solver,))
    arrays = (cast(case.parameters), case.start(), cast(dot), cast(weights))
    tangent, gradient = _both_ways(case.make, static, dynamic, *arrays)
    return dot, weights, tangent, gradient


def check_derivative(solver: Solver, case: Case) -> None:
    """The implicit derivative along all parameters is that of the known solution, by finite differences."""
    dot, _, tangent, _ = _derivatives(solver, case)
    h = 1e-5

    def shifted(sign: int) -> np.ndarray:
        return raveled(case.solution(**{k: v + sign * h * dot[k] for k, v in case.parameters.items()}))

    expected = (shifted(1) - shifted(-1)) / (2 * h)
    error = float(np.linalg.norm(raveled(tangent) - expected) / (1 + np.linalg.norm(expected)))
    # differences err by h^2 and eps / h, the solve by its tolerance times the conditioning
    assert error <= 1e-5, (
        f"the derivative of the solution of {case.name} is off by {error:.1e} (relative); 1e-5 is right at "
        "the default tolerance. It is taken at the solver's x: is that a solution?"
    )


def check_jvp_equals_vjp(solver: Solver, case: Case) -> None:
    """Forward and reverse mode inside jit are transposes of each other."""
    dot, weights, tangent, gradient = _derivatives(solver, case)
    forward, reverse = raveled(weights) @ raveled(tangent), raveled(dot) @ raveled(gradient)
    assert abs(forward - reverse) <= 1e-9 * (1 + abs(forward)), (
        f"forward mode gives {forward:.12g}, reverse mode {reverse:.12g}; they are the same number"
    )
