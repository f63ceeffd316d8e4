"""Coordinate descent against scikit-learn and its own optimality conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression

import frechet as fr
from frechet.solvers.coordinate.columns import BLOCK, DenseColumns, SparseColumns, squared_norms, take_columns
from frechet.solvers.coordinate.coordinate_descent import CoordinateDescent

# Below 64 columns one size of working set, so one program to compile; its sets still start small.
SMALL = CoordinateDescent(smallest=32)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def regression(n: int, p: int, density: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < density)
    w = np.zeros(p)
    w[: max(2, p // 10)] = rng.standard_normal(max(2, p // 10))
    return X, X @ w + 0.3 * rng.standard_normal(n)


def largest_weight(X: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(X.T @ y).max() / len(y))


def solve(f, g, p: int, solver: fr.Solver = SMALL, tol: float = 1e-11, x0=None) -> fr.Solution:
    solution = fr.solve(fr.Composite(f, g), jnp.zeros(p) if x0 is None else x0, solver, tol=tol)
    assert bool(solution.status.converged), solution.status
    return solution


# ------------------------------------------------------------------ the right answer


@pytest.mark.parametrize(("n", "p"), [(80, 30), (40, 60)])
@pytest.mark.parametrize("divisor", [3, 50])
def test_lasso_is_scikit_learns(n, p, divisor):
    X, y = regression(n, p)
    weight = largest_weight(X, y) / divisor
    reference = Lasso(alpha=weight, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y).coef_
    x = solve(fr.losses.Squared(X, y), fr.convex.L1(weight), p).x
    # scikit-learn's duality gap of 1e-14 |y|^2 leaves about its square root in the coefficients
    np.testing.assert_allclose(x, reference, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(x) != 0, np.abs(reference) > 1e-7)


@pytest.mark.parametrize("smallest", [20, 128])
def test_working_sets_of_any_size_give_scikit_learns_lasso(smallest):
    X, y = regression(100, 300)
    weight = largest_weight(X, y) / 20
    reference = Lasso(alpha=weight, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y)
    x = solve(fr.losses.Squared(X, y), fr.convex.L1(weight), 300, CoordinateDescent(smallest=smallest)).x
    np.testing.assert_allclose(x, reference.coef_, atol=1e-6)


def test_elastic_net_is_scikit_learns():
    X, y = regression(40, 60)
    reference = ElasticNet(alpha=0.1, l1_ratio=0.7, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    x = solve(fr.losses.Squared(X, y), fr.convex.ElasticNet(l1=0.07, l2=0.03), 60).x
    np.testing.assert_allclose(x, reference.fit(X, y).coef_, atol=1e-6)


@pytest.mark.parametrize("density", [1.0, 0.1])
def test_sparse_logistic_is_scikit_learns(density):
    n, p = 150, 60
    X, y = regression(n, p, density)
    label = (y > 0).astype(int)
    weight = 0.01
    reference = LogisticRegression(
        C=1 / (n * weight), l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-7, max_iter=100_000
    ).fit(X, label)
    f = fr.losses.Logistic(scipy.sparse.csr_matrix(X) if density < 1 else X, label)
    x = np.asarray(solve(f, fr.convex.L1(weight), p).x)
    np.testing.assert_allclose(x, reference.coef_[0], atol=1e-3)
    # beyond liblinear's accuracy: the optimality conditions, in NumPy
    sign = 2 * label - 1
    gradient = X.T @ (-sign / (1 + np.exp(sign * (X @ x)))) / n
    np.testing.assert_allclose(gradient[x != 0], -weight * np.sign(x[x != 0]), atol=1e-10)
    assert np.all(np.abs(gradient[x == 0]) <= weight + 1e-10)


def test_nonnegative_lasso_is_scikit_learns():
    X, y = regression(40, 60)
    reference = Lasso(alpha=0.05, positive=True, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    # |x| = x where x >= 0
    g = fr.convex.PlusQuadratic(fr.convex.NonNegative(), b=0.05)
    x = solve(fr.losses.Squared(X, y), g, 60).x
    np.testing.assert_allclose(x, reference.fit(X, y).coef_, atol=1e-6)
    assert np.all(np.asarray(x) >= 0)


@pytest.mark.parametrize(
    "g",
    [fr.convex.NonNegative(), fr.convex.Box(-0.1, 0.2), fr.convex.SquaredL2(0.1), fr.convex.Zero()],
    ids=lambda g: type(g).__name__,
)
def test_other_separable_penalties_agree_with_fista(g):
    X, y = regression(80, 20)
    loss = fr.losses.Huber
    problem = fr.Composite(loss(X, y), g)
    reference = fr.solve(problem, jnp.zeros(20), fr.solvers.FISTA(), tol=1e-10).x
    x = solve(loss(X, y), g, 20).x
    # both have residuals of 1e-10 and the Hessian's least eigenvalue is above 0.05
    np.testing.assert_allclose(x, reference, atol=1e-8)


def test_huber_with_outliers_agrees_with_fista():
    X, y = regression(60, 60)
    y[:10] += 50
    f, g = fr.losses.Huber(X, y, delta=0.5), fr.convex.L1(0.05)
    reference = fr.solve(fr.Composite(f, g), jnp.zeros(60), fr.solvers.FISTA(), tol=1e-10, max_steps=200_000)
    np.testing.assert_allclose(solve(f, g, 60).x, reference.x, atol=1e-6)


def test_weights_with_zeros_leave_columns_unpenalised():
    X, y = regression(80, 40)
    X[:, 0] = 1
    y += 3
    weight = np.full(40, 0.1)
    weight[0] = 0
    x = solve(fr.losses.Squared(X, y), fr.convex.L1(weight), 40).x
    reference = Lasso(alpha=0.1, tol=1e-14, max_iter=1_000_000).fit(X[:, 1:], y)
    np.testing.assert_allclose(x[0], reference.intercept_, atol=1e-6)
    np.testing.assert_allclose(x[1:], reference.coef_, atol=1e-6)


def test_sample_weights_are_repeated_rows():
    X, y = regression(50, 60)
    counts = np.random.default_rng(1).integers(0, 4, 50)
    weighted = fr.losses.Squared(X, y, sample_weight=counts * 50 / counts.sum())
    repeated = fr.losses.Squared(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    g = fr.convex.L1(0.05)
    np.testing.assert_allclose(solve(weighted, g, 60).x, solve(repeated, g, 60).x, atol=1e-9)


def test_duplicate_and_zero_columns():
    X, y = regression(60, 25)
    X = np.hstack([X, X, np.zeros((60, 5))])
    weight = largest_weight(X, y) / 10
    x = np.asarray(solve(fr.losses.Squared(X, y), fr.convex.L1(weight), 55, x0=jnp.ones(55)).x)
    half = np.asarray(solve(fr.losses.Squared(X[:, :25], y), fr.convex.L1(weight), 25).x)
    # only the sum over a pair is determined
    np.testing.assert_allclose(x[:25] + x[25:50], half, atol=1e-9)
    np.testing.assert_array_equal(x[50:], 0)


def test_equal_scores_beyond_the_smallest_set():
    x = solve(fr.losses.Squared(10 * np.eye(50), np.ones(50)), fr.convex.L1(0.1), 50).x
    # separable: each coordinate is the soft threshold of 0.1 by 0.05
    np.testing.assert_allclose(x, np.full(50, 0.1 - 0.05), atol=1e-12)


# ------------------------------------------------------------------ sparse designs


@pytest.mark.parametrize(
    ("loss", "full_column"),
    [(fr.losses.Squared, False), (fr.losses.Squared, True), (fr.losses.Huber, False)],
    ids=["squared", "full-column", "huber"],
)
def test_sparse_is_dense(loss, full_column):
    X, y = regression(400, 60, density=0.02)
    if full_column:
        X[:, 7] = 1
    sample_weight = np.random.default_rng(2).uniform(0.5, 2, 400)
    g = fr.convex.L1(largest_weight(X, y) / 20)
    a = solve(loss(X, y, sample_weight=sample_weight), g, 60)
    b = solve(loss(scipy.sparse.csr_matrix(X), y, sample_weight=sample_weight), g, 60)
    np.testing.assert_allclose(a.x, b.x, atol=1e-8)


def test_sparse_design_made_under_jit():
    X, y = regression(100, 60, density=0.05)
    g = fr.convex.L1(0.01)

    @jax.jit
    def under_jit(data, indices, y):
        f = fr.losses.Squared(BCOO((data, indices), shape=(100, 60)), y)
        return fr.solve(fr.Composite(f, g), jnp.zeros(60), SMALL, tol=1e-11).x

    S = BCOO.fromdense(jnp.asarray(X))
    np.testing.assert_allclose(
        under_jit(S.data, S.indices, jnp.asarray(y)), solve(fr.losses.Squared(X, y), g, 60).x, atol=1e-8
    )


@pytest.mark.parametrize("m", [3, BLOCK, 2 * BLOCK + 5])
def test_columns_are_those_of_the_matrix(m):
    X, y = regression(900, 200, density=0.02)
    padded = BCOO.fromdense(jnp.asarray(X), nse=int((X != 0).sum()) + 9)
    kinds = (
        (fr.losses.Squared(X, y), DenseColumns),
        (fr.losses.Squared(padded, y), SparseColumns),
        (fr.losses.Squared(padded, y).sampled(jnp.arange(900)), DenseColumns),
    )
    rng = np.random.default_rng(3)
    size = m - 1
    which = np.sort(rng.choice(200, m, replace=False))
    which[-1] = 200
    A = np.hstack([X, np.zeros((900, 1))])[:, which]
    v, u = rng.standard_normal(m) * (np.arange(m) < size), rng.standard_normal(900)
    for f, kind in kinds:
        C = take_columns(f, jnp.asarray(which))
        assert isinstance(C, kind)
        assert C.shape == (900, m)
        np.testing.assert_allclose(C.times(jnp.asarray(v), jnp.asarray(size)), A @ v, atol=1e-12)
        np.testing.assert_allclose(
            C.correlate(jnp.asarray(u), jnp.asarray(size))[:size], (A.T @ u)[:size], atol=1e-12
        )
        np.testing.assert_allclose(C.add(jnp.asarray(u), jnp.asarray(1), 2.0), u + 2 * A[:, 1], atol=1e-12)
        partial = jnp.sum(C.entries(jnp.asarray(1)) * C.rows(jnp.asarray(1), jnp.asarray(u)))
        np.testing.assert_allclose(partial, A[:, 1] @ u, atol=1e-12)
        np.testing.assert_allclose(squared_norms(f), (X**2).sum(0), atol=1e-12)


# ------------------------------------------------------------------ as a solver


def test_warm_start_needs_one_step():
    X, y = regression(40, 60)
    f, weight = fr.losses.Squared(X, y), largest_weight(X, y) / 20
    first = solve(f, fr.convex.L1(weight), 60)
    again = solve(f, fr.convex.L1(weight), 60, x0=first.x)
    assert int(again.steps) == 0
    near = solve(f, fr.convex.L1(0.999 * weight), 60, x0=first.x, tol=1e-6)
    assert int(near.steps) == 1
    cold = solve(f, fr.convex.L1(0.999 * weight), 60, tol=1e-6)
    assert int(near.calls.coordinate) < int(cold.calls.coordinate) / 2


def test_float32():
    X, y = regression(40, 60)
    weight = largest_weight(X, y) / 20
    x64 = solve(fr.losses.Squared(X, y), fr.convex.L1(weight), 60).x
    with jax.enable_x64(False):
        f = fr.losses.Squared(X.astype(np.float32), y.astype(np.float32))
        solution = fr.solve(fr.Composite(f, fr.convex.L1(weight)), jnp.zeros(60), SMALL)
        assert solution.x.dtype == jnp.float32
        assert bool(solution.status.converged)
        below = fr.solve(fr.Composite(f, fr.convex.L1(weight)), jnp.zeros(60), SMALL, tol=1e-12)
    # the default tolerance is 3e-4 in float32; the restricted Hessian's least eigenvalue is above 0.05
    np.testing.assert_allclose(solution.x, x64, atol=1e-2)
    assert below.status.name == "stalled"
    np.testing.assert_allclose(below.x, x64, atol=1e-4)


def test_vmap_over_weights_equals_the_loop():
    X, y = regression(80, 120)
    f = fr.losses.Squared(X, y)
    weights = largest_weight(X, y) / jnp.array([2.0, 8.0, 40.0])

    def of(weight):
        return fr.solve(fr.Composite(f, fr.convex.L1(weight)), jnp.zeros(120), SMALL, tol=1e-10)

    batch = jax.vmap(of)(weights)
    for i, weight in enumerate(weights):
        alone = of(weight)
        np.testing.assert_allclose(batch.x[i], alone.x, atol=1e-9)
        assert int(batch.steps[i]) == int(alone.steps)
        assert int(batch.calls.gradient[i]) == int(alone.calls.gradient)
        assert abs(int(batch.calls.coordinate[i]) - int(alone.calls.coordinate)) <= 0.2 * int(
            alone.calls.coordinate
        )


def test_derivative_by_the_weight_is_that_of_the_closed_form():
    X, y = regression(40, 60)
    f, weight = fr.losses.Squared(X, y), largest_weight(X, y) / 5

    def of(weight):
        return fr.solve(fr.Composite(f, fr.convex.L1(weight)), jnp.zeros(60), SMALL, tol=1e-11).x

    x = np.asarray(of(weight))
    S = x != 0
    # on the support X_S^T (X_S x_S - y) / n + weight sign(x_S) = 0
    expected = np.zeros(60)
    expected[S] = np.linalg.solve(X[:, S].T @ X[:, S] / 40, -np.sign(x[S]))
    np.testing.assert_allclose(jax.jacobian(of)(weight), expected, rtol=1e-5, atol=1e-7)


def test_calls_count_the_work():
    # One working set of all columns, orthogonal: the first epoch solves it, and its look says so.
    X = np.sqrt(20) * np.eye(20)
    problem = fr.Composite(fr.losses.Squared(X, np.arange(20.0)), fr.convex.L1(0.01))
    solver = CoordinateDescent()
    state = solver.init(problem, jnp.zeros(20), key=jax.random.key(0))
    assert all(int(v) == 0 for v in state.calls.asdict().values())
    state = jax.jit(solver.step)(problem, state, key=jax.random.key(0))
    # the first column's target is zero, so it is not in the set: 19 updates and 19 partial gradients
    used = {k: int(v) for k, v in state.calls.asdict().items() if v}
    assert used == {"gradient": 2, "coordinate": 2 * 19}


def test_few_updates_of_columns_outside_the_support():
    X, y = regression(200, 1000)
    weight = largest_weight(X, y) / 5
    solution = solve(
        fr.losses.Squared(X, y), fr.convex.L1(weight), 1000, CoordinateDescent(smallest=64), tol=1e-8
    )
    # less than a dozen epochs over all columns
    assert int(solution.calls.coordinate) < 12 * 1000


# ------------------------------------------------------------------ what it cannot take


@pytest.mark.parametrize(
    ("f", "g", "message"),
    [
        (
            lambda x: jnp.sum(x**2),
            fr.convex.L1(1.0),
            "needs linear model, which this Composite does not offer",
        ),
        (fr.losses.Squared(np.eye(3), np.ones(3)), fr.convex.L2(1.0), "needs separable"),
        (
            fr.losses.Poisson(np.eye(3), np.ones(3)),
            fr.convex.L1(1.0),
            "loss of bounded curvature, which Poisson",
        ),
        (
            fr.losses.Squared(np.eye(3), np.ones((3, 2))),
            fr.convex.L1(1.0),
            r"x of shape \(p,\); this Squared",
        ),
        (
            fr.losses.Multinomial(np.eye(3), np.arange(3)),
            fr.convex.L1(1.0),
            r"this Multinomial needs a matrix",
        ),
    ],
    ids=["function", "group", "poisson", "targets", "classes"],
)
def test_what_it_cannot_take_is_named(f, g, message):
    with pytest.raises(TypeError, match=f"CoordinateDescent cannot take this problem: it .*{message}"):
        fr.solve(fr.Composite(f, g), jnp.zeros(3), CoordinateDescent())


def test_smallest_is_checked():
    with pytest.raises(ValueError, match="smallest must be at least 1, got 0"):
        CoordinateDescent(smallest=0)


def test_nan_in_the_data_is_reported():
    X, y = regression(30, 20)
    y[3] = np.nan
    solution = fr.solve(fr.Composite(fr.losses.Squared(X, y), fr.convex.L1(0.1)), jnp.zeros(20), SMALL)
    assert solution.status.name == "nonfinite"
    assert np.all(np.isfinite(solution.x))
