"""Constrained solvers on known problems: optima, multipliers, hard geometry, infeasibility."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import frechet as fr
from frechet.solvers.bounds.lbfgsb import LBFGSB
from frechet.solvers.constrained.augmented_lagrangian import AugmentedLagrangian
from frechet.solvers.constrained.interior_point import InteriorPoint
from frechet.solvers.constrained.sequential_quadratic_programming import SQP
from frechet.solvers.proximal.fista import FISTA

_spec = importlib.util.spec_from_file_location(
    "hock_schittkowski", pathlib.Path(__file__).with_name("hock_schittkowski.py")
)
assert _spec is not None and _spec.loader is not None
_book = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_book)
EXAMPLES = _book.EXAMPLES

SOLVERS = {"augmented Lagrangian": AugmentedLagrangian(), "SQP": SQP(), "interior point": InteriorPoint()}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


# A compilation a problem and solver: each solver meets every kind of problem, not every problem.
_TAKEN = {
    "augmented Lagrangian": ("hs6", "hs7", "hs26", "hs28", "hs39", "hs40", "hs48", "hs76", "hs113"),
    "SQP": ("hs7", "hs65", "hs113"),
    "interior point": ("hs26", "hs35", "hs39", "hs71", "hs100"),
}


@pytest.mark.parametrize(("solver", "name"), [(s, name) for s, names in _TAKEN.items() for name in names])
def test_the_optima_of_hock_and_schittkowski_are_reached(solver, name):
    with jax.enable_x64(True):
        problem, x0, optimum = EXAMPLES[name]()
        solution = fr.solve(problem, jnp.asarray(x0), SOLVERS[solver], max_steps=500)
        assert solution.status.converged, str(solution.status)
        # The objective's error is at most the multipliers times the residual.
        duals = [np.ravel(v) for v in (solution.x.dual_eq, solution.x.dual_ineq) if v is not None]
        size = 1 + sum(np.abs(v).sum() for v in duals)
        # The book gives ten digits.
        assert abs(float(problem.objective(solution.x)) - optimum) <= 1e-7 * size + 2e-10 * abs(optimum)
        assert float(problem.infeasibility(solution.x.primal)) <= 1.5e-8


@pytest.mark.parametrize(
    ("solver", "name"),
    [("augmented Lagrangian", "hs100"), ("augmented Lagrangian", "hs113"), ("SQP", "hs100")],
)
def test_float32_reaches_its_default_tolerance(solver, name):
    """Constraints of size 100 and multipliers of size 1: rounding times the penalty is above it."""
    with jax.enable_x64(False):
        problem, x0, optimum = EXAMPLES[name]()
        solution = fr.solve(problem, jnp.asarray(x0, jnp.float32), SOLVERS[solver], max_steps=500)
        assert solution.status.converged, str(solution.status)
        # First order in the residual, with the multipliers; and rounding of terms of size 1000.
        size = 1 + float(jnp.sum(solution.x.dual_ineq))
        error = abs(float(problem.objective(solution.x)) - optimum)
        assert error <= 2 * size * np.finfo(np.float32).eps ** 0.5 + 1e3 * np.finfo(np.float32).eps


@pytest.mark.parametrize("name", ["hs65", "hs100"])
def test_solutions_are_those_of_scipy(name):
    with jax.enable_x64(True):
        problem, x0, _ = EXAMPLES[name]()
        solution = fr.solve(problem, jnp.asarray(x0), max_steps=500)
        lower, upper = problem.g.bounds(jnp.asarray(x0))
        theirs = scipy.optimize.minimize(
            lambda x: float(problem.value(jnp.asarray(x))),
            x0,
            jac=lambda x: np.asarray(problem.gradient(jnp.asarray(x))),
            method="SLSQP",
            bounds=np.stack([lower, upper], axis=1).tolist(),
            constraints={"type": "ineq", "fun": lambda x: -np.asarray(problem.inequality(jnp.asarray(x)))},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(solution.x.primal, theirs.x, atol=2e-5)


@every_solver
def test_a_linear_function_on_the_sphere_with_its_multiplier(solver, precision):
    c = np.array([1.0, 2.0, 2.0])
    problem = fr.Constrained(lambda x: jnp.asarray(c, precision) @ x, eq=lambda x: x @ x - 1)
    solution = fr.solve(problem, jnp.array([0.1, 0.2, -0.3], precision), solver, max_steps=200)
    assert solution.status.converged
    # c + 2 y x = 0 on the sphere: x = -c / |c|, y = |c| / 2.
    tol = 3 * float(jnp.finfo(precision).eps) ** 0.5
    np.testing.assert_allclose(solution.x.primal, -c / 3, atol=tol)
    np.testing.assert_allclose(solution.x.dual_eq, 1.5, atol=3 * tol)
    assert solution.x.primal.dtype == precision and solution.x.dual_eq.dtype == precision


@every_solver
def test_where_gradients_of_constraints_are_dependent(solver):
    # Three multiples of one constraint: the multipliers are not unique, their weighted sum is.
    rows = np.array([1.0, 1.0, 2.0])
    with jax.enable_x64(True):
        problem = fr.Constrained(
            lambda x: x @ x - 2 * x[0],
            ineq=lambda x: jnp.stack([x[0], x[0] + x[1] ** 2, 2 * x[0]]),
        )
        solution = fr.solve(problem, jnp.array([-1.0, 1.0]), solver, max_steps=200)
        assert solution.status.converged
        np.testing.assert_allclose(solution.x.primal, [0.0, 0.0], atol=1e-6)
        np.testing.assert_allclose(rows @ np.asarray(solution.x.dual_ineq), 2.0, atol=1e-6)
        assert np.all(np.asarray(solution.x.dual_ineq) >= 0)


@every_solver
def test_a_weakly_active_constraint_is_no_obstacle(solver, precision):
    problem = fr.Constrained(lambda x: x @ x, ineq=lambda x: x[0])
    solution = fr.solve(problem, jnp.array([1.0, 1.0], precision), solver, max_steps=200)
    assert solution.status.converged
    np.testing.assert_allclose(solution.x.primal, 0, atol=2 * float(jnp.finfo(precision).eps) ** 0.5)


@every_solver
@pytest.mark.parametrize("angle", [0.1, 1.0])
def test_a_circle_does_not_stop_full_steps_near_the_solution(solver, angle):
    """Maratos' example: merit functions alone would cut the steps however near the solution is."""
    with jax.enable_x64(True):
        problem = fr.Constrained(lambda x: 2 * (x @ x - 1) - x[0], eq=lambda x: x @ x - 1)
        solution = fr.solve(problem, jnp.array([jnp.cos(angle), jnp.sin(angle)]), solver, max_steps=200)
        assert solution.status.converged
        np.testing.assert_allclose(solution.x.primal, [1.0, 0.0], atol=1e-7)
        np.testing.assert_allclose(solution.x.dual_eq, -1.5, atol=1e-6)
        if angle == 0.1 and not isinstance(solver, AugmentedLagrangian):
            assert int(solution.steps) <= 6


@every_solver
def test_contradicting_inequalities_end_infeasible_between_them(solver, precision):
    problem = fr.Constrained(lambda x: x[0] ** 2 + x[0], ineq=lambda x: jnp.stack([x[0], 1 - x[0]]))
    solution = fr.solve(problem, jnp.array([3.0], precision), solver, max_steps=300)
    assert solution.status.name == "infeasible"
    x = float(solution.x.primal[0])
    if isinstance(solver, AugmentedLagrangian):
        assert abs(x - 0.5) < 1e-3  # the least sum of squares
    else:
        assert -1e-3 <= x <= 1.001  # every point there has the least sum


@every_solver
def test_a_circle_that_misses_a_line_ends_infeasible_at_the_least_violation(solver):
    with jax.enable_x64(True):
        problem = fr.Constrained(lambda x: x[0], eq=lambda x: jnp.stack([x @ x - 1, x[1] - 2]))
        solution = fr.solve(problem, jnp.array([0.5, 0.5]), solver, max_steps=300)
        assert solution.status.name == "infeasible"
        x = np.asarray(solution.x.primal)
        if isinstance(solver, AugmentedLagrangian):
            # (y^2 - 1)^2 + (y - 2)^2 is least where 2 y (y^2 - 1) + y - 2 = 0.
            (y,) = [r.real for r in np.roots([2, 0, -1, -2]) if abs(r.imag) < 1e-9]
        else:
            y = 1.0  # |y^2 - 1| + |y - 2| is least there
        np.testing.assert_allclose(x, [0.0, y], atol=1e-3)


@pytest.mark.parametrize("solver", [SQP(), InteriorPoint()], ids=lambda s: type(s).__name__)
def test_the_residual_falls_superlinearly(solver):
    """The last steps: the order of convergence, over three decades and more."""
    with jax.enable_x64(True):
        problem, x0, _ = EXAMPLES["hs40"]()
        steps = range(1, 13)
        residuals = [
            float(fr.solve(problem, jnp.asarray(x0), solver, tol=1e-13, max_steps=n).residual) for n in steps
        ]
    kept = [r for r in residuals if 1e-13 < r < 0.1]
    assert kept[0] / kept[-1] > 1e3
    logs = np.log(kept)
    order = max((logs[k + 1] / logs[k]) for k in range(len(logs) - 1))
    assert order >= 1.3


def test_the_inner_solver_is_anybodys_that_fits():
    with jax.enable_x64(True):
        problem = fr.Constrained(
            lambda x: jnp.sum((x - 1) ** 2), eq=lambda x: x.sum() - 1, g=fr.convex.L1(0.3)
        )
        default, accelerated = (
            fr.solve(problem, jnp.zeros(3), solver, max_steps=2000)
            for solver in (AugmentedLagrangian(), AugmentedLagrangian(FISTA()))
        )
        for solution in (default, accelerated):
            assert solution.status.converged
            # By symmetry x = 1/3; 2 (x - 1) + 0.3 + y = 0.
            np.testing.assert_allclose(solution.x.primal, 1 / 3, atol=1e-7)
            np.testing.assert_allclose(solution.x.dual_eq, 4 / 3 - 0.3, atol=1e-6)
    assert AugmentedLagrangian(FISTA()).check_every == FISTA().check_every
    with pytest.raises(TypeError, match="LBFGSB, which needs bounds"):
        fr.solve(problem, jnp.zeros(3), AugmentedLagrangian(LBFGSB()))
    with pytest.raises(TypeError, match="inner must be a frechet Solver"):
        AugmentedLagrangian(inner="FISTA")  # pyright: ignore
    with pytest.raises(TypeError, match="needs bounds"):
        fr.solve(problem, jnp.zeros(3), SQP())
