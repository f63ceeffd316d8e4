"""Sinkhorn's algorithm: the plan of NumPy's, fewer products by mixing and by scaling, the linear rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import frechet as fr
from frechet.solvers import OverrelaxedSinkhorn, Sinkhorn
from frechet.transport import Entropic, PointCloud

RNG = np.random.default_rng(0)
N = 40
X, Y = RNG.normal(size=(N, 2)), RNG.uniform(size=(N, 2))
C = ((X[:, None] - Y) ** 2).sum(-1)
A, B = (v / v.sum() for v in RNG.uniform(0.5, 1.5, size=(2, N)))
PLAIN = Sinkhorn(history=0, scaling=False)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def _problem(epsilon, cost=C):
    return fr.Transport(cost, A, B, Entropic(epsilon * C.max(), relative=False))


def _products(problem, solver, tol=1e-9):
    solution = fr.solve(problem, problem.initial(), solver, tol=tol, max_steps=2000)
    assert solution.status.converged
    return int(solution.calls.matvec), solution.x


def _sweeps(epsilon, count):
    """Sinkhorn's algorithm in NumPy: the plan, and the error of its rows after every sweep."""
    g, errors = np.zeros(N), []
    for _ in range(count):
        f = -epsilon * logsumexp((g - C) / epsilon, axis=1, b=B)
        g = -epsilon * logsumexp((f[:, None] - C) / epsilon, axis=0, b=A[:, None])
        P = A[:, None] * B * np.exp((f[:, None] + g - C) / epsilon)
        errors.append(np.abs(P.sum(1) - A).sum())
    return P, np.array(errors)


def test_the_plan_is_that_of_numpy_whatever_the_way(double):
    """By products with a plan, in the log domain, mixed, and neither."""
    want = _sweeps(0.02 * C.max(), 5000)[0]
    cloud = PointCloud(X, Y, keep=False)
    cases = (Sinkhorn(), C), (PLAIN, C), (Sinkhorn(), cloud), (OverrelaxedSinkhorn(), C)
    for solver, cost in (*cases, (OverrelaxedSinkhorn(), cloud)):
        problem = _problem(0.02, cost)
        _, x = _products(problem, solver, 1e-11)
        np.testing.assert_allclose(problem.plan(x), want, atol=1e-11)


def test_mixing_and_scaling_save_products(double):
    """At 1/2,000 of the largest cost: mixing more than tenfold; scaling, of what a cold start takes."""
    problem = _problem(5e-4)
    plain, _ = _products(problem, PLAIN, 1e-6)
    scaled, _ = _products(problem, Sinkhorn(history=0), 1e-6)
    mixed, _ = _products(problem, Sinkhorn(), 1e-6)
    assert mixed < plain / 10 and scaled < plain


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_the_rate_is_at_worst_that_of_birkhoff_and_hopf(epsilon, double):
    r"""An error falls by $\tanh^2(\|C\|/2\varepsilon)$ a sweep, of the potentials in the span seminorm."""
    problem = _problem(epsilon)
    one_sweep = Sinkhorn(history=0, scaling=False, sweeps=1)
    span = jax.jit(lambda f, best: jnp.max(f - best) - jnp.min(f - best))
    _, best = _products(problem, PLAIN, 1e-14)
    step = jax.jit(lambda s: one_sweep.step(problem, s, key=jax.random.key(0)))
    state = one_sweep.init(problem, problem.initial(), key=jax.random.key(0))
    errors = []
    for _ in range(6):
        state = step(state)
        errors.append(float(span(state.x.f, best.f)))
    spread = (C.max() - C.min()) / (epsilon * C.max())
    assert np.all(np.array(errors[1:]) <= np.tanh(spread / 2) ** 2 * np.array(errors[:-1]) + 1e-12)


def test_float32_down_to_a_ten_thousandth_of_the_mean_cost():
    problem = fr.Transport(C.astype(np.float32), A, B, Entropic(1e-4))
    solution = fr.solve(problem, problem.initial(), Sinkhorn(), max_steps=40)
    assert solution.status.name != "nonfinite"
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(solution.x))
    assert float(problem.report(solution.x).marginal_error) < 0.05


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="history must be at least 0 and sweeps at least 1, got -1 and 40"):
        Sinkhorn(history=-1)
