"""Overrelaxed sweeps: the factor and the number of sweeps that theory says, and ascent from anywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core import tree
from frechet.solvers import OverrelaxedSinkhorn, Sinkhorn
from frechet.transport import Entropic

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(100, 2)), RNG.uniform(size=(100, 2))
C = ((X[:, None] - Y) ** 2).sum(-1)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def _plain_rate(problem, x):
    """By the singular values of the plan, with rows and columns scaled to one, in NumPy."""
    P = np.asarray(problem.plan(x))
    held = [1 if v is None else v / (v + problem.epsilon) for v in problem.unbalanced]
    scaled = P / np.sqrt(P.sum(1)[:, None] * P.sum(0)) * np.sqrt(held[0] * held[1])
    return np.linalg.svd(scaled)[1][1 if problem.balanced else 0] ** 2


def _stepper(problem):
    solver = OverrelaxedSinkhorn()
    step = jax.jit(lambda s: solver.step(problem, s, key=jax.random.key(0)))
    return lambda x: solver.init(problem, x, key=jax.random.key(0)), step


@pytest.mark.parametrize("unbalanced", [None, 1.0, (None, 1.0)])
def test_the_factor_and_the_number_of_sweeps_are_those_of_theory(unbalanced):
    problem = fr.Transport(C, regulariser=Entropic(5e-3), unbalanced=unbalanced)
    plain = fr.solve(problem, problem.initial(), Sinkhorn(history=0, scaling=False), tol=1e-9, max_steps=1000)
    assert plain.status.converged
    begin, step = _stepper(problem)
    size = jax.jit(lambda x: tree.norm(problem.optimality(x)))
    state = begin(problem.initial())
    while size(state.x) > 1e-9:
        state = step(state)
    np.testing.assert_allclose(problem.plan(state.x), problem.plan(plain.x), atol=1e-8)
    best = 2 / (1 + np.sqrt(1 - _plain_rate(problem, plain.x)))
    # A factor too large costs its own rate, so that half the distance to 2 is twice the sweeps.
    assert 0.5 < (2 - state.relaxation) / (2 - best) < 1.5
    shortest = 2 * np.log(1e-9) / np.log(best - 1)
    assert shortest / 2 < int(state.calls.matvec) < min(4 * shortest, int(plain.calls.matvec) / 4)


@pytest.mark.parametrize("unbalanced", [None, 1.0])
def test_it_ascends_from_far_away_with_any_factor(unbalanced):
    problem = fr.Transport(C, regulariser=Entropic(0.02), unbalanced=unbalanced)
    begin, step = _stepper(problem)
    wild = fr.problems.transport.Potentials(*(jnp.asarray(RNG.normal(size=100)) for _ in "fg"))
    state = begin(wild)
    values = [float(problem.value(wild))]
    for omega in (1.1, 1.5, 1.9, 1.99, 1.99, 1.99, 1.9, 1.9, 1.9, 1.9):
        state = step(eqx.tree_at(lambda s: s.relaxation, state, jnp.asarray(omega)))
        values.append(float(problem.value(state.x)))
    rounding = 1e-12 * abs(values[-1])
    assert np.all(np.diff(values) <= rounding)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="sweeps must be at least 4, got 2"):
        OverrelaxedSinkhorn(sweeps=2)
