"""JAXopt's smooth minimisation and least squares, against closed forms, SciPy and scikit-learn."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from sklearn import datasets, linear_model

from frechet.compat import jaxopt
from frechet.core import lift

A = jnp.array([[3.0, 1.0], [1.0, 2.0]])  # a function over NumPy arrays, which may change, is traced again


def quadratic(x, b, scale=1.0):
    return scale * (0.5 * x @ A @ x - b @ x)


def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


SMOOTH = {
    "GradientDescent": lambda fun, **k: jaxopt.GradientDescent(fun, **k),
    "BFGS": lambda fun, **k: jaxopt.BFGS(fun, **k),
    "LBFGS": lambda fun, **k: jaxopt.LBFGS(fun, **k),
    "NonlinearCG": lambda fun, **k: jaxopt.NonlinearCG(fun, **k),
    "OptaxSolver": lambda fun, **k: jaxopt.OptaxSolver(fun, optax.sgd(0.1), **k),
    "ArmijoSGD": lambda fun, **k: jaxopt.ArmijoSGD(fun, **k),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_they_end_at_the_minimiser_and_are_differentiated_there(name):
    with jax.enable_x64(True):
        b, tol = jnp.array([1.0, -2.0]), 1e-6
        solver = SMOOTH[name](quadratic, tol=tol, maxiter=1000, implicit_diff=True)
        x, state = solver.run(jnp.zeros(2), b, scale=2.0)
        assert state.error <= tol and state.iter_num > 0
        assert solver.l2_optimality_error(x, b, scale=2.0) <= 2 * tol
        # The error is the gradient 2 (A x - b), so x is off by at most tol / (2 lambda_min), lambda_min > 1.
        np.testing.assert_allclose(x, np.linalg.solve(np.asarray(A, float), b), atol=tol)
        jacobian = jax.jacrev(lambda b: solver.run(jnp.zeros(2), b, scale=2.0).params)(b)
        np.testing.assert_allclose(jacobian, np.linalg.inv(np.asarray(A, float)), atol=1e-8)


def _compiled(call):
    """The XLA compilations during a call."""
    seen = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return seen


@pytest.mark.parametrize("name", SMOOTH)
def test_a_second_run_with_the_same_shapes_neither_traces_nor_compiles(name):
    def run(k):
        solver = SMOOTH[name](quadratic, tol=1e-3, maxiter=20)
        start, b = jax.device_put((np.zeros(2, np.float32), np.array([1.0, k], np.float32)))
        jax.block_until_ready(solver.run(start, b))

    run(0.0)
    before = lift.traces()
    assert _compiled(lambda: run(1.0)) == []
    assert lift.traces() == before


def test_a_fresh_lambda_over_fresh_data_compiles_nothing():
    def run(k):
        b = jax.device_put(np.array([1.0, k], np.float32))
        jax.block_until_ready(jaxopt.LBFGS(lambda x: quadratic(x, b), maxiter=20).run(jnp.zeros(2)))

    run(0.0)
    assert _compiled(lambda: run(1.0)) == []


@pytest.mark.parametrize("solver", ["BFGS", "LBFGS"])
def test_rosenbrock_as_scipy(solver, precision):
    tol = 1e-3 if precision == jnp.float32 else 1e-7
    x, state = getattr(jaxopt, solver)(rosenbrock, tol=tol).run(jnp.zeros(4, precision))
    peer = scipy.optimize.minimize(
        lambda x: float(rosenbrock(jnp.asarray(x))),
        np.zeros(4),
        jac=lambda x: np.asarray(jax.grad(rosenbrock)(jnp.asarray(x)), float),
        method="BFGS",
    )
    assert x.dtype == precision and state.error <= tol
    np.testing.assert_allclose(x, peer.x, atol=2e3 * tol)  # the least curvature there is about 1e-3
    assert state.num_fun_eval <= 2 * peer.nfev


@pytest.mark.parametrize("method", ["polak-ribiere", "fletcher-reeves", "hestenes-stiefel"])
def test_conjugate_directions_on_a_quadratic(method):
    # With searches this close n iterations of conjugate gradients do what thousands of gradient steps would.
    with jax.enable_x64(True):
        d = jnp.logspace(0, 3, 6)
        search = jaxopt.ZoomLineSearch(lambda x: x, c1=1e-6, c2=1e-8, c3=0.0, maxiter=60)
        solver = jaxopt.NonlinearCG(
            lambda x: 0.5 * jnp.sum(d * (x - 1) ** 2), method=method, linesearch=search, tol=1e-4, maxiter=9
        )
        x, state = solver.run(jnp.zeros(6))
        assert state.error <= 1e-4 and state.iter_num <= 9
        np.testing.assert_allclose(x, np.ones(6), atol=1e-4)


def test_fixed_steps_follow_the_recursion_of_bfgs():
    B, x, H = np.asarray(A, float), np.zeros(2), np.eye(2)
    gradient = lambda x: B @ x - 1  # noqa: E731
    g = gradient(x)
    for _ in range(6):
        ahead = x - 0.3 * H @ g
        s, y = ahead - x, gradient(ahead) - g
        V = np.eye(2) - np.outer(s, y) / (s @ y)
        x, g, H = ahead, gradient(ahead), V @ H @ V.T + np.outer(s, s) / (s @ y)
    with jax.enable_x64(True):
        settings = {"stepsize": 0.3, "maxiter": 6, "tol": 0.0}
        for solver in (
            jaxopt.BFGS(quadratic, **settings),
            jaxopt.LBFGS(quadratic, use_gamma=False, **settings),
        ):
            found, state = solver.run(jnp.zeros(2), jnp.ones(2))
            np.testing.assert_allclose(found, x, rtol=1e-9)
            if isinstance(solver, jaxopt.BFGS):
                np.testing.assert_allclose(state.H, H, rtol=1e-7)


def test_pairs_are_where_the_iteration_number_says_and_give_the_inverse_hessian():
    from frechet.compat.jaxopt.lbfgs import inv_hessian_product

    with jax.enable_x64(True):
        d = jnp.array([1.0, 2.0, 5.0])
        solver = jaxopt.LBFGS(
            lambda x: 0.5 * jnp.sum(d * (x["a"] - 1) ** 2), history_size=3, maxiter=5, tol=0.0
        )
        x, state = {"a": jnp.zeros(3)}, None
        state, path = solver.init_state(x), [np.zeros(3)]
        for _ in range(5):
            x, state = solver.update(x, state)
            path.append(np.asarray(x["a"]))
        for k in (2, 3, 4):
            np.testing.assert_allclose(state.s_history["a"][k % 3], path[k + 1] - path[k], atol=1e-15)
            np.testing.assert_allclose(state.y_history["a"][k % 3], d * (path[k + 1] - path[k]), atol=1e-13)
        newest = jax.tree.map(lambda v: v[4 % 3], (state.s_history, state.y_history))
        product = inv_hessian_product(
            newest[1], state.s_history, state.y_history, state.rho_history, state.gamma, start=5 % 3
        )
        np.testing.assert_allclose(product["a"], newest[0]["a"], rtol=1e-6)  # the secant equation

        # A warm start keeps the pairs.
        again = solver.init_state(jaxopt.OptStep(x, state))
        np.testing.assert_array_equal(again.s_history["a"], state.s_history["a"])


def test_complex_unknowns_are_pairs_of_real_ones():
    W = np.array([[1, -2], [3, 4], [-4 + 2j, 5 - 3j], [-2 - 2j, 6]])
    loss = lambda z: jnp.sum(jnp.abs(W @ z - 1) ** 2)  # noqa: E731
    with jax.enable_x64(True):
        best = np.linalg.lstsq(W, np.ones(4), rcond=None)[0]
        for search in ("zoom", "backtracking"):
            for solver in (jaxopt.LBFGS, jaxopt.NonlinearCG):
                z = solver(loss, tol=1e-9, linesearch=search, maxiter=300).run(jnp.array([1 - 1j, 1j])).params
                np.testing.assert_allclose(z, best, atol=1e-8)


@pytest.mark.parametrize("given", [True, "function"])
def test_a_gradient_that_the_user_gives_is_the_one_that_is_used(given):
    # Of a function whose own derivative says nothing.
    def both(x, b):
        return (jnp.round(quadratic(x, b) * 1e4) / 1e4, x.sum()), A @ x - b

    with jax.enable_x64(True):
        fun, extra = (both, True) if given is True else ((lambda x, b: both(x, b)[0]), both)
        solver = jaxopt.LBFGS(fun, value_and_grad=extra, has_aux=True, tol=1e-2)
        x, state = solver.run(jnp.zeros(2), jnp.ones(2))
        assert state.error <= 1e-2
        np.testing.assert_allclose(x, np.linalg.solve(np.asarray(A, float), np.ones(2)), atol=1e-2)
        np.testing.assert_allclose(state.aux, x.sum())


def test_without_jit_a_function_may_be_numpys_and_is_called_as_often_as_counted():
    called = []

    def fun(x):
        called.append(1)
        x, B = np.asarray(x), np.asarray(A)
        return 0.5 * x @ B @ x - x.sum(), B @ x - 1

    x, state = jaxopt.BFGS(fun, value_and_grad=True, jit=False, maxiter=5).run(jnp.zeros(2))
    assert len(called) == state.num_fun_eval == state.num_grad_eval
    np.testing.assert_allclose(x, np.linalg.solve(np.asarray(A, float), np.ones(2)), atol=1e-3)


@pytest.mark.parametrize("search", ["zoom", "backtracking", "hager-zhang"])
def test_unrolled_iterations_are_differentiated_through_their_searches(search):
    with jax.enable_x64(True):
        b = jnp.array([1.0, -2.0])
        solver = jaxopt.LBFGS(quadratic, implicit_diff=False, linesearch=search, tol=0.0, maxiter=20)
        jacobian = jax.jacrev(lambda b: solver.run(jnp.zeros(2), b).params)(b)
        np.testing.assert_allclose(jacobian, np.linalg.inv(np.asarray(A, float)), atol=1e-5)


def test_settings_that_nothing_uses_are_told_and_bad_ones_refused():
    with pytest.warns(UserWarning, match="geodesic"):
        jaxopt.LevenbergMarquardt(lambda x: x, geodesic=True)
    for bad in ({"linesearch": "golden"}, {"linesearch_init": "min"}):
        with pytest.raises(ValueError, match="must be"):
            jaxopt.BFGS(rosenbrock, **bad)
    with pytest.raises(ValueError, match="aggressiveness"):
        jaxopt.ArmijoSGD(rosenbrock, aggressiveness=1.5)
    with pytest.raises(AttributeError, match="Adam"):
        jaxopt.Adam  # noqa: B018


@pytest.mark.parametrize("bounds", [((-1.0, -0.5), (0.5, 3.0)), ((1.5, -2.0), (3.0, 0.5))])
def test_bounds_as_scipy(bounds):
    with jax.enable_x64(True):
        lower, upper = (jnp.array(b) for b in bounds)
        solver = jaxopt.LBFGSB(rosenbrock, tol=1e-8)
        x, state = solver.run(jnp.zeros(2), bounds=(lower, upper))
        peer = scipy.optimize.minimize(
            lambda x: float(rosenbrock(jnp.asarray(x))),
            np.zeros(2),
            jac=lambda x: np.asarray(jax.grad(rosenbrock)(jnp.asarray(x))),
            bounds=list(zip(*bounds, strict=True)),
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        assert state.error <= 1e-8 and not state.failed_linesearch
        np.testing.assert_allclose(x, peer.x, atol=1e-6)
        # On an active bound the solution moves with it.
        moved = jax.grad(lambda u: solver.run(jnp.zeros(2), (lower, u)).params[0])(upper)
        h = 1e-5
        ends = [solver.run(jnp.zeros(2), (lower, upper + s * h * jnp.eye(2)[1])).params[0] for s in (1, -1)]
        np.testing.assert_allclose(moved[1], (ends[0] - ends[1]) / (2 * h), atol=1e-5)


# ------------------------------------------------------------------ line searches


@pytest.mark.parametrize("condition", ["armijo", "goldstein", "wolfe", "strong-wolfe"])
def test_backtracking_ends_where_its_condition_holds(condition, precision):
    x = jnp.array([-1.2, 1.0], precision)
    search = jaxopt.BacktrackingLineSearch(rosenbrock, condition=condition, c1=0.1, maxiter=60)
    step, state = search.run(1.0, x)
    value, gradient = jax.value_and_grad(rosenbrock)(x)
    slope = -gradient @ gradient
    slope_ahead = -jax.grad(rosenbrock)(state.params) @ gradient
    assert state.done and not state.failed and state.error == 0
    np.testing.assert_allclose(state.params, x - step * gradient, rtol=1e-5)
    np.testing.assert_allclose(state.value, rosenbrock(state.params), rtol=1e-4)
    assert state.value <= value + 0.1 * step * slope
    if condition == "goldstein":
        assert state.value >= value + 0.9 * step * slope
    elif condition != "armijo":
        assert slope_ahead >= 0.9 * slope
    before = x - step / 0.8 * gradient
    if condition == "armijo":  # the step before did not satisfy it
        assert rosenbrock(before) > value + 0.1 * step / 0.8 * slope
    assert state.num_fun_eval == 1 + state.iter_num + (condition in ("armijo", "goldstein"))


@pytest.mark.parametrize("search", ["ZoomLineSearch", "HagerZhangLineSearch"])
def test_wolfe_searches_end_where_the_conditions_hold(search, precision):
    x, direction = jnp.array([-1.2, 1.0], precision), jnp.array([1.0, 0.5], precision)
    ls = getattr(jaxopt, search)(rosenbrock)
    step, state = ls.run(1.0, x, descent_direction=direction)
    value, gradient = jax.value_and_grad(rosenbrock)(x)
    ahead = jax.grad(rosenbrock)(x + step * direction)
    assert state.done and not state.failed
    assert rosenbrock(x + step * direction) <= value + ls.c1 * step * (gradient @ direction)
    assert abs(ahead @ direction) <= ls.c2 * abs(gradient @ direction)


def test_a_search_that_cannot_succeed_says_so():
    search = jaxopt.BacktrackingLineSearch(rosenbrock, c1=2.0, maxiter=5)
    _, state = search.run(1.0, jnp.array([-1.2, 1.0]))
    assert state.failed and not state.done and state.error > 0


# ------------------------------------------------------------------ batches of data


def test_stochastic_solvers_interpolate_as_logistic_regression_does():
    X, y = datasets.make_classification(40, 4, n_informative=3, n_redundant=0, random_state=0)
    X = np.asarray(X, np.float32)

    def fun(w, l2reg, data):
        X, y = data
        return jnp.mean(jnp.logaddexp(0.0, (1 - 2 * y) * (X @ w))) + 0.5 * l2reg * w @ w

    peer = linear_model.LogisticRegression(C=1 / (0.1 * 40), fit_intercept=False, tol=1e-8).fit(X, y)
    best = fun(jnp.asarray(peer.coef_[0]), 0.1, (X, y))
    batches = lambda: iter([(X, y)] * 400)  # noqa: E731
    for solver in (
        jaxopt.OptaxSolver(fun, optax.adam(1e-1), maxiter=300),
        jaxopt.PolyakSGD(fun, fun_min=float(best), maxiter=300),
        jaxopt.PolyakSGD(fun, fun_min=float(best), momentum=0.5, variant="SPS+", maxiter=300),
        jaxopt.ArmijoSGD(fun, maxiter=300),
        jaxopt.ArmijoSGD(fun, momentum=0.5, reset_option="conservative", maxiter=300),
    ):
        w, state = solver.run_iterator(jnp.zeros(4, jnp.float32), batches(), l2reg=0.1)
        assert state.iter_num == 300
        np.testing.assert_allclose(w, peer.coef_[0], atol=5e-3)


def test_a_polyak_step_is_the_gap_over_the_squared_slope():
    x = jnp.array([3.0, -4.0])
    solver = jaxopt.PolyakSGD(lambda x: 0.5 * x @ x + 1.0, fun_min=1.0, max_stepsize=10.0)
    ahead, state = solver.update(x, solver.init_state(x))
    assert float(state.stepsize) == pytest.approx(0.5)
    np.testing.assert_allclose(ahead, x / 2)
    short = jaxopt.PolyakSGD(lambda x: 0.5 * x @ x + 1.0, max_stepsize=0.25)
    assert float(short.update(x, short.init_state(x))[1].stepsize) == pytest.approx(0.25)


def test_pre_update_is_called_before_each_update():
    def pre_update(params, state, *args, **kwargs):
        return params + 1.0, state

    solver = jaxopt.OptaxSolver(lambda x: jnp.sum(x**2), optax.sgd(0.5), pre_update=pre_update)
    x, _ = solver.update(jnp.zeros(2), solver.init_state(jnp.zeros(2)))
    np.testing.assert_allclose(x, 0.0)  # one gradient step of this size from anywhere


# ------------------------------------------------------------------ least squares

X_DATA = np.array([0.038, 0.194, 0.425, 0.626, 1.253, 2.5, 3.74])
Y_DATA = np.array([0.05, 0.127, 0.094, 0.2122, 0.2729, 0.2665, 0.3317])


def enzyme(c, x, y):
    return y - c[0] * x / (c[1] + x)


def _fit(solver):
    fit = getattr(jaxopt, solver)(enzyme, tol=1e-14, maxiter=60)
    return jax.jit(lambda x: fit.run(jnp.array([0.1, 0.1]), x, jnp.asarray(Y_DATA)).params)


@pytest.mark.parametrize("solver", ["GaussNewton", "LevenbergMarquardt"])
def test_curve_fits_as_scipy(solver):
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _fit(solver)(jnp.asarray(X_DATA))
        jac: Any = lambda c, x, y: np.asarray(jax.jacfwd(enzyme)(jnp.asarray(c), x, y))  # noqa: E731
        peer = scipy.optimize.least_squares(
            enzyme, [0.1, 0.1], jac, args=(X_DATA, Y_DATA), xtol=1e-15, ftol=1e-15, gtol=1e-15
        )
        np.testing.assert_allclose(found, peer.x, rtol=1e-7)


@pytest.mark.parametrize("name", ["GaussNewton", "LevenbergMarquardt"])
def test_the_derivative_of_a_curve_fit_is_that_of_differences(name):
    with jax.enable_x64(True):
        # Differences of the gradient's root: a minimum found by values is no closer than 1e-9, h times 1e-4.
        h = 1e-5
        jacobian = jax.jacrev(_fit(name))(jnp.asarray(X_DATA))
        fit = _fit(name)(jnp.asarray(X_DATA))
        gradient = jax.jit(jax.grad(lambda c, x: 0.5 * jnp.sum(enzyme(c, x, Y_DATA) ** 2)))
        peer = lambda x: scipy.optimize.root(gradient, fit, args=(x,), tol=1e-15).x  # noqa: E731
        differences = [(peer(X_DATA + h * e) - peer(X_DATA - h * e)) / (2 * h) for e in np.eye(len(X_DATA))]
        np.testing.assert_allclose(jacobian, np.transpose(differences), atol=1e-5)


def test_levenberg_marquardt_stops_by_either_criterion():
    residual = lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])  # noqa: E731
    start = jnp.array([-1.2, 1.0])
    by_gradient = jaxopt.LevenbergMarquardt(residual, maxiter=50, damping_parameter=1e-3)
    x, state = by_gradient.run(start)
    assert state.error <= 1e-3 and state.iter_num < 50
    np.testing.assert_allclose(x, 1.0, atol=1e-2)
    loose = jaxopt.LevenbergMarquardt(
        residual, maxiter=50, damping_parameter=1e-3, stop_criterion="madsen-nielsen", xtol=0.1, gtol=0.0
    )
    x, state = loose.run(start)
    assert jnp.linalg.norm(state.delta) <= 0.1 * (jnp.linalg.norm(x) + 0.1) and state.iter_num < 50


# ------------------------------------------------------------------ implicit differentiation


def ridge(w, lam, X, y):
    return 0.5 * jnp.mean((X @ w - y) ** 2) + 0.5 * lam * w @ w


def solve_ridge(_, lam, X, y):
    return jnp.linalg.solve(X.T @ X + lam * len(y) * jnp.eye(X.shape[1]), X.T @ y)


def test_roots_have_the_derivatives_of_their_closed_form():
    from frechet.compat.jaxopt import implicit_diff

    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        X, y, lam = jnp.asarray(rng.normal(size=(10, 3))), jnp.asarray(rng.normal(size=10)), 0.5
        exact = jax.jacfwd(solve_ridge, 1)(None, lam, X, y)
        optimality = jax.grad(ridge)
        w = solve_ridge(None, lam, X, y)
        tangents = (1.0, jnp.zeros_like(X), jnp.zeros_like(y))
        np.testing.assert_allclose(
            implicit_diff.root_jvp(optimality, w, (lam, X, y), tangents), exact, atol=1e-6
        )
        cotangent = jnp.array([1.0, -1.0, 2.0])
        back = implicit_diff.root_vjp(optimality, w, (lam, X, y), cotangent)
        np.testing.assert_allclose(back[0], cotangent @ exact, atol=1e-6)

        fixed = lambda w, *args: w - optimality(w, *args)  # noqa: E731
        for solver in (
            implicit_diff.custom_root(optimality)(solve_ridge),
            implicit_diff.custom_fixed_point(fixed, reference_signature=ridge)(solve_ridge),
        ):
            for jacobian in (jax.jacfwd, jax.jacrev):
                np.testing.assert_allclose(
                    jacobian(lambda lam, s=solver: s(None, lam, y=y, X=X))(lam), exact, atol=1e-8
                )


def test_the_kkt_map_is_zero_at_a_projection():
    from frechet.compat.jaxopt import base, implicit_diff

    # The point of x1 + x2 = 1, x >= 0 nearest to (2, 0.5): the corner (1, 0).
    F = implicit_diff.make_kkt_optimality_fun(
        lambda x, c: 0.5 * jnp.sum((x - c) ** 2), lambda x, b: jnp.sum(x) - b, lambda x, low: low - x
    )
    x, nu = jnp.array([1.0, 0.0]), jnp.array(1.0)
    mu = jnp.array([0.0, 0.5])
    zero = F(base.KKTSolution(x, nu, mu), jnp.array([2.0, 0.5]), 1.0, jnp.zeros(2))
    for part in zero:
        np.testing.assert_allclose(part, 0.0, atol=1e-6)
