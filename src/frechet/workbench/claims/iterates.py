"""The states of a solver, step by step, for claims about single methods."""

from typing import Any

import jax
from jaxtyping import PyTree

from frechet.core.problem import Problem
from frechet.core.solve import prepare
from frechet.core.solver import Solver, State


def states(problem: Problem, solver: Solver, x0: PyTree[Any], n: int, seed: int = 0) -> Any:
    """The states after each of ``n`` steps, stacked.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> from frechet.solvers.fixed_point.krasnoselskii_mann import KrasnoselskiiMann
        >>> halving = fr.FixedPoint(lambda x: 0.0 * x)
        >>> states(halving, KrasnoselskiiMann(), jnp.array(8.0), 3).x.tolist()
        [4.0, 2.0, 1.0]
    """
    problem, x0, solver = prepare(problem, x0, solver)

    def turn(state: State, key: Any) -> tuple[State, State]:
        state = solver.step(problem, state, key=key)
        return state, state

    @jax.jit
    def run(x0: PyTree[Any], key: Any) -> State:
        first, rest = jax.random.split(key)
        return jax.lax.scan(turn, solver.init(problem, x0, key=first), jax.random.split(rest, n))[1]

    return run(x0, jax.random.key(seed))
