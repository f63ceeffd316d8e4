"""The canonical problems are what they say: their known solutions solve them, in both precisions."""

import jax
import numpy as np
import pytest

import frechet as fr
from frechet.core import tree
from frechet.workbench.checking.canonical import ROLES, Case, all_cases, cast
from frechet.workbench.checking.common import distance, raveled

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_known_solution_solves(case: Case, precision: np.dtype) -> None:
    eps = np.finfo(precision).eps
    problem, x = case.problem(), cast(case.solution())
    assert all(v.dtype == precision for v in jax.tree.leaves(x))
    assert float(tree.norm(problem.optimality(x))) < 100 * eps
    assert float(tree.norm(problem.optimality(case.start()))) > 0.1


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_residual_bounds_distance(case: Case) -> None:
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        problem, solution = case.problem(), case.solution()
        for size in (1e-6, 1e-2, 0.3):
            x = jax.tree.map(lambda v, s=size: v + s * rng.normal(size=np.shape(v)), solution)
            residual = float(tree.norm(problem.optimality(cast(x))))
            assert distance(x, solution) <= case.bound * residual


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_float32_stays_where_x64_is_on(case: Case) -> None:
    with jax.enable_x64(True):
        problem, x = case.problem(np.float32), case.start(np.float32)
        assert problem.objective(x).dtype == np.float32
        assert {v.dtype for v in jax.tree.leaves(problem.optimality(x))} == {np.dtype(np.float32)}


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
    trees = [getattr(c.x0, "primal", c.x0) for c in CASES if c.role == "tree"]
    shapes = [[np.ndim(v) for v in jax.tree.leaves(x)] for x in trees]
    assert all(0 in ranks and len(ranks) >= 3 for ranks in shapes)
