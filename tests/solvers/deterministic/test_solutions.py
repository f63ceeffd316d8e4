"""Deterministic solvers where the solution is known otherwise: peers, closed forms, hard valleys."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import frechet as fr
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.proximal.gradient_descent import GradientDescent
from frechet.solvers.proximal.proximal_gradient import ProximalGradient
from frechet.solvers.proximal.spectral_proximal_gradient import SpectralProximalGradient
from frechet.solvers.second_order.newton_cg import NewtonCG
from frechet.solvers.second_order.proximal_newton import ProximalNewton

COMPOSITE = [FISTA(), ProximalGradient(), SpectralProximalGradient(), ProximalNewton()]
SMOOTH = [*COMPOSITE, GradientDescent(), NewtonCG()]
name = lambda s: type(s).__name__  # noqa: E731


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def tumours():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


@pytest.fixture(scope="module")
def penalised(tumours):
    """The coefficients scikit-learn's SAGA finds at its tightest."""
    X, y = tumours
    peer = LogisticRegression(
        l1_ratio=1.0, C=1 / (len(y) * 0.02), fit_intercept=False, solver="saga", tol=1e-12, max_iter=100_000
    )
    return peer.fit(X, y).coef_[0]


@pytest.mark.parametrize("solver", COMPOSITE, ids=name)
def test_l1_logistic_is_that_of_scikit_learn(tumours, penalised, solver):
    problem = fr.Composite(fr.losses.Logistic(*map(jnp.asarray, tumours)), fr.convex.L1(0.02))
    s = fr.solve(problem, jnp.zeros(30), solver, tol=1e-9, max_steps=50_000)
    assert s.status.converged
    np.testing.assert_allclose(s.x, penalised, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(s.x) != 0, np.abs(penalised) > 1e-9)


@pytest.mark.parametrize("solver", SMOOTH, ids=name)
def test_an_ill_conditioned_quadratic(solver):
    d = jnp.geomspace(1.0, 1e3, 20)
    problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * (x - 1.0) ** 2))
    s = fr.solve(problem, jnp.zeros(20), solver, tol=1e-7, max_steps=50_000)
    assert s.status.converged
    np.testing.assert_allclose(s.x, 1.0, atol=1e-7)  # the least curvature is one


@pytest.mark.parametrize("solver", [SpectralProximalGradient(), ProximalNewton(), NewtonCG()], ids=name)
def test_the_rosenbrock_valley(solver):
    valley = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2  # noqa: E731
    s = fr.solve(fr.Composite(valley), jnp.array([-1.2, 1.0]), solver, tol=1e-8, max_steps=20_000)
    assert s.status.converged
    np.testing.assert_allclose(s.x, 1.0, atol=1e-6)


def test_newton_cg_leaves_a_saddle_by_its_negative_curvature():
    # A saddle at the origin between minimisers at x[1] = +-1; the start is a hair off the ridge.
    f = lambda x: x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2  # noqa: E731
    s = fr.solve(fr.Composite(f), jnp.array([1.0, 1e-6]), NewtonCG(), tol=1e-10)
    assert s.status.converged
    np.testing.assert_allclose(jnp.abs(s.x), [0.0, 1.0], atol=1e-8)


def test_newton_cg_converges_superlinearly(tumours):
    problem = fr.Composite(lambda w: fr.losses.Logistic(*map(jnp.asarray, tumours))(w) + 0.005 * w @ w)
    residuals = []
    fr.run(problem, jnp.zeros(30), NewtonCG(), budget=fr.Budget(tol=1e-12), callbacks=[
        lambda row, x: residuals.append(row["residual"])
    ])  # fmt: skip
    orders = [np.log(b) / np.log(a) for a, b in itertools.pairwise(residuals) if a < 1e-2 and b > 1e-12]
    assert max(orders) > 1.3 and len(residuals) < 25


@pytest.mark.parametrize("solver", [GradientDescent, ProximalGradient, FISTA])
def test_a_constant_step_counts_one_gradient_and_no_value(solver):
    problem = fr.Composite(lambda x: jnp.sum((x - 1.0) ** 2))
    s = fr.solve(problem, jnp.zeros(2), solver(step_size=0.25), tol=0.0, max_steps=7)
    assert s.calls.gradient == 7 and s.calls.value == 0
