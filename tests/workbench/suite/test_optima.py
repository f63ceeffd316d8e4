"""Each stored optimum is the objective at the solution of a peer that shares no code with Frechet."""

import itertools
from typing import Any, cast

import clarabel
import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn import linear_model

import frechet as fr
from frechet.core import tree
from frechet.problems import Bilevel, BilevelPoint, Inclusion, KKTPoint
from frechet.workbench import data, suite
from frechet.workbench.suite.multi_block import coarse_digits
from tests.workbench.suite import transport_peers


def l1_logistic():
    """scikit-learn's liblinear: coordinate descent with Newton models, C the inverse of the sum's weight."""
    X, y = data.breast_cancer()
    peer = linear_model.LogisticRegression(
        l1_ratio=1.0,
        C=1 / (0.01 * len(y)),
        fit_intercept=False,
        solver="liblinear",
        tol=1e-11,
        max_iter=10_000,
        random_state=0,
    )
    return peer.fit(X, y).coef_[0]


def l2_logistic():
    """scikit-learn's Newton method."""
    X, y = data.breast_cancer()
    peer = linear_model.LogisticRegression(
        C=1 / (0.01 * len(y)), fit_intercept=False, solver="newton-cholesky", tol=1e-12
    )
    return peer.fit(X, y).coef_[0]


def multinomial():
    """scikit-learn's Newton method."""
    X, y = data.digits()
    peer = linear_model.LogisticRegression(
        C=1 / (1e-3 * len(y)), fit_intercept=False, solver="newton-cg", tol=1e-10, max_iter=1000
    )
    return peer.fit(X, y).coef_.T


def lasso():
    """scikit-learn's coordinate descent, to a duality gap of 1e-15."""
    X, y = data.diabetes()
    return linear_model.Lasso(alpha=0.05, fit_intercept=False, tol=1e-15, max_iter=100_000).fit(X, y).coef_


def elastic_net():
    """scikit-learn's coordinate descent; alpha times l1_ratio is the l1 weight."""
    X, y = data.diabetes()
    peer = linear_model.ElasticNet(alpha=0.1, l1_ratio=0.5, fit_intercept=False, tol=1e-15, max_iter=100_000)
    return peer.fit(X, y).coef_


def robust_regression():
    """The quadratic piece that holds the solution: rows inside by squares, rows outside by their sign."""
    X, y = data.diabetes()
    w = np.linalg.lstsq(X, y)[0]
    while True:
        r = X @ w - y
        inside = np.abs(r) <= 0.5
        pull = 0.5 * X[~inside].T @ np.sign(r[~inside])
        new = np.linalg.solve(X[inside].T @ X[inside], X[inside].T @ y[inside] - pull)
        if np.array_equal(inside, np.abs(X @ new - y) <= 0.5):
            return new
        w = new


def nnls():
    """SciPy's active set method."""
    X, _ = data.digits()
    y = X[:, 36]
    X = np.delete(X, 36, axis=1)
    X = X[:, X.max(axis=0) > X.min(axis=0)]
    return scipy.optimize.nnls(X / np.sqrt(np.mean(X**2, axis=0)), y)[0]


def group_lasso():
    """scikit-learn's multi-task lasso."""
    X, digit = data.digits()
    Y = np.eye(10)[digit]
    peer = linear_model.MultiTaskLasso(alpha=0.05, fit_intercept=False, tol=1e-14, max_iter=100_000)
    return peer.fit(data.standardised(X), Y - Y.mean(axis=0)).coef_.T


def portfolio():
    """Every choice of shares held, by its normal equations; the best without a negative weight."""
    returns = data.monthly_returns()
    covariance = np.cov(returns.T, bias=True)
    best = (np.inf, np.zeros(0))
    for size in range(1, 8):
        for held in map(list, itertools.combinations(range(7), size)):
            direction = np.linalg.solve(covariance[np.ix_(held, held)], np.ones(size))
            w = np.zeros(7)
            w[held] = direction / direction.sum()
            if (w >= 0).all():
                best = min(best, (w @ covariance @ w, w), key=lambda pair: pair[0])
    return best[1]


def tv_denoising():
    """Jumps as a lasso on steps, by scikit-learn's least angle regression, which follows the path exactly."""
    row = data.camera_row()
    noisy = row + 0.1 * np.random.default_rng(0).normal(size=row.shape)
    n = len(row)
    steps = np.tril(np.ones((n, n)))[:, 1:]
    peer = linear_model.LassoLars(alpha=0.2 / n, fit_intercept=True, max_iter=5000)
    return peer.fit(steps, noisy).predict(steps)


def curve(name, x0):
    """SciPy's MINPACK Levenberg-Marquardt."""
    problem: Any = suite.load(name).problem
    residual, jacobian = jax.jit(problem.residual), cast(Any, jax.jit(jax.jacobian(problem.residual)))
    tolerances = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
    return scipy.optimize.least_squares(residual, x0, jacobian, method="lm", **tolerances).x


def quadratic_program(name):
    """Clarabel's solution, then the normal equations of the bounds and rows that it found active."""
    program: Any = suite.load(name).problem
    n = len(program.q)
    (A, b), (G, h) = program.equations(), program.inequalities()
    A, b = np.asarray(A), np.asarray(b)
    G, h = (np.zeros((0, n)), np.zeros(0)) if G is None else (np.asarray(G), np.asarray(h))
    P, q = np.asarray(program.P), np.asarray(program.q)
    lower, upper = (np.asarray(v) for v in program.g.bounds(program.q))
    below, above = np.isfinite(lower), np.isfinite(upper)
    rows = np.vstack([A, G, -np.eye(n)[below], np.eye(n)[above]])
    right = np.concatenate([b, h, -lower[below], upper[above]])
    peer: Any = clarabel
    cones = [peer.ZeroConeT(len(b)), peer.NonnegativeConeT(len(right) - len(b))]
    settings = peer.DefaultSettings()
    settings.verbose = False
    sparse = scipy.sparse.csc_matrix
    found = peer.DefaultSolver(sparse(np.triu(P)), q, sparse(rows), right, cones, settings).solve()
    active = np.asarray(found.z) > np.asarray(found.s)
    active[: len(b)] = True
    C, d = rows[active], right[active]
    system = np.block([[P, C.T], [C, np.zeros((len(d), len(d)))]])
    solution = np.linalg.solve(system, np.concatenate([-q, d]))
    multipliers = np.zeros(len(right))
    multipliers[active] = solution[n:]
    m, k = len(b), len(h)
    dual = multipliers[:m], multipliers[m : m + k] if k else None
    return KKTPoint(np.clip(solution[:n], lower, upper), *dual)


def polished(x, gradient, hessian, constraints, jacobian, curvature):
    """Newton's method on the equations of a minimum with these constraints active, from near it."""
    y = np.linalg.lstsq(jacobian(x).T, -gradient(x))[0]
    for _ in range(5):
        A = jacobian(x)
        K = np.block([[hessian(x) + curvature(y), A.T], [A, np.zeros((len(y), len(y)))]])
        step = np.linalg.solve(K, -np.concatenate([gradient(x) + y @ A, constraints(x)]))
        x, y = x + step[: len(x)], y + step[len(x) :]
    return x, y


def sequential(f, gradient, x0, constraints, jacobian, bounds=None):
    """SciPy's SLSQP, with an equation and an inequality, the last of ``constraints``, at most 0."""
    parts = [
        {"type": "eq", "fun": lambda x: constraints(x)[0], "jac": lambda x: jacobian(x)[0]},
        {"type": "ineq", "fun": lambda x: -constraints(x)[1], "jac": lambda x: -jacobian(x)[1]},
    ]
    options: Any = {"ftol": 1e-15, "maxiter": 1000}
    return scipy.optimize.minimize(
        f, x0, jac=gradient, method="SLSQP", bounds=bounds, constraints=parts, options=options
    ).x


def risk_budget():
    """SLSQP, then Newton's method in the shares that it holds."""
    returns = data.monthly_returns()
    mean, covariance = returns.mean(axis=0), np.cov(returns.T, bias=True)

    def rest(held):
        m, C = mean[held], covariance[np.ix_(held, held)]
        return (
            lambda w: -m,
            lambda w: np.zeros_like(C),
            lambda w: np.array([w.sum() - 1, w @ C @ w - 30]),
            lambda w: np.stack([np.ones_like(w), 2 * C @ w]),
            lambda y: 2 * y[1] * C,
        )

    gradient, _, constraints, jacobian, _ = rest(np.arange(7))
    found = sequential(
        lambda w: -mean @ w, gradient, np.full(7, 1 / 7), constraints, jacobian, bounds=[(0, None)] * 7
    )
    held = np.flatnonzero(found > 1e-6)
    w = np.zeros(7)
    w[held], y = polished(found[held], *rest(held))
    return KKTPoint(w, *y)


def fair_logistic():
    """SLSQP, then Newton's method with both constraints active."""
    X, y = data.breast_cancer()
    A = X * np.where(y > 0, 1, -1)[:, None]
    n, p = A.shape
    correlation = (X - X.mean(axis=0)).T @ X[:, 0] / n

    def gradient(w):
        return -A.T @ (1 / (1 + np.exp(A @ w))) / n

    def hessian(w):
        s = 1 / (1 + np.exp(A @ w))
        return (A.T * (s * (1 - s))) @ A / n

    constraints = lambda w: np.array([correlation @ w, w @ w - 4])  # noqa: E731
    jacobian = lambda w: np.stack([correlation, 2 * w])  # noqa: E731
    found = sequential(
        lambda w: np.mean(np.logaddexp(0, -A @ w)), gradient, np.full(p, 0.1), constraints, jacobian
    )
    w, y = polished(found, gradient, hessian, constraints, jacobian, lambda y: 2 * y[1] * np.eye(p))
    return KKTPoint(w, *y)


def stationary(value, x0):
    """SciPy's BFGS, then MINPACK's hybrid method on the gradient."""
    found = scipy.optimize.minimize(value, x0, jac=True, method="BFGS", options={"gtol": 1e-6})
    options: Any = {"xtol": 1e-14}
    return scipy.optimize.root(lambda x: value(x)[1], found.x, method="hybr", options=options).x


def one_vs_rest():
    """Newton's method for ten classifiers at once, the hypergradient by their normal equations."""
    train, train_signs, valid, valid_signs = coarse_digits()
    A, B = train_signs[..., None] * train, valid_signs[..., None] * valid
    lower = np.zeros((10, 16))

    def value(x):
        ridge, step = np.exp(x), np.ones(1)
        while np.abs(step).max() > 1e-12:
            p = 1 / (1 + np.exp(np.einsum("bnd,bd->bn", A, lower)))
            slope = -np.einsum("bnd,bn->bd", A, p) / len(train) + ridge * lower
            H = np.einsum("bnd,bn,bne->bde", A, p * (1 - p), A) / len(train) + np.diag(ridge)
            step = np.linalg.solve(H, slope[..., None])[..., 0]
            lower[:] -= step
        margins = np.einsum("bnd,bd->bn", B, lower)
        pull = -np.einsum("bnd,bn->bd", B, 1 / (1 + np.exp(margins))) / len(valid)
        adjoint = np.linalg.solve(H, pull[..., None])[..., 0]
        loss = np.logaddexp(0, -margins).mean() + 1e-3 * np.sum((x + 3) ** 2)
        return loss, 2e-3 * (x + 3) - np.mean(ridge * lower * adjoint, axis=0)

    x = stationary(value, np.full(16, -3.0))
    value(x)
    return BilevelPoint(x, lower)


def partial_auc():
    """The lower problems in closed form."""
    X, y = data.breast_cancer()
    D = X[y == 0][:50, None] - X[y == 1][None, :100]

    def value(w):
        weights = np.exp(np.logaddexp(0, -D @ w))
        means = weights.mean(axis=1)
        pull = (weights / means[:, None] / (1 + np.exp(D @ w))).ravel() / weights.size
        return np.mean(np.log(means)) + 0.005 * w @ w, 0.01 * w - pull @ D.reshape(-1, 30)

    w = stationary(value, np.zeros(30))
    return BilevelPoint(w, np.log(np.exp(np.logaddexp(0, -D @ w)).mean(axis=1)))


def bilevel_quadratic():
    """Normal equations of the hyperobjective's own terms: the lower level moves with x linearly."""
    problem: Any = suite.load("bilevel-quadratic").problem
    (u, w, c, d, a, b), (v, _, e, h, p, _) = (
        jax.tree.map(np.asarray, part.data) for part in (problem.outer, problem.inner)
    )
    moves = np.linalg.solve(v.T @ v, np.column_stack([-h.T @ e, -p.sum(axis=0)]))
    J, j = moves[:, :-1], moves[:, -1]
    # terms are (u.(Jx + j))^2 / 2 + (w.x)^2 / 2 + (c.x)(d.(Jx + j)) + a.(Jx + j) + b.x
    cross = c.T @ d @ J
    H = J.T @ u.T @ u @ J + w.T @ w + cross + cross.T
    x = -np.linalg.solve(H, (u @ J).T @ (u @ j) + c.T @ (d @ j) + a.sum(axis=0) @ J + b.sum(axis=0))
    return BilevelPoint(x, J @ x + j)


def bilevel_equation():
    """All three blocks constant: with y_1 = x + 1 and y_2 = -(x + y_1) the rest is least at -0.3."""
    x = -0.3
    blocks = [np.full(100, v) for v in (x, x + 1, -2 * x - 1)]
    return BilevelPoint(blocks[0], (blocks[1], blocks[2]), np.array(-np.sqrt(300)))


def energy_distance():
    """The middle of each of as many cells."""
    return (np.arange(20) + 0.5) / 20


def tensor_decomposition():
    """The components that the tensor was made of."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]


def gvi_gaussian():
    """The target itself."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    return fr.Gaussian(rng.normal(size=10), Q @ np.diag(1 / np.geomspace(5e-3, 1, 10)) @ Q.T)


def gvi_breast_cancer():
    """The stationarity conditions as a fixed point, damped by a half."""
    X, y = data.breast_cancer()
    A = X * (2 * y - 1)[:, None]
    t, w = np.polynomial.hermite_e.hermegauss(40)
    w = w / w.sum()
    m, P = np.zeros(30), A.T @ A / 4 + np.eye(30)
    for _ in range(120):
        spread = np.sqrt(np.sum(np.linalg.solve(P, A.T) * A.T, axis=0))
        s = 1 / (1 + np.exp((A @ m)[:, None] + spread[:, None] * t))
        slope = m - A.T @ (s @ w)
        P = 0.5 * P + 0.5 * ((A.T * ((s * (1 - s)) @ w)) @ A + np.eye(30))
        m = m - 0.5 * np.linalg.solve(P, slope)
    return fr.Gaussian(m, np.linalg.inv(P))


PEERS = {
    "bilevel-equation": bilevel_equation,
    "bilevel-quadratic": bilevel_quadratic,
    "curve-misra1a": lambda: curve("curve-misra1a", [0.5, 5.0]),
    "curve-thurber": lambda: curve("curve-thurber", np.ones(7)),
    "elastic-net": elastic_net,
    "energy-distance": energy_distance,
    "fair-logistic": fair_logistic,
    "group-lasso": group_lasso,
    "gvi-breast-cancer": gvi_breast_cancer,
    "gvi-gaussian": gvi_gaussian,
    "interaction-energy": lambda: np.full((50, 2), np.log(2.0)),
    "l1-logistic": l1_logistic,
    "l2-logistic": l2_logistic,
    "lasso": lasso,
    "markowitz": lambda: quadratic_program("markowitz"),
    "mpc": lambda: quadratic_program("mpc"),
    "multinomial": multinomial,
    "nnls": nnls,
    "one-vs-rest": one_vs_rest,
    "partial-auc": partial_auc,
    "portfolio": portfolio,
    "risk-budget": risk_budget,
    "robust-regression": robust_regression,
    "svm-dual": lambda: quadratic_program("svm-dual"),
    "tensor-decomposition": tensor_decomposition,
    "tv-denoising": tv_denoising,
    **transport_peers.PEERS,
}


@pytest.mark.parametrize("name", PEERS)
def test_optimum_is_the_objective_at_the_peers_solution(name):
    with jax.enable_x64(True):
        case = suite.load(name)
        assert case.optimum is not None
        x = jax.tree.map(jnp.asarray, PEERS[name]())
        problem = case.problem
        at = eqx.filter_jit(lambda x: (problem.objective(x), tree.norm(problem.optimality(x))))
        (_, at_start), (objective, at_end) = at(case.x0), at(x)
        # the peers stop at errors below 1e-10 in x, which a flat bottom squares: rounding is what is left
        np.testing.assert_allclose(objective, case.optimum, rtol=1e-12)
        assert at_end <= 1e-9 * at_start


@pytest.mark.parametrize(
    "name, certified", [("curve-misra1a", 1.2455138894e-01), ("curve-thurber", 5.6427082397e03)]
)
def test_curve_optima_are_certified(name, certified):
    # eleven digits are certified
    np.testing.assert_allclose(2 * (suite.load(name).optimum or 0), certified, rtol=1e-10)


def test_mlp_optimum_is_below_what_a_run_reaches_and_near_it():
    """Local minima of SciPy's L-BFGS lie within 1% of one another; which one a run ends in is chance."""
    with jax.enable_x64(True):
        case = suite.load("mlp")
        x0, unravel = jax.flatten_util.ravel_pytree(case.x0)
        objective = jax.jit(jax.value_and_grad(lambda x: case.problem.objective(unravel(x))))
        found = scipy.optimize.minimize(
            objective,
            x0,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 10_000, "ftol": 1e-12},
        )
    assert case.optimum is not None
    assert case.optimum <= found.fun <= 1.02 * case.optimum


def test_every_problem_of_the_suite_has_its_optimum_checked():
    cases = [suite.load(n) for n in suite.names()]
    # where a lower level makes the objective nonconvex it may be unknown; operators have none
    known = [c for c in cases if c.optimum is not None or not isinstance(c.problem, Bilevel | Inclusion)]
    assert {*PEERS, "mlp"} == {c.name for c in known if c.problem.testable}
