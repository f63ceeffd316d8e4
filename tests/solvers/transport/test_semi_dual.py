"""Methods on the semi-dual: sparse plans found by enumeration, maxima at kinks, what is reported there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import frechet as fr
from frechet.core.solve import default_tol
from frechet.solvers.transport.semi_dual import SemiDualBFGS, SemiDualLBFGS
from frechet.workbench.checking.canonical_transport import quadratic, top_k


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("cases", [quadratic, top_k], ids=["quadratic", "top two"])
def test_potentials_are_those_of_the_right_support(cases):
    (case,) = cases()
    s = fr.solve(case.problem(), case.start(), SemiDualLBFGS())
    known = case.solution()
    assert s.status.converged
    assert np.allclose(s.x.f, known.f, atol=case.bound * default_tol(case.start()))
    assert np.allclose(s.x.g, known.g, atol=case.bound * default_tol(case.start()))


def _random(k: int, gamma: float = 1.0) -> fr.Transport:
    rng = np.random.default_rng(0)
    a, b, C = rng.random(20), rng.random(15), rng.random((20, 15))
    return fr.Transport(C, a / a.sum(), b / b.sum(), fr.transport.TopK(k, gamma))


def test_one_source_a_target_is_transport_without_regularisation():
    problem = _random(1)
    C, a, b = (np.asarray(v) for v in (problem.cost.matrix(), problem.a, problem.b))
    sums = np.concatenate([np.kron(np.eye(20), np.ones(15)), np.kron(np.ones(20), np.eye(15))])
    least = linprog(C.ravel(), A_eq=sums, b_eq=np.concatenate([a, b])).fun
    s = fr.solve(problem, problem.initial(), SemiDualBFGS(), max_steps=1000)
    P, report = np.asarray(problem.plan(s.x)), problem.report(s.x)
    assert abs(-float(problem.value(s.x)) - (least + b @ b / 2)) <= 1e-9
    assert np.all(np.count_nonzero(P, axis=0) <= 1)
    assert np.allclose(P.sum(0), b, atol=1e-14)
    # At a kink rows are missed; nothing is certified, and the plan is left as it is.
    assert not s.status.converged and np.isinf(report.duality_gap)
    assert np.isclose(report.transport_cost, np.sum(P * C))
    assert np.isclose(report.marginal_error, np.abs(P.sum(1) - a).sum() + np.abs(P.sum(0) - b).sum())


def test_a_plan_that_meets_its_marginals_is_certified():
    problem = _random(5)
    s = fr.solve(problem, problem.initial(), SemiDualBFGS())
    report, P = problem.report(s.x), np.asarray(problem.plan(s.x))
    assert s.status.converged and np.all(np.count_nonzero(P, axis=0) <= 5)
    assert abs(float(report.objective) - 0.141021) <= 1e-6
    assert 0 <= float(report.duality_gap) <= 1e-8
    assert np.isclose(report.objective, np.sum(P * problem.cost.matrix()) + np.sum(P**2) / 2, rtol=1e-12)


def test_default_solvers_fit():
    C = jnp.ones((3, 2))
    for regulariser in (fr.transport.Quadratic(), fr.transport.TopK(1)):
        for unbalanced in (None, 1.0, (None, 1.0)):
            problem = fr.Transport(C, regulariser=regulariser, unbalanced=unbalanced)
            shape = jax.eval_shape(lambda x, p=problem: fr.solve(p, x).x, problem.initial())
            assert shape.f.shape == (3,)
