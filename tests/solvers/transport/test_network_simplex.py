"""Exact transport: plans and potentials that prove each other, derivatives, data that cannot be solved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.transport.network_simplex import NetworkSimplex


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def _solved(C, a=None, b=None):
    problem = fr.Transport(C, a, b, regulariser=None)
    return problem, fr.solve(problem, problem.initial(), NetworkSimplex(), tol=1e-10)


def test_matching_has_potentials_everywhere():
    C = np.random.default_rng(0).random((12, 12))  # degenerate: 12 entries where a basis has 23
    problem, s = _solved(jnp.asarray(C))
    rows, columns = linear_sum_assignment(C)
    assert s.status.converged and int(s.steps) == 1
    assert np.allclose(np.asarray(s.x.plan)[rows, columns], 1 / 12)
    slack = C - np.asarray(s.x.f)[:, None] - np.asarray(s.x.g)
    assert slack.min() >= -1e-13 and np.abs(slack[rows, columns]).max() <= 1e-13
    assert np.isclose(s.x.f @ problem.a, s.x.g @ problem.b)
    assert abs(float(problem.report(s.x).duality_gap)) <= 1e-14


def test_gradient_of_the_least_cost_is_plan_and_potential():
    rng = np.random.default_rng(1)
    C, a, b = rng.random((5, 4)), rng.random(5) + 0.2, rng.random(4) + 0.2
    a, b = a / a.sum(), b / b.sum()

    def least(C, a):
        problem, s = _solved(C, a, b)
        return problem.objective(s.x), s.x

    (by_cost, by_weight), x = jax.jit(jax.grad(least, argnums=(0, 1), has_aux=True))(jnp.asarray(C), a)
    assert np.allclose(by_cost, x.plan, atol=1e-12)
    # Weights are scaled to one: what is left is along the simplex.
    assert np.allclose(by_weight, x.f - x.f @ a, atol=1e-12)
    h, step = 1e-6, rng.normal(size=5)
    step -= step.mean()
    value = lambda t: float(least(jnp.asarray(C), jnp.asarray(a + t * step))[0])  # noqa: E731
    assert np.isclose((value(h) - value(-h)) / (2 * h), by_weight @ step, atol=1e-8)


def test_barred_pairs():
    inf = np.inf
    C = jnp.array([[inf, 1.0, 5.0], [2.0, inf, 1.0], [9.0, 1.0, inf]])
    _, s = _solved(C)
    assert s.status.converged
    assert np.allclose(3 * s.x.plan, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    _, s = _solved(jnp.array([[inf, inf, 1.0], [1.0, 1.0, 2.0], [1.0, 3.0, inf]]), jnp.array([0.6, 0.2, 0.2]))
    assert int(s.status.code) == Ending.INFEASIBLE


def test_nan_costs_end_nonfinite():
    _, s = _solved(jnp.full((3, 3), jnp.nan))
    assert int(s.status.code) == Ending.NONFINITE


def test_without_pot_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    problem = fr.Transport(jnp.ones((2, 2)), regulariser=None)
    assert NetworkSimplex().fits(problem) == 'needs POT: pip install "frechet[transport]"'
