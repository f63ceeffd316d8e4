"""The optimal value of a transport problem, differentiable by the envelope theorem."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, Scalar

from frechet.core import implicit
from frechet.core.solve import solve
from frechet.core.solver import Solver
from frechet.core.status import Status
from frechet.problems.transport import Potentials, Transport


class Optimum(eqx.Module):
    """An optimal value and how it was found; of these the value has derivatives."""

    value: Scalar
    x: Potentials
    status: Status
    residual: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]


def optimal_value(
    problem: Transport, x0: Potentials, solver: Solver | None, tol: Any, max_steps: Any
) -> Optimum:
    r"""The dual value at the optimum, of which it is a lower bound.

    The first derivatives are partial ones at constant potentials, as the value is stationary in these: one
    more pass over the cost, and no linear solve. Second derivatives see potentials move, through the
    implicit function theorem.

    Args:
        problem: what to solve.
        x0: where to start.
        solver: how; the problem's default where None.
        tol: residual to reach; the default of `solve` where None.
        max_steps: most steps to take.
    """
    tol = None if tol is None else jnp.asarray(tol)
    return _compiled(problem.lifted(x0), (problem.start(x0), solver, tol, max_steps))


def _optimum(problem: Transport, how: PyTree[Any]) -> Optimum:
    x0, solver, tol, max_steps = how
    s = solve(problem, x0, solver, tol=tol, max_steps=max_steps)
    return Optimum(_dual_value(problem, s.x), s.x, s.status, s.residual, s.steps)


def _dual_value(problem: Transport, x: Potentials) -> Scalar:
    if problem.regulariser is not None:
        return -Transport.value(problem, x)
    # The Lagrangian, whose partial derivatives are the plan and the potentials.
    P = problem.plan(x)
    return problem.objective(x) + x.f @ (problem.a - jnp.sum(P, 1)) + x.g @ (problem.b - jnp.sum(P, 0))


_enveloped = eqx.filter_custom_jvp(_optimum)


@_enveloped.def_jvp
def _rule(primals: tuple, tangents: tuple) -> tuple[Optimum, Optimum]:
    (problem, how), (moved, _) = primals, tangents
    best = _optimum(problem, how)
    implicit.warn_unless(best.status.converged, jnp.asarray(True))
    dot = eqx.filter_jvp(lambda p: _dual_value(p, best.x), (problem,), (moved,))[1]
    still = jax.tree.map(lambda _: None, best)
    return best, eqx.tree_at(lambda o: o.value, still, dot, is_leaf=lambda v: v is None)


@eqx.filter_jit
def _compiled(problem: Transport, how: PyTree[Any]) -> Optimum:
    return _enveloped(problem, how)
