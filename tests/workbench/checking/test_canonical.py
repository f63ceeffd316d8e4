"""The canonical problems are what they say: their known solutions solve them, in both precisions."""

import functools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

import frechet as fr
from frechet.core import tree
from frechet.workbench.checking.canonical import ROLES, Case, Parameters, all_cases, cast
from frechet.workbench.checking.common import distance, raveled

CASES = all_cases()
TESTABLE = [c for c in CASES if c.specimen.testable]


@functools.cache
def _compiled(name: str) -> Callable[..., jax.Array]:
    (make,) = (c.make for c in CASES if c.name == name)
    return jax.jit(lambda parameters, x: tree.norm(make(parameters).optimality(x)))


def residual(case: Case, x: PyTree) -> float:
    """The size of the optimality map; one program serves all points."""
    return float(_compiled(case.name)(cast(case.parameters), cast(x)))


@pytest.mark.parametrize("case", TESTABLE, ids=lambda c: c.name)
def test_known_solution_solves(case: Case, precision: np.dtype) -> None:
    eps = np.finfo(precision).eps
    assert all(v.dtype == precision for v in jax.tree.leaves(cast(case.solution())))
    assert residual(case, case.solution()) < 100 * eps
    assert residual(case, case.x0) > 0.1


@pytest.mark.parametrize("case", [c for c in CASES if c not in TESTABLE], ids=lambda c: c.name)
def test_known_moments_are_best(case: Case, precision: np.dtype) -> None:
    problem = case.problem()
    assert float(problem.objective(cast(case.solution()))) < 100 * np.finfo(precision).eps
    assert float(problem.objective(case.start())) > 0.1


@pytest.mark.parametrize("case", TESTABLE, ids=lambda c: c.name)
def test_residual_bounds_distance(case: Case) -> None:
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        solution = case.solution()
        for size in (1e-6, 1e-2, 0.3):
            x = jax.tree.map(lambda v, s=size: v + s * rng.normal(size=np.shape(v)), solution)
            assert distance(x, solution) <= case.bound * residual(case, x)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_float32_stays_where_x64_is_on(case: Case) -> None:
    with jax.enable_x64(True):

        def evaluated(parameters: Parameters, x: PyTree) -> tuple:
            problem = case.make(parameters)
            return problem.objective(x), problem.optimality(x) if problem.testable else problem.measures(x)

        arguments = cast(case.parameters, np.float32), case.start(np.float32)
        outcome = jax.eval_shape(evaluated, *arguments)
        assert {v.dtype for v in jax.tree.leaves(outcome)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_parameters_matter(case: Case) -> None:
    assert distance(case.solution(**case.moved()), case.solution()) > 1e-4
    assert np.isnan(raveled(case.spoiled())).sum() == 1


def test_every_kind_has_every_role() -> None:
    problems = [(c.role, c.problem()) for c in CASES]
    for kind in (
        fr.Composite,
        fr.LeastSquares,
        fr.Root,
        fr.FixedPoint,
        fr.Constrained,
        fr.Inclusion,
        fr.Saddle,
    ):
        assert {role for role, p in problems if isinstance(p, kind)} == set(ROLES)
    assert {role for role, p in problems if isinstance(p, fr.QuadraticProgram)} == {"array", "one", "many"}
    assert any(isinstance(p, fr.FiniteSum) for _, p in problems)
    # Of several points side by side, one.
    several = lambda c: isinstance(c.specimen, fr.Density | fr.Particles)  # noqa: E731
    points = [
        (c, getattr(c.x0, "position", getattr(c.x0, "primal", c.x0))) for c in CASES if c.role == "tree"
    ]
    trees = [jax.tree.map(lambda v: v[0], x) if several(c) else x for c, x in points]
    shapes = [[np.ndim(v) for v in jax.tree.leaves(x)] for x in trees]
    assert all(0 in ranks and len(ranks) >= 3 for ranks in shapes)
