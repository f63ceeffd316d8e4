"""Splitting methods against an exact algorithm, a conic solver and their rates."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.splitting.admm import ADMM
from frechet.solvers.splitting.balancing import Balance
from frechet.solvers.splitting.condat_vu import CondatVu
from frechet.solvers.splitting.douglas_rachford import DouglasRachford

RNG = np.random.default_rng(0)
BOTH = pytest.mark.parametrize("solver", [ADMM(), CondatVu()], ids=["ADMM", "CondatVu"])


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def steps(n):
    return np.repeat(RNG.normal(size=n // 10), 10) + 0.1 * RNG.normal(size=n)


SIGNAL = steps(100)


def reference(objective, x):
    cp.Problem(cp.Minimize(objective)).solve(cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11)
    return x.value


@BOTH
def test_total_variation_denoising_is_the_exact_algorithms(solver, precision):
    y = jnp.asarray(SIGNAL, precision)
    problem = fr.LinearComposite(lambda x: 0.5 * jnp.sum((x - y) ** 2), h=fr.convex.L1(0.5), K=jnp.diff)
    s = fr.solve(problem, y, solver)
    assert s.status.converged
    exact = fr.convex.TotalVariation1D(0.5).prox(y, 1.0)
    # The objective is 1-strongly convex; the dual residual enters through its distance to the solution set.
    np.testing.assert_allclose(s.x.primal, exact, atol=20 * float(jnp.finfo(precision).eps) ** 0.5)
    assert s.x.primal.dtype == precision


@BOTH
def test_the_smooth_part_may_be_absent(solver, double):
    y = jnp.asarray(SIGNAL)
    near = fr.convex.Translated(fr.convex.SquaredL2(1.0), y)
    s = fr.solve(fr.LinearComposite(None, near, fr.convex.L1(0.5), jnp.diff), y, solver)
    assert s.status.converged
    assert int(s.calls.value) == int(s.calls.gradient) == int(s.calls.hvp) == 0
    np.testing.assert_allclose(s.x.primal, fr.convex.TotalVariation1D(0.5).prox(y, 1.0), atol=3e-7)


@BOTH
def test_basis_pursuit_recovers_a_sparse_vector(solver, double):
    A, truth = RNG.normal(size=(20, 60)), np.zeros(60)
    truth[:3] = [1.0, -2.0, 0.7]
    x = cp.Variable(60)
    cp.Problem(cp.Minimize(cp.norm1(x)), [A @ x == A @ truth]).solve(cp.CLARABEL)
    np.testing.assert_allclose(
        x.value, truth, atol=1e-5
    )  # so the conic solver agrees that this is the answer
    on = fr.convex.Box(A @ truth, A @ truth)
    s = fr.solve(fr.LinearComposite(None, fr.convex.L1(), on, A), jnp.zeros(60), solver)
    assert s.status.converged
    np.testing.assert_allclose(s.x.primal, truth, atol=1e-6)


@BOTH
def test_the_generalised_lasso_is_a_conic_solvers(solver, double):
    X, y, D = RNG.normal(size=(60, 20)), RNG.normal(size=60), 3 * np.diff(np.eye(20), axis=0)
    x = cp.Variable(20)
    want = reference(cp.sum_squares(X @ x - y) / 120 + 0.02 * cp.norm1(x) + 0.03 * cp.norm1(D @ x), x)
    problem = fr.LinearComposite(fr.losses.Squared(X, y), fr.convex.L1(0.02), fr.convex.L1(0.03), D)
    s = fr.solve(problem, jnp.zeros(20), solver)
    assert s.status.converged
    np.testing.assert_allclose(s.x.primal, want, atol=1e-6)


def test_an_image_is_denoised_as_by_a_conic_solver(double):
    clean = np.zeros((12, 14))
    clean[3:8, 4:11] = 1.0
    image = clean + 0.2 * RNG.normal(size=clean.shape)
    differences = lambda v: (v[1:] - v[:-1], v[:, 1:] - v[:, :-1])  # noqa: E731
    x = cp.Variable(image.shape)
    rough = cp.sum(cp.abs(cp.diff(x, axis=0))) + cp.sum(cp.abs(cp.diff(x, axis=1)))
    want = reference(0.5 * cp.sum_squares(x - image) + 0.3 * rough, x)
    problem = fr.LinearComposite(
        lambda v: 0.5 * jnp.sum((v - image) ** 2), h=fr.convex.L1(0.3), K=differences
    )
    s = fr.solve(problem, jnp.asarray(image), tol=1e-7)
    assert s.status.converged
    np.testing.assert_allclose(s.x.primal, want, atol=1e-5)


@pytest.mark.parametrize("solver", [ADMM(), CondatVu(), DouglasRachford()], ids=lambda s: type(s).__name__)
def test_a_point_of_two_sets_nearest_to_another(solver, double):
    c = np.linspace(-1, 2, 8)
    ball = fr.convex.Translated(fr.convex.L2Ball(0.4), jnp.full(8, 0.2))
    x = cp.Variable(8)
    sets = [x >= 0, cp.sum(x) == 1, cp.norm(x - 0.2) <= 0.4]
    cp.Problem(cp.Minimize(cp.sum_squares(x - c)), sets).solve(cp.CLARABEL)
    smooth = fr.LinearComposite(lambda x: 0.5 * jnp.sum((x - c) ** 2), fr.convex.Simplex(), ball)
    near = fr.convex.PlusQuadratic(fr.convex.Simplex(), 1.0, -c)
    for problem in (smooth, fr.LinearComposite(None, near, ball)):
        s = fr.solve(problem, jnp.zeros(8), solver)
        assert s.status.converged
        np.testing.assert_allclose(s.x.primal, x.value, atol=1e-5)  # the conic solver's accuracy


@pytest.mark.parametrize("solver", [ADMM(), CondatVu(), DouglasRachford()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_step_sizes_find_the_scale_of_the_problem(solver, scale, double):
    d = jnp.linspace(1.0, 4.0, 6)
    f = lambda x: 0.5 * scale * jnp.sum(d * (x - 1.0) ** 2)  # noqa: E731
    problem = fr.LinearComposite(f, h=fr.convex.L1(scale))
    s = fr.solve(problem, jnp.zeros(6), solver, tol=1e-9 * min(scale, 1.0))
    assert s.status.converged
    np.testing.assert_allclose(s.x.primal, 1 - 1 / np.asarray(d), atol=1e-8)


def trajectory(problem, x0, solver, n):
    problem = problem.lifted(x0)
    key = jax.random.key(0)

    def turn(state, _):
        state = solver.step(problem, state, key=key)
        return state, (state.x, getattr(state, "step", 0.0))

    return jax.jit(lambda s: jax.lax.scan(turn, s, None, length=n)[1])(
        solver.init(problem, problem.start(x0), key=key)
    )


def test_the_averages_of_the_primal_dual_method_have_a_gap_of_one_over_k(double):
    A = RNG.normal(size=(30, 40))
    b = A @ np.where(np.arange(40) < 4, 1.0, 0.0)
    problem = fr.LinearComposite(None, fr.convex.L1(), fr.convex.Box(b, b), A)
    best = fr.solve(problem, jnp.zeros(40), tol=1e-11)
    x_best, u_best = best.x
    (xs, us), sizes = trajectory(problem, jnp.zeros(40), CondatVu(), 2000)
    weight = np.cumsum(sizes)[:, None]
    X, U = np.cumsum(sizes[:, None] * xs, 0) / weight, np.cumsum(sizes[:, None] * us, 0) / weight
    # L(X, u*) - L(x*, U) with L(x, u) = |x|_1 + <u, A x - b>, at least 0 and O(1/k).
    gap = np.sum(np.abs(X), 1) - np.sum(np.abs(x_best)) + (X @ A.T - b) @ u_best - U @ (A @ x_best - b)
    k = np.arange(1, 2001)
    assert np.all(gap > -1e-9)
    slope = np.polyfit(np.log(k[100:]), np.log(gap[100:]), 1)[0]
    assert slope < -0.9
    assert np.max(k * gap) < 10 * np.max((k * gap)[:50])


@pytest.mark.parametrize("solver", [ADMM(), CondatVu(), DouglasRachford()], ids=lambda s: type(s).__name__)
def test_convergence_is_linear_where_the_functions_are_quadratic_and_piecewise_linear(solver, double):
    d = jnp.geomspace(0.05, 1.0, 20)
    c = jnp.asarray(RNG.normal(size=20))
    f = lambda x: 0.5 * jnp.sum(d * (x - c) ** 2)  # noqa: E731
    problem = fr.LinearComposite(f, fr.convex.Box(-1.0, 1.0), fr.convex.L1(0.02))
    exact = jnp.clip(jnp.sign(c) * jnp.maximum(jnp.abs(c) - 0.02 / d, 0), -1, 1)
    (xs, _), _ = trajectory(problem, jnp.zeros(20), solver, 500)
    error = np.linalg.norm(xs - exact, axis=1)
    reached = int(np.argmax(error < 1e-10))
    assert reached > 0  # ten decades within 500 steps
    # Over the last five decades as fast as the gradient method, whose factor is 1 - 0.05 at condition 20 and
    # 1 - 0.025 with the steps of half that length that backtracking may end with.
    halfway = int(np.argmax(error < 1e-5))
    assert np.log(error[halfway] / error[reached]) / (reached - halfway) > 0.025


def test_a_balance_moves_a_bounded_way(double):
    after = jax.jit(lambda balance, up, down: balance.after(up, down))
    balance = Balance.start(jnp.zeros(()).dtype)
    for _ in range(2000):
        balance = after(balance, 1.0, 0.0)
    # The logarithm's moves add up to no more than the sum over k of -log(1 - 0.5 * 0.98^k), about 29.
    assert 1e6 < float(balance.ratio) < np.exp(30) and float(balance.eagerness) < 1e-15
    assert float(after(balance, 1.0, 1.2).ratio) == float(balance.ratio)
    for k in range(100):
        balance = after(balance, float(k % 2), float(1 - k % 2))
    assert float(balance.eagerness) < 1e-30


def test_condat_vu_can_be_unrolled(double):
    y = jnp.asarray(SIGNAL[:12])

    def denoised(weight, **options):
        problem = fr.LinearComposite(
            lambda x: 0.5 * jnp.sum((x - y) ** 2), h=fr.convex.L1(weight), K=jnp.diff
        )
        return jnp.sum(fr.solve(problem, y, CondatVu(), tol=1e-10, **options).x.primal ** 2)

    implicit = jax.grad(denoised)(0.3)
    unrolled = jax.grad(lambda w: denoised(w, differentiate="unroll", max_steps=1500))(0.3)
    assert float(unrolled) == pytest.approx(float(implicit), abs=1e-6)
