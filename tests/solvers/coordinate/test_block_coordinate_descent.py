"""Block coordinate descent against a conic solver, its own update in NumPy, and sparse designs."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import frechet as fr
from frechet.solvers.coordinate.block_coordinate_descent import BlockCoordinateDescent

RNG = np.random.default_rng(0)
N, P, K = 60, 8, 3
X = RNG.normal(size=(N, P)) * (RNG.random((N, P)) < 0.4)
LABELS = np.argmax(X[:, :K] + RNG.gumbel(size=(N, K)), axis=1)
ROWS = fr.convex.Rows(fr.convex.L2(0.04))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def solve(problem, **options):
    return fr.solve(problem, jnp.zeros((P, K)), BlockCoordinateDescent(), **{"tol": 1e-9, **options})


def test_the_group_lasso_of_a_multinomial_model_is_a_conic_solvers():
    W = cp.Variable((P, K))
    fit = cp.sum(cp.log_sum_exp(X @ W, axis=1)) - cp.sum(cp.multiply(np.eye(K)[LABELS], X @ W))
    objective = fit / N + 0.04 * sum(cp.norm(W[j]) for j in range(P))
    cp.Problem(cp.Minimize(objective)).solve(cp.CLARABEL)
    s = solve(fr.Composite(fr.losses.Multinomial(X, LABELS), ROWS))
    assert s.status.converged
    np.testing.assert_allclose(s.x, W.value, atol=1e-4)  # the conic solver's accuracy
    zero = np.all(np.asarray(s.x) == 0, axis=1)
    np.testing.assert_array_equal(zero, np.linalg.norm(W.value, axis=1) < 1e-4)
    assert int(s.calls.coordinate) == int(s.steps) * P * K


def test_a_step_visits_the_rows_in_order():
    weight = RNG.uniform(0.5, 2, size=N)
    problem = fr.Composite(fr.losses.Multinomial(X, LABELS, sample_weight=weight), ROWS)
    W = np.zeros((P, K))
    for j in range(P):
        z = X @ W
        probability = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
        gradient = X[:, j] @ (weight[:, None] * (probability - np.eye(K)[LABELS])) / N
        L = 0.5 * np.sum(weight * X[:, j] ** 2) / N
        row = W[j] - gradient / L
        W[j] = max(0, 1 - 0.04 / L / np.linalg.norm(row)) * row
    np.testing.assert_allclose(solve(problem, max_steps=1, tol=0.0).x, W, rtol=1e-10, atol=1e-14)


def test_a_sparse_design_gives_the_same(double):
    for design in (X, X * (RNG.random((N, P)) < 0.15)):
        pair = [
            solve(fr.Composite(fr.losses.Multinomial(A, LABELS), ROWS), max_steps=7, tol=0.0).x
            for A in (design, scipy.sparse.csr_matrix(design))
        ]
        np.testing.assert_allclose(pair[0], pair[1], rtol=1e-10, atol=1e-13)


def test_one_output_and_a_separable_penalty():
    y = X @ np.where(np.arange(P) < 2, 1.0, 0.0) + 0.1 * RNG.normal(size=N)
    lasso = fr.Composite(fr.losses.Squared(X, y), fr.convex.L1(0.02))
    s = fr.solve(lasso, jnp.zeros(P), BlockCoordinateDescent(), tol=1e-10)
    t = fr.solve(lasso, jnp.zeros(P), fr.solvers.FISTA(), tol=1e-10)
    np.testing.assert_allclose(s.x, t.x, atol=1e-8)


def test_the_objective_never_rises():
    problem = fr.Composite(fr.losses.Multinomial(X, LABELS), ROWS)
    values = [float(problem.objective(solve(problem, max_steps=k, tol=0.0).x)) for k in range(12)]
    assert np.all(np.diff(values) <= 1e-15)


@pytest.mark.parametrize(
    "f, g, message",
    [
        (fr.losses.Multinomial(X, LABELS), fr.convex.L2(0.1), "needs rows"),
        (lambda x: jnp.sum(x**2), fr.convex.L1(0.1), "needs linear model"),
        (fr.losses.Poisson(X, np.ones(N)), fr.convex.L1(0.1), "needs a loss of bounded curvature"),
    ],
)
def test_problems_of_another_form_are_refused(f, g, message):
    with pytest.raises(TypeError, match=message):
        solve(fr.Composite(f, g))
