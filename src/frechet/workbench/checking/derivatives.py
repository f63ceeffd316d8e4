"""Checks of the derivative of the solution, against finite differences of the known one."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solve import default_tol, join, solve, split
from frechet.core.solver import Solver, State
from frechet.workbench.checking.canonical import Case, Parameters, cast
from frechet.workbench.checking.common import key, raveled, solved


class Found(Solver):
    """Stays where it starts: how a solution was found does not enter its derivative."""

    def init(self, problem: Problem, x0: PyTree[Array], *, key: PRNGKeyArray) -> State:
        return State(x0, Calls())

    def step(self, problem: Problem, state: State, *, key: PRNGKeyArray) -> State:
        return state


def _both_ways(
    make: Callable, static: Any, dynamic: list, parameters: Any, x0: Any, dot: Any, weights: Any
) -> tuple:
    """The tangent of the solution along ``dot``, and the gradient of its sum with ``weights``."""
    (solver,) = join(static, dynamic)

    def solution(parameters: Any) -> Any:
        return solve(make(parameters), x0, solver, tol=default_tol(x0), key=key()).x

    _, push = jax.linearize(solution, parameters)
    return push(dot), jax.linear_transpose(push, parameters)(weights)[0]


# Of the solver's x alone, so that all solvers of a case share a program.
_at_solution = jax.jit(_both_ways, static_argnums=(0, 1))


def _directions(case: Case) -> tuple[Parameters, Any]:
    """Of all parameters, and weights of the entries of the solution."""
    rng = np.random.default_rng(7)
    dot = {k: rng.normal(size=np.shape(v)) for k, v in case.parameters.items()}
    return dot, jax.tree.map(lambda v: rng.normal(size=np.shape(v)), case.x0)


def _derivatives(solver: Solver, case: Case) -> tuple[Any, Any]:
    """What `_both_ways` returns, at the solver's x."""
    dynamic, static = split((Found(),))
    dot, weights = cast(_directions(case))
    x = solved(solver, case).x
    return _at_solution(case.make, static, dynamic, cast(case.parameters), x, dot, weights)


def check_derivative(solver: Solver, case: Case) -> None:
    """The implicit derivative along all parameters is that of the known solution, by finite differences."""
    dot, (tangent, _) = _directions(case)[0], _derivatives(solver, case)
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
    """Forward and reverse mode go through the solver inside jit and are transposes of each other."""
    dot, weights = _directions(case)
    dynamic, static = split((solver,))
    arrays = (cast(case.parameters), case.start(), cast(dot), cast(weights))
    jax.eval_shape(functools.partial(_both_ways, case.make, static), dynamic, *arrays)
    tangent, gradient = _derivatives(solver, case)
    forward, reverse = raveled(weights) @ raveled(tangent), raveled(dot) @ raveled(gradient)
    assert abs(forward - reverse) <= 1e-9 * (1 + abs(forward)), (
        f"forward mode gives {forward:.12g}, reverse mode {reverse:.12g}; they are the same number"
    )
