"""JAXopt's classes for quadratic programs, against CVXPY, SciPy and the conditions of optimality."""

import sys

import cvxpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

from frechet.compat import jaxopt
from frechet.compat.jaxopt.base import KKTSolution
from frechet.core import lift

N, ROWS = 5, 4


def data(seed=0):
    """A strictly convex program: an objective, equations, and inequalities some of which are slack."""
    rng = np.random.default_rng(seed)
    M, A, G = rng.normal(size=(N, N)), rng.normal(size=(2, N)), rng.normal(size=(ROWS, N))
    inside = rng.normal(size=N)
    h = G @ inside + np.array([0.1, 0.05, 3.0, 5.0])
    return {
        "Q": M @ M.T + np.eye(N),
        "c": 3 * rng.normal(size=N),
        "A": A,
        "b": A @ inside,
        "G": G,
        "h": h,
    }


def as_jax(d):
    return {k: jnp.asarray(v) for k, v in d.items()}


def by_cvxpy(Q, c, A, b, G, h):
    x = cvxpy.Variable(N)
    rows = [A @ x == b, G @ x <= h]
    objective = cvxpy.Minimize(0.5 * cvxpy.quad_form(x, cvxpy.psd_wrap(Q)) + c @ x)
    cvxpy.Problem(objective, rows).solve(
        solver=cvxpy.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11
    )
    return np.asarray(x.value), np.asarray(rows[0].dual_value), np.asarray(rows[1].dual_value)


def posed(Q, c, A, b, G, h):
    """The same program for `BoxOSQP`."""
    limits = jnp.concatenate([b, jnp.full(ROWS, -jnp.inf)]), jnp.concatenate([b, h])
    return (Q, c), jnp.concatenate([A, G]), limits


def product(matrix, x):
    return matrix @ x


def boxed(solver, **given):
    return solver.run(None, *posed(**given))


def general(solver, Q, c, A, b, G, h):
    return solver.run(None, (Q, c), (A, b), (G, h))


@pytest.mark.parametrize("name", ["BoxOSQP", "OSQP", "CvxpyQP"])
def test_solutions_and_multipliers_are_those_of_clarabel(name, precision, monkeypatch):
    given = data()
    x, y, multipliers = by_cvxpy(**given)
    assert np.sum(multipliers > 1e-3) >= 1 and np.sum(multipliers < 1e-6) >= 2
    monkeypatch.setitem(sys.modules, "cvxpy", None)  # not to be imported
    tol = 1e-4 if precision == np.float32 else 1e-9
    solver = jaxopt.CvxpyQP() if name == "CvxpyQP" else getattr(jaxopt, name)(tol=tol)
    params, state = (boxed if name == "BoxOSQP" else general)(solver, **as_jax(given))
    # Off by at most the residual times the inverse of the system's matrix, whose norm is below 100.
    close = 100 * tol
    if name == "BoxOSQP":
        (at, z), dual_eq, (upper, lower) = params
        np.testing.assert_allclose(z, np.concatenate([given["A"], given["G"]]) @ x, atol=close)
        np.testing.assert_allclose(dual_eq, np.concatenate([y, multipliers]), atol=close)
        np.testing.assert_allclose(upper - lower, dual_eq)
        assert np.all(upper >= 0) and np.all(lower >= 0)
    else:
        at = params.primal
        np.testing.assert_allclose(params.dual_eq, y, atol=close)
        np.testing.assert_allclose(params.dual_ineq, multipliers, atol=close)
    np.testing.assert_allclose(at, x, atol=close)
    assert at.dtype == precision
    if name == "CvxpyQP":
        assert bool(state.converged)
    else:
        assert state.status == jaxopt.BoxOSQP.SOLVED and state.error <= tol
        assert state.iter_num % 50 == 0 and state.iter_num <= 4000
        assert state.primal_residuals.shape == ((6,) if name == "BoxOSQP" else (2,))
        assert np.max(np.abs(state.dual_residuals)) <= tol


@pytest.mark.parametrize("name", ["BoxOSQP", "OSQP", "CvxpyQP"])
def test_derivatives_in_every_parameter_are_finite_differences(name):
    with jax.enable_x64(True):
        given = as_jax(data(1))
        solver = jaxopt.CvxpyQP() if name == "CvxpyQP" else getattr(jaxopt, name)(tol=1e-11)
        rng = np.random.default_rng(2)
        weights = jnp.asarray(rng.normal(size=N))

        def outcome(given):
            given = given | {"Q": (given["Q"] + given["Q"].T) / 2}
            params = (boxed if name == "BoxOSQP" else general)(solver, **given).params
            x = params.primal[0] if name == "BoxOSQP" else params.primal
            y = params.dual_ineq[0][2:] if name == "BoxOSQP" else params.dual_ineq
            return weights @ x + jnp.sum(jnp.sin(y)) + jnp.sum(params.dual_eq)

        along, eps = jax.jit(jax.value_and_grad(outcome)), 1e-6
        _, gradient = along(given)
        for key, value in given.items():
            way = jnp.asarray(rng.normal(size=value.shape))
            ahead, behind = (along(given | {key: value + s * eps * way})[0] for s in (1, -1))
            # Differences err by rounding, 1e-10 / eps, and by curvature, eps^2.
            np.testing.assert_allclose(
                jnp.vdot(gradient[key], way), (ahead - behind) / (2 * eps), atol=1e-4, rtol=1e-4
            )
        slack = np.asarray(general(jaxopt.CvxpyQP(), **given).params.dual_ineq) < 1e-9
        assert np.any(slack)
        np.testing.assert_allclose(gradient["h"][slack], 0, atol=1e-9)


def test_derivatives_by_ones_own_linear_solver_and_of_the_iterations():
    with jax.enable_x64(True):
        given, used = as_jax(data(1)), []

        def solve(matvec, b):
            used.append(True)
            flat, unravel = ravel_pytree(b)
            matrix = jax.jacfwd(lambda v: ravel_pytree(matvec(unravel(v)))[0])(flat)
            return unravel(jnp.linalg.solve(matrix, flat))

        def outcome(solver):
            return lambda h: boxed(solver, **(given | {"h": h})).params.primal[0]

        settings = {"tol": 1e-9, "maxiter": 500}
        by_default = jax.jacfwd(outcome(jaxopt.BoxOSQP(**settings)))(given["h"])
        own = jax.jacfwd(outcome(jaxopt.BoxOSQP(implicit_diff_solve=solve, **settings)))(given["h"])
        steps = jax.jacfwd(outcome(jaxopt.BoxOSQP(implicit_diff=False, **settings)))(given["h"])
        assert used
        np.testing.assert_allclose(own, by_default, atol=1e-7)
        np.testing.assert_allclose(steps, by_default, atol=1e-6)


def test_products_functions_and_trees_pose_the_same_program():
    with jax.enable_x64(True):
        given = as_jax(data(3))
        Q, c, A, b, G, h = given.values()
        expected = general(jaxopt.OSQP(tol=1e-9), **given).params

        def flat(x):
            return jnp.concatenate([x["one"], x["two"][:, 0]])

        def split(v):
            return {"one": v[:2], "two": v[2:, None]}

        def matvec_A(A, x):
            return tuple(A @ flat(x))

        def fun(x, params):
            return 0.5 * flat(x) @ params["Q"] @ flat(x) + params["c"] @ flat(x) + 7.0

        def matvec_Q(Q, x):
            return split(Q @ flat(x))

        rows = {"params_eq": (A, tuple(b)), "params_ineq": (G, {"right": h})}
        maps = {"matvec_A": matvec_A, "matvec_G": lambda G, x: {"right": G @ flat(x)}, "tol": 1e-9}
        by_products = jaxopt.OSQP(matvec_Q=matvec_Q, **maps)
        first = by_products.run(None, (Q, split(c)), **rows).params
        by_function = jaxopt.OSQP(fun=fun, **maps)
        start = by_function.init_params(split(jnp.ones(N)), {"Q": Q, "c": c}, **rows)
        assert jax.tree.structure(start) == jax.tree.structure(first)
        second = by_function.run(start, {"Q": Q, "c": c}, **rows).params
        for params in (first, second):
            np.testing.assert_allclose(flat(params.primal), expected.primal, atol=1e-7)
            np.testing.assert_allclose(jnp.stack(params.dual_eq), expected.dual_eq, atol=1e-7)
            np.testing.assert_allclose(params.dual_ineq["right"], expected.dual_ineq, atol=1e-7)
        assert by_products.l2_optimality_error(first, (Q, split(c)), **rows) < 1e-8
        with pytest.raises(ValueError, match="init_params must be provided"):
            by_function.run(None, {"Q": Q, "c": c}, **rows)
        with pytest.raises(ValueError, match="fun is incompatible with matvec_Q"):
            jaxopt.OSQP(fun=fun, matvec_Q=matvec_Q)


def test_programs_without_a_solution_are_named():
    Q, c = jnp.zeros((2, 2)), jnp.ones(2)
    infeasible = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    limits = jnp.array([6.0, 6.0, -jnp.inf]), jnp.array([jnp.inf, jnp.inf, 11.0])
    state = jaxopt.BoxOSQP().run(None, (Q, c), infeasible, limits).state
    assert state.status == jaxopt.BoxOSQP.PRIMAL_INFEASIBLE
    free = -jnp.full(3, jnp.inf), limits[1]
    state = jaxopt.BoxOSQP().run(None, (Q, c), infeasible, free).state
    assert state.status == jaxopt.BoxOSQP.DUAL_INFEASIBLE
    silent = jaxopt.BoxOSQP(check_primal_dual_infeasability=False, maxiter=100)
    state = silent.run(None, (Q, c), infeasible, limits).state
    assert state.status == jaxopt.BoxOSQP.UNSOLVED and state.iter_num == 100
    G, h = jnp.concatenate([-infeasible[:2], infeasible[2:]]), jnp.array([-6.0, -6.0, 11.0])
    with pytest.raises(ValueError, match="The problem is infeasible"):
        jaxopt.CvxpyQP().run(None, (Q, c), None, (G, h))
    with pytest.raises(ValueError, match="The problem is unbounded"):
        jaxopt.CvxpyQP().run(None, (Q, c), None, (infeasible, limits[1].at[:2].set(6.0)))
    with pytest.raises(ValueError, match="Primal infeasible"):
        jaxopt.OSQP(jit=False).run(None, (Q, c), None, (G, h))


def test_a_second_run_traces_nothing_and_a_solution_is_where_the_next_starts():
    compilations = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compilations.append(event)

    given = as_jax(data(4))
    other = given | {"c": given["c"] * 1.01}
    jax.block_until_ready((posed(**given), posed(**other)))
    solver = jaxopt.BoxOSQP(matvec_A=product, tol=1e-4)
    solution, _ = boxed(solver, **given)
    traces = lift.traces()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        again = boxed(jaxopt.BoxOSQP(matvec_A=product, tol=1e-4), **other)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compilations and lift.traces() == traces
    given = other
    warm = solver.run(again.params, *posed(**given))
    assert warm.state.iter_num == 50 and warm.state.error <= 1e-4
    state = solver.init_state(solution, *posed(**given))
    assert state.iter_num == 0 and state.status == solver.UNSOLVED
    step = solver.update(solution, state, *posed(**given))
    assert step.state.iter_num == 50 and step.state.status == solver.SOLVED


def test_batches_under_jit():
    many = [data(seed) for seed in range(5, 8)]
    stacked = {k: jnp.stack([jnp.asarray(d[k]) for d in many]) for k in many[0]}
    solver = jaxopt.CvxpyQP()
    params, state = jax.jit(jax.vmap(lambda d: general(solver, **d)))(stacked)
    assert np.all(state.converged)
    for i, one in enumerate(many):
        np.testing.assert_allclose(params.primal[i], by_cvxpy(**one)[0], atol=1e-3)


def test_what_does_not_fit_is_named():
    given = as_jax(data())
    with pytest.raises(ValueError, match=r"A must have shape \(1, 5\)"):
        general(jaxopt.CvxpyQP(), **(given | {"b": jnp.ones(1)}))
    with pytest.raises(ValueError, match=r"Q must have shape"):
        general(jaxopt.CvxpyQP(), **(given | {"c": jnp.ones(3)}))
    with pytest.raises(ValueError, match='eq_qp_solve must be "cg"'):
        jaxopt.BoxOSQP(eq_qp_solve="qr")
    with pytest.warns(UserWarning, match="BoxOSQP takes sigma for compatibility"):
        jaxopt.BoxOSQP(sigma=1e-3)


def test_equations_alone_are_a_linear_system(precision):
    given = data(9)
    Q, c, A, b = (given[k] for k in "QcAb")
    system = np.block([[Q, A.T], [A, np.zeros((2, 2))]])
    expected = np.linalg.solve(system, np.concatenate([-c, b]))
    tol = 1e-5 if precision == np.float32 else 1e-10
    solver = jaxopt.EqualityConstrainedQP(tol=tol)
    parameters = (jnp.asarray(Q), jnp.asarray(c)), (jnp.asarray(A), jnp.asarray(b))
    params, _ = solver.run(None, *parameters)
    np.testing.assert_allclose(np.concatenate(params[:2]), expected, atol=300 * tol)
    assert params.dual_ineq is None
    # A pytree of matrices is block diagonal: two programs of their own.
    twice = jax.tree.map(lambda v: {"one": v, "two": 2 * v}, parameters)
    halves = solver.run(None, *twice).params.primal
    np.testing.assert_allclose(halves["one"], params.primal, atol=300 * tol)
    np.testing.assert_allclose(halves["two"], params.primal, atol=300 * tol)

    def fun(x, params):
        return 0.5 * x @ params[0] @ x + params[1] @ x

    by_function = jaxopt.EqualityConstrainedQP(fun=fun, tol=tol)
    start = KKTSolution(jnp.ones(N), jnp.zeros(2))
    again = by_function.run(start, *parameters).params
    np.testing.assert_allclose(again.primal, params.primal, atol=300 * tol)
    # x is linear in (c, b) with the blocks of the inverse.
    (Q, c), (A, b) = parameters
    jacobian = jax.jacrev(lambda c, b: solver.run(None, (Q, c), (A, b)).params.primal, (0, 1))
    inverse = np.linalg.inv(system)
    by_c, by_b = jacobian(c, b)
    np.testing.assert_allclose(by_c, -inverse[:N, :N], atol=300 * tol)
    np.testing.assert_allclose(by_b, inverse[:N, N:], atol=300 * tol)


def test_coordinate_descent_in_a_box_is_nonnegative_least_squares():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(12, N)), rng.normal(size=12)
        y += X @ np.array([1.0, -1.0, 2.0, -0.5, 0.7])
        expected, _ = scipy.optimize.nnls(X, y)
        assert np.any(expected == 0) and np.any(expected > 0)
        objective, limits = (
            (jnp.asarray(X.T @ X), jnp.asarray(-X.T @ y)),
            (jnp.zeros(N), jnp.full(N, jnp.inf)),
        )
        solver = jaxopt.BoxCDQP(tol=1e-12)
        x, state = solver.run(jnp.zeros(N), params_obj=objective, params_ineq=limits)
        np.testing.assert_allclose(x, expected, atol=1e-10)
        assert state.error <= 1e-12 and 1 < state.iter_num < 500
        assert solver.l2_optimality_error(x, objective, limits) < 1e-10

        # One update is one sweep with the gradient kept up to date; its error is how far that went.
        state = solver.init_state(jnp.zeros(N))
        step = solver.update(jnp.zeros(N), state, objective, limits)
        by_hand = np.zeros(N)
        for i in range(N):
            slope = objective[0][i] @ by_hand + objective[1][i]
            by_hand[i] = max(by_hand[i] - slope / objective[0][i, i], 0)
        np.testing.assert_allclose(step.params, by_hand, atol=1e-12)
        np.testing.assert_allclose(step.state.error, np.sum(np.abs(by_hand)))
        assert step.state.iter_num == 1

        # The free part is linear in c, the part at the bound constant.
        free = expected > 0
        derivative = np.zeros((N, N))
        derivative[np.ix_(free, free)] = -np.linalg.inv((X.T @ X)[np.ix_(free, free)])
        for implicit in (True, False):
            one = jaxopt.BoxCDQP(tol=1e-12, maxiter=200, implicit_diff=implicit)
            got = jax.jacrev(lambda c, one=one: one.run(jnp.zeros(N), (objective[0], c), limits).params)(
                objective[1]
            )
            np.testing.assert_allclose(got, derivative, atol=1e-9)
