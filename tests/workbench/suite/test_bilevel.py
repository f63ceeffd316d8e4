"""Bilevel problems of the suite: lower levels solved by scikit-learn and NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from frechet.core import tree
from frechet.problems import FiniteSumBilevel
from frechet.workbench import data, suite
from frechet.workbench.suite.bilevel_learning import noisy_labels


def regression(X: np.ndarray, labels: np.ndarray, ridge: Any, weights: Any = None) -> np.ndarray:
    """scikit-learn's Newton method for a mean loss with a ridge a feature, by a change of scale."""
    scale = np.sqrt(np.broadcast_to(ridge, X.shape[1]))
    peer = linear_model.LogisticRegression(
        C=1 / len(X), fit_intercept=False, solver="newton-cg", tol=1e-10, max_iter=1000
    )
    found = peer.fit(X / scale, labels, weights).coef_ / scale
    return found[0] if len(found) == 1 else found.T


def ridge_per_feature(x):
    X, y = data.breast_cancer()
    train = np.random.RandomState(0).permutation(569)[:300]
    return regression(X[train], y[train], np.exp(x))


def digits(seed, count):
    X, y = data.digits()
    train = np.random.RandomState(seed).permutation(1797)[:count]
    return X[train], y[train]


def ridge_per_class(x):
    assert np.ptp(x) == 0
    return regression(*digits(0, 800), np.exp(x[0]))


def ridge_per_weight(x):
    assert np.ptp(x, axis=1).max() == 0
    return regression(*digits(0, 300), np.exp(x[:, 0]))


def hyper_cleaning(x):
    X, _ = digits(32, 800)
    return regression(X, noisy_labels(), 1e-3, 1 / (1 + np.exp(-x)))


def hyper_representation(x):
    X, digit = digits(0, 300)
    F = np.tanh(X @ x)
    return np.linalg.solve(F.T @ F + 300 * 1e-2 * np.eye(8), F.T @ np.eye(10)[digit])


LOWER = {
    "hyper-cleaning": hyper_cleaning,
    "hyper-representation": hyper_representation,
    "ridge-per-class": ridge_per_class,
    "ridge-per-feature": ridge_per_feature,
    "ridge-per-weight": ridge_per_weight,
}
# The upper objective at the peer's lower solution, as NumPy and scikit-learn evaluated it.
START = {"hyper-cleaning": 1.034, "hyper-representation": 0.361, "ridge-per-feature": 0.17926}


@pytest.mark.parametrize("name", LOWER)
def test_lower_level_is_what_a_peer_solves(name):
    with jax.enable_x64(True):
        case: Any = suite.load(name)
        problem, x = case.problem, case.x0.upper
        assert isinstance(problem, FiniteSumBilevel)
        y = jnp.asarray(LOWER[name](np.asarray(x)))
        slope, value = eqx.filter_jit(lambda x, y: (problem.inner_gradient(x, y), problem.outer_value(x, y)))(
            x, y
        )
    np.testing.assert_allclose(slope, 0.0, atol=1e-8)
    if name in START:
        assert float(value) == pytest.approx(START[name], rel=1e-3)


def test_hypergradient_is_that_of_the_peers_solutions():
    direction = np.random.default_rng(0).normal(size=30)
    with jax.enable_x64(True):
        case: Any = suite.load("ridge-per-feature")
        x = np.asarray(case.x0.upper)
        point = case.problem.start((x, ridge_per_feature(x)))
        slope = eqx.filter_jit(case.problem.hypergradient)(point) @ direction
        value = eqx.filter_jit(case.problem.outer_value)
        high, low = (value(x, jnp.asarray(ridge_per_feature(x + h * direction))) for h in (1e-3, -1e-3))
        # differences of third order, of solutions to 1e-8
        assert float(slope) == pytest.approx(float(high - low) / 2e-3, rel=1e-4)


def test_quadratics_have_the_closed_forms_of_their_terms():
    levels = data.bilevel_quadratics(40, upper=3, lower=4, seed=1)
    x = np.array([0.3, -1.0, 2.0])

    def phi(x):
        u, _, c, d, a, _ = levels.inner
        y = np.linalg.lstsq(u.T @ u, -d.T @ (c @ x) - a.sum(0))[0]
        return np.mean([data.quadratic_term(x, y, datum) for datum in zip(*levels.outer, strict=True)])

    assert levels.hyperobjective(x) == pytest.approx(phi(x), rel=1e-12)
    central = [(phi(x + e) - phi(x - e)) / 2 for e in np.eye(3)]  # exact, of a quadratic
    np.testing.assert_allclose(levels.hypergradient(x), central, rtol=1e-10)
    best = levels.solution()
    assert all(phi(best + e) > phi(best) for e in 0.01 * np.vstack([np.eye(3), -np.eye(3)]))
    with pytest.raises(ValueError, match="no draw was strongly convex at both levels"):
        data.bilevel_quadratics(3, upper=3, lower=4)


def test_lower_solutions_on_an_affine_set_are_projections():
    with jax.enable_x64(True):
        case: Any = suite.load("bilevel-projection")
        problem, x = case.problem, case.x0.upper
        h = lambda y: problem.eq(x, y)  # noqa: E731
        A, b = np.asarray(jax.jacobian(h)(x)), np.asarray(h(jnp.zeros_like(x)))
        y = x - np.linalg.lstsq(A, A @ x + b)[0]
        dual = np.linalg.lstsq(A.T, x - y)[0]
        slope = problem.constrained_gradients(x, y, jnp.asarray(dual), None)[1]
        np.testing.assert_allclose(slope, 0.0, atol=1e-9)
        near = problem.joint_prox(x, y)
        # x is in its subspace already
        assert float(tree.norm(tree.subtract(near, (x, y)))) < 1e-9
