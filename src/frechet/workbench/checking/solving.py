"""Checks that it solves problems, in both precisions, and ends as `solve` promises."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.core.solve import default_tol, solve
from frechet.core.solver import Solver
from frechet.core.status import Ending
from frechet.workbench.checking.canonical import Case
from frechet.workbench.checking.common import (
    different_bits,
    distance,
    finite,
    key,
    objective_at,
    residual_at,
    solved,
)


def _check_solves(solver: Solver, case: Case) -> None:
    solution = solved(solver, case)
    tol = default_tol(case.start())
    eps = tol**2
    assert solution.status.converged, (
        f"on {case.name} it ended after {int(solution.steps)} steps with residual "
        f"{float(solution.residual):.1e} and tolerance {tol:.1e}: {solution.status}. "
        "A solver that does not reach a solution by default declares converges = False"
    )
    residual = float(residual_at(case.problem(), solution.x))
    assert residual <= 1.01 * tol + 100 * eps, (
        f"on {case.name} the residual at x is {residual:.1e}, not the {float(solution.residual):.1e} reported"
    )
    away = distance(solution.x, case.solution())
    allowed = case.bound * (tol + 100 * eps)
    assert away <= allowed, (
        f"on {case.name} x is {away:.1e} from the known solution; with tolerance {tol:.1e} "
        f"it can be at most {allowed:.1e}"
    )


def check_solves_float64(solver: Solver, case: Case) -> None:
    """Converges to the known solution in float64."""
    _check_solves(solver, case)


def check_solves_float32(solver: Solver, case: Case) -> None:
    """Converges to the known solution in float32, with x64 off as JAX is delivered."""
    with jax.enable_x64(False):
        _check_solves(solver, case)


def check_pytrees(solver: Solver, case: Case) -> None:
    """Solves where ``x`` is a dict of a scalar, a tuple and a list of arrays."""
    solution = solved(solver, case)
    assert jax.tree.structure(solution.x) == jax.tree.structure(case.start()), (
        f"x came back as {jax.tree.structure(solution.x)}, x0 is {jax.tree.structure(case.start())}"
    )
    _check_solves(solver, case)


def check_one_unknown(solver: Solver, case: Case) -> None:
    """Solves where ``x`` has a single entry."""
    _check_solves(solver, case)


def check_approaches(solver: Solver, case: Case) -> None:
    """A solver that does not converge still closes three quarters of the objective's gap.

    Where the objective does not rank points, it is that of the squared residual.
    """
    problem, x0 = case.problem(), case.start()
    solution = solved(solver, case, tol=0.0, max_steps=2000)
    ranked = problem.always_feasible
    worth = (lambda x: objective_at(problem, x)) if ranked else lambda x: residual_at(problem, x) ** 2
    best = float(worth(jax.tree.map(jnp.asarray, case.solution())))
    before, after = float(worth(x0)) - best, float(worth(solution.x)) - best
    assert after <= before / 4, (
        f"on {case.name} the {'gap to the optimum' if ranked else 'squared residual'} went from "
        f"{before:.2e} to {after:.2e} in "
        f"{int(solution.steps)} steps; its default settings should close at least three quarters of it"
    )


def check_objective_falls(solver: Solver, case: Case) -> None:
    """After 20 steps the objective is below where it started."""
    problem = case.problem()
    solution = solved(solver, case, tol=0.0, max_steps=20)
    before, after = float(objective_at(problem, case.start())), float(objective_at(problem, solution.x))
    assert after < before, (
        f"on {case.name} the objective is {after:.6g} after {int(solution.steps)} steps and was "
        f"{before:.6g} at the start; a deterministic solver must not end above its start"
    )


def check_start_at_solution(solver: Solver, case: Case) -> None:
    """A start that is already a solution takes no step and comes back unchanged."""
    x = jax.tree.map(jnp.asarray, case.solution())
    again = solve(case.problem(), x, solver, tol=1e-6, key=key())
    assert int(again.steps) == 0, f"started at a solution it took {int(again.steps)} steps; 0 are right"
    assert not different_bits(again.x, x), "started at a solution it returned another x"
    assert not different_bits(again.state.x, x), (
        "init changed x: the first state's x must be x0 itself, so that zero steps mean no change"
    )


def check_unreachable_tolerance(solver: Solver, case: Case) -> None:
    """In float32 a tolerance out of reach ends stalled or at max_steps, at a point as good as it gets."""
    with jax.enable_x64(False):
        solution = solved(solver, case, tol=1e-30, max_steps=2000)
        ending = Ending(int(solution.status.code))
        assert ending is not Ending.NONFINITE, (
            f"with a tolerance that float32 cannot reach it made NaN or inf after {int(solution.steps)} "
            f"steps: {solution.status}. Guard divisions by quantities that vanish at a solution"
        )
        assert finite(solution.x), "with a tolerance that float32 cannot reach it returned a non-finite x"
        reached = ending is not Ending.CONVERGED or float(solution.residual) <= 1e-30
        assert reached, f"it claims to have converged with residual {float(solution.residual):.1e}"
        if solver.converges:
            residual, default = float(solution.residual), default_tol(case.start())
            assert residual <= default, (
                f"going on past the default tolerance {default:.1e} it drifted to residual {residual:.1e}"
            )


def check_max_steps(solver: Solver, case: Case) -> None:
    """``max_steps`` of 0 and 1 are taken exactly, and never more than asked for."""
    for n in (0, 1, solver.check_every + 1):
        solution = solve(case.problem(), case.start(), solver, tol=-1.0, max_steps=n, key=key())
        steps = int(solution.steps)
        assert steps <= n, f"max_steps={n} took {steps} steps"
        assert steps == n or n > 1, f"max_steps={n} took {steps} steps: {solution.status}"
        if n == 0:
            assert not different_bits(solution.x, case.start()), "max_steps=0 changed x"
        if n == 1:
            moved = distance(solution.x, case.start())
            assert np.isfinite(moved) and not different_bits(solution.x, solution.state.x), (
                "after one step x is not the x of the solver's state"
            )
