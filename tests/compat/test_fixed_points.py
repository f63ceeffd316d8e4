"""JAXopt's fixed points and roots, against closed forms, SciPy and recursions written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn import datasets, linear_model

import frechet as fr
from frechet.compat import jaxopt
from frechet.compat.jaxopt.anderson import minimize_residuals
from frechet.core import lift

RNG = np.random.default_rng(0)
Q = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
M_DEVICE = jnp.asarray(Q @ np.diag([0.9, -0.8, 0.5, 0.1]) @ Q.T)  # NumPy arrays may change: traced again
M = np.asarray(M_DEVICE, float)


def affine(x, b):
    return M_DEVICE.astype(b.dtype) @ x + b


FIXED_POINTS = {
    "FixedPointIteration": lambda T, **k: jaxopt.FixedPointIteration(T, **k),
    "AndersonAcceleration": lambda T, **k: jaxopt.AndersonAcceleration(T, **k),
    "AndersonWrapper": lambda T, **k: jaxopt.AndersonWrapper(
        jaxopt.FixedPointIteration(T, **k), mixing_frequency=2
    ),
}


@pytest.mark.parametrize("name", FIXED_POINTS)
def test_they_end_at_the_fixed_point_and_are_differentiated_there(name):
    with jax.enable_x64(True):
        b, tol = jnp.asarray(RNG.normal(size=4)), 1e-8
        solver = FIXED_POINTS[name](affine, tol=tol, maxiter=1000)
        x, state = solver.run(jnp.zeros(4), b)
        inverse = np.linalg.inv(np.eye(4) - M)
        assert state.error <= tol and state.iter_num > 0
        # The residual is (I - M)(x - x*), and the least eigenvalue of I - M is 0.1.
        assert solver.l2_optimality_error(x, b) <= tol
        np.testing.assert_allclose(x, inverse @ b, atol=10 * tol)
        jacobian = jax.jacrev(lambda b: solver.run(jnp.zeros(4), b).params)(b)
        np.testing.assert_allclose(jacobian, inverse, atol=1e-8)


@pytest.mark.parametrize("name", FIXED_POINTS)
def test_a_second_run_with_the_same_shapes_does_not_trace(name):
    def run(k):
        start, b = jax.device_put((np.zeros(4, np.float32), np.full(4, k, np.float32)))
        jax.block_until_ready(FIXED_POINTS[name](lambda x, b: affine(x, b), maxiter=5).run(start, b))

    run(0.0)
    before = lift.traces()
    run(1.0)
    # The lambda is a new object, so it is traced once to be recognised; nothing else is.
    assert lift.traces() == before + 1


def test_acceleration_ends_where_repetition_does_in_fewer_evaluations():
    with jax.enable_x64(True):
        b, settings = jnp.ones(4), {"tol": 1e-9, "maxiter": 1000}
        plain, fast, wrapped = (
            FIXED_POINTS[n](affine, **settings).run(jnp.zeros(4), b) for n in FIXED_POINTS
        )
        np.testing.assert_allclose(fast.params, plain.params, atol=2e-8)
        # Full memory is GMRES in exact arithmetic: as many steps as unknowns, and a few for the ridge.
        assert fast.state.num_fun_eval <= 15 < plain.state.num_fun_eval / 10
        assert wrapped.state.iter_num < plain.state.num_fun_eval / 3


def test_complex_unknowns():
    C = 0.5 * np.array([[1j, 0.5], [-0.3, 0.8j]])
    solution = np.linalg.solve(np.eye(2) - C, [1.0, 1j])
    with jax.enable_x64(True):
        for solver in (jaxopt.FixedPointIteration, jaxopt.AndersonAcceleration):
            T = lambda z: jnp.asarray(C) @ z + jnp.array([1.0, 1j])  # noqa: E731
            z, state = solver(T, tol=1e-10).run(jnp.zeros(2, complex))
            assert state.error <= 1e-10
            np.testing.assert_allclose(z, solution, atol=1e-9)


def test_histories_are_points_with_their_residuals_where_the_iteration_number_says():
    with jax.enable_x64(True):
        b = jnp.asarray(RNG.normal(size=4))
        solver = jaxopt.AndersonAcceleration(
            lambda x: {"a": affine(x["a"], b)}, history_size=3, maxiter=5, tol=0.0
        )
        x = {"a": jnp.zeros(4)}
        state, path = solver.init_state(x), []
        for _ in range(5):
            x, state = solver.update(x, state)
            path.append(np.asarray(x["a"]))
        for k in (2, 3, 4):
            points, residuals = state.params_history["a"][k % 3], state.residuals_history["a"][k % 3]
            np.testing.assert_allclose(points, path[k], atol=1e-13)
            np.testing.assert_allclose(residuals, M @ path[k] + b - path[k], atol=1e-13)
        R = state.residuals_history["a"]
        np.testing.assert_allclose(state.residual_gram, R @ R.T, atol=1e-13)
        np.testing.assert_allclose(state.error, np.linalg.norm(R[4 % 3]), rtol=1e-12)


def test_weights_of_least_residual():
    with jax.enable_x64(True):
        G = RNG.normal(size=(9, 5))
        gram, ridge = G.T @ G, 1e-3
        border = np.block([[np.zeros((1, 1)), np.ones((1, 5))], [np.ones((5, 1)), gram + ridge * np.eye(5)]])
        np.testing.assert_allclose(
            minimize_residuals(jnp.asarray(gram), ridge), np.linalg.solve(border, np.eye(6)[0]), rtol=1e-9
        )


def test_between_extrapolations_the_map_is_repeated():
    with jax.enable_x64(True):
        b = jnp.ones(4)
        path = {}
        for period in (1, 3):
            solver = jaxopt.AndersonAcceleration(affine, mixing_frequency=period, tol=0.0)
            x = jnp.zeros(4)
            state, path[period] = solver.init_state(x, b), [x]
            for _ in range(6):
                x, state = solver.update(x, state, b)
                path[period].append(x)
        moves = [bool(jnp.allclose(affine(x, b), y)) for x, y in zip(path[3], path[3][1:], strict=False)]
        assert moves == [True, True, False, True, True, False]
        error = lambda x: float(jnp.linalg.norm(affine(x, b) - x))  # noqa: E731
        for k in (3, 6):
            assert error(path[3][k]) < 0.9 * error(affine(path[3][k - 1], b))
    with pytest.raises(ValueError, match="period must be at least 1"):
        fr.solvers.Anderson(period=0)
    for solver in (jaxopt.AndersonAcceleration, lambda T, **k: FIXED_POINTS["AndersonWrapper"](T)):
        if solver is jaxopt.AndersonAcceleration:
            with pytest.raises(ValueError, match="history_size must be at least 2"):
                solver(affine, history_size=1)


def test_a_wrapped_solver_keeps_its_sparsity_and_its_derivatives():
    X, y = datasets.make_regression(n_samples=60, n_features=8, n_informative=3, random_state=0)
    peer = linear_model.Lasso(alpha=5.0, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(X, y)
    with jax.enable_x64(True):
        data = (jnp.asarray(X), jnp.asarray(y))

        def solver(**settings):
            inner = jaxopt.ProximalGradient(
                jaxopt.objective.least_squares, jaxopt.prox.prox_lasso, acceleration=False, **settings
            )
            return jaxopt.AndersonWrapper(inner)

        wrapped = solver(tol=1e-8, maxiter=400)
        w, state = wrapped.run(jnp.zeros(8), hyperparams_prox=5.0, data=data)
        assert wrapped.maxiter == 400 and state.error <= 1e-8
        np.testing.assert_allclose(w, peer.coef_, atol=1e-6)
        np.testing.assert_array_equal(w == 0, peer.coef_ == 0)
        slope = jax.jacrev(lambda lam: wrapped.run(jnp.zeros(8), lam, data).params)(5.0)
        S = peer.coef_ != 0
        closed = -np.linalg.solve(X[:, S].T @ X[:, S] / 60, np.sign(peer.coef_[S]))
        np.testing.assert_allclose(slope[S], closed, rtol=1e-5)
        assert not np.any(slope[~S])


def test_an_extrapolation_out_of_the_domain_is_dropped():
    with jax.enable_x64(True):
        T = lambda x: 1.5 + 0.9 * jnp.log(x)  # noqa: E731
        inner = jaxopt.FixedPointIteration(T, tol=1e-10, maxiter=300)
        x, state = jaxopt.AndersonWrapper(inner, history_size=2, mixing_frequency=1).run(jnp.asarray(50.0))
        root = scipy.optimize.brentq(lambda x: 1.5 + 0.9 * np.log(x) - x, 1.0, 10.0)
        assert state.error <= 1e-10
        np.testing.assert_allclose(x, root, rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jaxopt.FixedPointIteration(affine, maxiter=400, tol=0.0, implicit_diff=False),
        lambda: jaxopt.AndersonAcceleration(affine, maxiter=12, tol=0.0, implicit_diff=False),
        lambda: jaxopt.Broyden(
            lambda x, b: affine(x, b) - x, gamma=-1.0, maxiter=14, tol=1e-11, implicit_diff=False
        ),
    ],
)
def test_unrolled_iterations_are_differentiated(make):
    with jax.enable_x64(True):
        b = jnp.asarray(RNG.normal(size=4))
        jacobian = jax.jacrev(lambda b: make().run(jnp.zeros(4), b).params)(b)
        np.testing.assert_allclose(jacobian, np.linalg.inv(np.eye(4) - M), atol=1e-5)


def test_without_jit_a_function_may_be_numpys_and_is_called_as_often_as_counted():
    called = []

    def T(x):
        called.append(1)
        return 0.5 * np.cos(np.asarray(x))

    for solver in (
        jaxopt.FixedPointIteration(T, jit=False, maxiter=7, tol=0.0),
        jaxopt.AndersonAcceleration(T, jit=False, maxiter=4, tol=0.0),
        jaxopt.Broyden(lambda x: T(x) - x, jit=False, maxiter=4, tol=1e-6),
        jaxopt.Bisection(lambda x: T(x) - x, 0.0, 1.0, jit=False, maxiter=4),
    ):
        called.clear()
        state = solver.run(jnp.ones(2)).state
        assert len(called) == state.num_fun_eval > 0


# ------------------------------------------------------------------ roots


def cubic(x, a):
    return a - x**3


def test_bisection_against_brent(precision):
    solver = jaxopt.Bisection(cubic, 0, 3, maxiter=60, tol=100 * float(np.finfo(precision).eps))
    x, state = solver.run(None, jnp.asarray(2.0, precision))
    root = scipy.optimize.brentq(lambda x: cubic(x, 2.0), 0, 3)
    assert x.dtype == precision and state.error <= solver.tol and state.error == abs(state.value)
    np.testing.assert_allclose(x, root, rtol=2 * solver.tol)  # |F'| is 4.8 there
    assert state.sign == -1 and state.low <= x <= state.high
    assert state.num_fun_eval == state.iter_num + 2
    # dx/da = 1 / (3 x^2), inside of jit too
    slope = jax.jit(jax.grad(lambda a: solver.run(None, a).params))(jnp.asarray(2.0, precision))
    np.testing.assert_allclose(slope, 1 / (3 * root**2), rtol=1e-4)


def test_auxiliary_data_of_a_bisection_and_its_derivative():
    with jax.enable_x64(True):
        solver = jaxopt.Bisection(lambda x, a: (x - a, 2 * x), 0.0, 1.0, has_aux=True, tol=1e-9, maxiter=50)
        x, state = solver.run(None, 0.3)
        np.testing.assert_allclose([x, state.aux], [0.3, 0.6], atol=2e-9)
        assert solver.l2_optimality_error(x, 0.3) <= 1e-9
        np.testing.assert_allclose(jax.grad(lambda a: solver.run(None, a).params)(0.3), 1.0)


def test_brackets_are_checked_where_they_can_be():
    bad = jaxopt.Bisection(lambda x: x**2 + 1, -1.0, 3.0)
    for call in (bad.run, bad.init_state):
        with pytest.raises(ValueError, match="same sign at lower=-1"):
            call()
    lenient = jaxopt.Bisection(lambda x: x**2 + 1, -1.0, 3.0, check_bracket=False)
    assert lenient.run().state.sign == 0 == jax.jit(bad.run)().state.sign
    # A root at an end is one.
    for lower, upper in ((0.0, 2.0), (-3.0, 0.0)):
        assert abs(jaxopt.Bisection(lambda x: x, lower, upper, tol=1e-6).run().params) <= 1e-6
    assert jaxopt.Bisection(lambda x: x - 0.5, 0.0, 1.0).run().state.iter_num == 1


def test_new_ends_of_a_bracket_compile_nothing():
    def run(upper):
        return jaxopt.Bisection(cubic, 0.0, upper).run(None, jnp.asarray(2.0)).params

    run(2.0)
    before = lift.traces()
    np.testing.assert_allclose(run(3.0), 2 ** (1 / 3), atol=1e-4)
    assert lift.traces() == before


def tridiagonal(x):
    left, right = jnp.append(0.0, x[:-1]), jnp.append(x[1:], 0.0)
    return (3 - 2 * x) * x - left - 2 * right + 1


def test_broyden_against_scipy():
    with jax.enable_x64(True):
        x0 = -jnp.ones(30)
        reference = scipy.optimize.root(tridiagonal, np.asarray(x0), tol=1e-13).x
        full = jaxopt.Broyden(tridiagonal, tol=1e-9, maxiter=60, gamma=0.2).run(x0)
        limited = jaxopt.Broyden(tridiagonal, tol=1e-9, maxiter=200, history_size=6, gamma=0.2).run(x0)
        for x, state in (full, limited):
            assert state.error <= 1e-9 and not state.failed_linesearch
            assert state.num_fun_eval == 1 + state.num_linesearch_iter
            np.testing.assert_allclose(x, reference, atol=1e-8)
        assert limited.state.d_history.shape == (6, 30) and full.state.d_history.shape == (60, 30)


def test_units_of_the_function_do_not_matter():
    with jax.enable_x64(True):
        states = []
        for unit in (1.0, 2.0**20):
            F = lambda x, unit=unit: unit * tridiagonal(x)  # noqa: E731
            states.append(jaxopt.Broyden(F, gamma=0.5 / unit, tol=1e-8 * unit).run(-jnp.ones(10)).state)
            assert states[-1].error <= 1e-8 * unit
        assert states[0].num_linesearch_iter > states[0].iter_num  # steps are shortened, and the same ones
        assert states[0].num_fun_eval == states[1].num_fun_eval


def test_fixed_steps_follow_the_recursion_of_broyden():
    with jax.enable_x64(True):
        F = lambda x: np.asarray([x[0] ** 2 + x[1] - 3, x[0] - x[1] ** 2 + 1])  # noqa: E731
        sizes = [0.5, 0.75, 0.875, 0.9375]
        x, H = np.array([2.0, 1.0]), 0.3 * np.eye(2)
        for t in sizes:
            s = -t * H @ F(x)
            y = F(x + s) - F(x)
            x, H = x + s, H + np.outer(s - H @ y, s @ H) / (s @ H @ y)
        settings = {"gamma": 0.3, "maxiter": 4, "tol": 0.0, "stepsize": lambda k: 1 - 0.5 ** (k + 1.0)}

        def traced(p):
            u, v = p["u"]
            return {"u": jnp.asarray([u**2 + v - 3, u - v**2 + 1])}

        found, state = jaxopt.Broyden(traced, **settings).run({"u": jnp.array([2.0, 1.0])})
        np.testing.assert_allclose(found["u"], x, rtol=1e-10)
        inverse = state.gamma * np.eye(2) + state.c_history["u"].T @ state.d_history["u"]
        np.testing.assert_allclose(inverse, H, rtol=1e-9)
        assert state.stepsize == sizes[-1] and state.num_fun_eval == 5
        # A warm start has the inverse Jacobian of the run before.
        again = jaxopt.Broyden(traced, **settings).init_state(jaxopt.OptStep(found, state))
        np.testing.assert_array_equal(again.d_history["u"], state.d_history["u"])
        assert again.iter_num == 4


def test_limited_memory_needs_no_square_matrix():
    n = 100_000  # whose square is 40 GB
    scale = jnp.linspace(0.5, 0.9, n)
    x, state = jaxopt.Broyden(lambda x: scale * jnp.cos(x) - x, gamma=-1.0, history_size=5, tol=1e-3).run(
        jnp.zeros(n)
    )
    assert state.error <= 1e-3
    assert float(jnp.linalg.norm(scale * jnp.cos(x) - x)) <= 2e-3
    with pytest.raises(ValueError, match="history must be at least 1"):
        fr.solvers.Broyden(history=0)


def test_a_search_that_finds_nothing_is_told():
    F = lambda x: jnp.where(x == 0, 1.0, 1e6)  # noqa: E731
    solver = jaxopt.Broyden(F, stop_if_linesearch_fails=True, maxiter=20)
    state = solver.run(jnp.zeros(1)).state
    assert state.failed_linesearch and state.iter_num == 1
    with pytest.raises(ValueError, match="linesearch must be"):
        jaxopt.Broyden(F, linesearch="zoom")
    with pytest.warns(UserWarning, match="maxls"):
        jaxopt.Broyden(F, maxls=3)


def test_refinement_follows_its_recursion_from_a_warm_start():
    with jax.enable_x64(True):
        A = np.eye(6) + 0.3 * RNG.normal(size=(6, 6)) / 6**0.5
        near, b, x = np.diag(np.diag(A)), RNG.normal(size=6), RNG.normal(size=6)
        solver = jaxopt.IterativeRefinement(
            matvec_A_bar=jnp.dot, solve=lambda product, b, init: b / product(jnp.ones(6)), tol=0.0, maxiter=4
        )
        found, state = solver.run(jnp.asarray(x), A, b, near)
        for _ in range(4):
            x = x + (b - A @ x) / np.diag(A)
        np.testing.assert_allclose(found, x, rtol=1e-12)
        np.testing.assert_allclose(state.target_residuals, b - A @ x, atol=1e-12)
        np.testing.assert_allclose(state.error, np.linalg.norm(b - A @ x), rtol=1e-9)
        assert state.num_matvec_eval == 5 and state.num_solve_eval == 4

        # From the solution itself nothing is left to correct.
        exact = np.linalg.solve(A, b)
        assert jaxopt.IterativeRefinement(tol=1e-12).run(exact, A, b).state.iter_num == 1


def test_refinement_makes_rough_solves_exact_and_is_differentiated():
    with jax.enable_x64(True):
        A, b = RNG.normal(size=(8, 8)) + 4 * np.eye(8), RNG.normal(size=8)
        rough = functools.partial(jaxopt.linear_solve.solve_gmres, tol=0.1, ridge=0.1)
        solver = jaxopt.IterativeRefinement(solve=rough, tol=1e-11, maxiter=60)
        x, state = solver.run(None, A, b)
        solution = np.linalg.solve(A, b)
        assert state.error <= 1e-11 and solver.l2_optimality_error(x, A, b) <= 2e-11
        assert np.linalg.norm(rough(lambda v: A @ v, jnp.asarray(b)) - solution) > 1e-3
        np.testing.assert_allclose(x, solution, atol=1e-9)
        gA, gb = jax.grad(lambda A, b: solver.run(None, A, b).params.sum(), (0, 1))(
            jnp.asarray(A), jnp.asarray(b)
        )
        dual = np.linalg.solve(A.T, np.ones(8))
        np.testing.assert_allclose(gb, dual, rtol=1e-8)
        np.testing.assert_allclose(gA, -np.outer(dual, solution), rtol=1e-7, atol=1e-9)
        # Pytrees of matrices, and products of one's own.
        pair, _ = solver.run(None, {"u": A, "v": 2 * A}, {"u": b, "v": b})
        np.testing.assert_allclose(pair["v"], solution / 2, atol=1e-9)
        by_products = jaxopt.linear_solve.solve_iterative_refinement(
            lambda v: jnp.asarray(A) @ v, jnp.asarray(b), tol=1e-11
        )
        np.testing.assert_allclose(by_products, solution, atol=1e-9)


def test_an_approximate_inverse_costs_no_factorisation():
    with jax.enable_x64(True):
        A, b = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([3.0, 5.0])
        solver = fr.solvers.IterativeRefinement(approximation=lambda r: r / jnp.array([2.0, 3.0]))
        solution = fr.solve(fr.Root(lambda x: A @ x - b), jnp.zeros(2), solver, tol=1e-9)
        assert solution.status.converged
        np.testing.assert_allclose(solution.x, [0.8, 1.4], atol=1e-9)
        assert int(solution.calls.factorisation) == int(solution.calls.hvp) == 0
        assert int(solution.calls.value) == int(solution.steps) + 1
