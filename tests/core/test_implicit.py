"""Derivatives of solutions against closed forms, finite differences and unrolling."""

import warnings

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.proximal.fista import FISTA


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.normal(size=(20, 4)))
    return X, jnp.asarray(X @ rng.normal(size=4) + 0.1 * rng.normal(size=20))


def ridge(X, y, lam):
    return fr.Composite(lambda w: 0.5 * jnp.sum((X @ w - y) ** 2) + 0.5 * lam * jnp.sum(w**2))


def ridge_exact(X, y, lam):
    return jnp.linalg.solve(X.T @ X + lam * jnp.eye(X.shape[1]), X.T @ y)


def ridge_solved(X, y, lam, **kwargs):
    return fr.solve(
        ridge(X, y, lam), jnp.zeros(X.shape[1]), FISTA(), tol=1e-12, max_steps=100_000, **kwargs
    ).x


def test_ridge_matches_its_closed_form_in_every_argument(data):
    X, y = data
    for i in range(3):
        got = jax.jacrev(ridge_solved, argnums=i)(X, y, 0.7)
        want = jax.jacrev(ridge_exact, argnums=i)(X, y, 0.7)
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


def test_forward_and_reverse_are_adjoint(data):
    X, y = data
    rng = np.random.default_rng(1)
    dX, dy, dlam = jnp.asarray(rng.normal(size=X.shape)), jnp.asarray(rng.normal(size=y.shape)), 0.3
    w = jnp.asarray(rng.normal(size=4))
    _, forward = jax.jvp(ridge_solved, (X, y, 0.7), (dX, dy, dlam))
    _, pull = jax.vjp(ridge_solved, X, y, 0.7)
    gX, gy, glam = pull(w)
    np.testing.assert_allclose(w @ forward, jnp.sum(gX * dX) + gy @ dy + glam * dlam, rtol=1e-12)


def test_second_and_third_derivatives(data):
    X, y = data
    f = lambda lam: jnp.sum(ridge_solved(X, y, lam) ** 2)  # noqa: E731
    g = lambda lam: jnp.sum(ridge_exact(X, y, lam) ** 2)  # noqa: E731
    np.testing.assert_allclose(jax.grad(jax.grad(f))(0.7), jax.grad(jax.grad(g))(0.7), rtol=1e-8)
    np.testing.assert_allclose(jax.jacfwd(jax.grad(f))(0.7), jax.grad(jax.grad(g))(0.7), rtol=1e-8)
    third = jax.grad(jax.grad(jax.grad(f)))(0.7)
    np.testing.assert_allclose(third, jax.grad(jax.grad(jax.grad(g)))(0.7), rtol=1e-7)


def test_under_jit_and_vmap(data):
    X, y = data
    f = lambda lam: jnp.sum(ridge_solved(X, y, lam))  # noqa: E731
    lams = jnp.array([0.1, 1.0, 10.0])
    want = jax.vmap(jax.grad(lambda lam: jnp.sum(ridge_exact(X, y, lam))))(lams)
    np.testing.assert_allclose(jax.vmap(jax.grad(f))(lams), want, rtol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda v: jnp.sum(jax.vmap(f)(v))))(lams), want, rtol=1e-8)


def test_lasso_derivative_is_that_of_the_active_set(data):
    X, y = data
    n = len(y)

    def x_of(lam):
        problem = fr.Composite(fr.losses.Squared(X, y), fr.convex.L1(lam))
        return fr.solve(problem, jnp.zeros(4), FISTA(), tol=1e-13, max_steps=100_000).x

    lam = 0.35
    x = x_of(lam)
    active = np.asarray(x) != 0
    assert 0 < active.sum() < 4
    A = np.asarray(X)[:, active]
    want = np.zeros(4)
    want[active] = -np.linalg.solve(A.T @ A / n, np.sign(np.asarray(x)[active]))
    np.testing.assert_allclose(jax.jacfwd(x_of)(lam), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "solver", [lx.GMRES(rtol=1e-12, atol=1e-12), lx.BiCGStab(rtol=1e-12, atol=1e-12), lx.QR(), lx.SVD()]
)
def test_the_linear_solver_is_a_choice(data, solver):
    X, y = data
    f = lambda lam: jnp.sum(ridge_solved(X, y, lam, linear_solver=solver))  # noqa: E731
    np.testing.assert_allclose(
        jax.grad(f)(0.7), jax.grad(lambda m: jnp.sum(ridge_exact(X, y, m)))(0.7), rtol=1e-7
    )


@pytest.mark.parametrize("penalised", [False, True])
def test_beyond_the_dense_limit_products_alone_are_used(penalised):
    n = 1500
    d = jnp.linspace(1.0, 3.0, n)
    g = fr.convex.L1(0.5) if penalised else fr.convex.Zero()

    def total(a):
        f = lambda x: 0.5 * jnp.sum(d * x**2) - a * jnp.sum(x)  # noqa: E731
        return jnp.sum(fr.solve(fr.Composite(f, g), jnp.zeros(n), FISTA(), tol=1e-10).x)

    # Separable: x = a / d, or (a - 0.5) / d, whose derivative in a is 1 / d.
    np.testing.assert_allclose(jax.grad(total)(2.0), jnp.sum(1 / d), rtol=1e-8)


def test_unroll_and_one_step_against_the_implicit_derivative(data):
    X, y = data
    L = float(jnp.linalg.norm(X, 2) ** 2) + 0.7
    rules = {}
    for rule in ("implicit", "unroll", "one-step"):
        f = lambda lam, rule=rule: jnp.sum(  # noqa: E731
            fr.solve(
                ridge(X, y, lam),
                jnp.zeros(4),
                FISTA(step_size=1 / L),
                tol=1e-13,
                max_steps=2000,
                differentiate=rule,
            ).x
        )
        rules[rule] = (jax.grad(f)(0.7), jax.jacfwd(f)(0.7))
    np.testing.assert_allclose(rules["unroll"], rules["implicit"], rtol=1e-6)
    # One step of a method with contraction factor q is off by at most a factor q (Bolte et al., 2023).
    q = 1 - 0.7 / L
    assert abs(rules["one-step"][0] - rules["implicit"][0]) <= q * abs(rules["implicit"][0]) * 1.01
    np.testing.assert_allclose(rules["one-step"][0], rules["one-step"][1], rtol=1e-9)


def test_none_stops_derivatives(data):
    X, y = data
    assert jax.grad(lambda lam: jnp.sum(ridge_solved(X, y, lam, differentiate="none")))(0.7) == 0.0


def test_start_tolerance_and_hyperparameters_have_zero_derivative(data):
    X, y = data

    def f(x0, step, tol):
        return jnp.sum(fr.solve(ridge(X, y, 0.7), x0, FISTA(step_size=step), tol=tol).x)

    for g in jax.grad(f, argnums=(0, 1, 2))(jnp.ones(4), 0.01, 1e-9):
        np.testing.assert_array_equal(g, jnp.zeros_like(g))


def test_integer_leaves_do_not_get_in_the_way():
    labels = jnp.array([0, 1, 1, 0, 1])
    X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))

    def f(lam):
        loss = lambda w: jnp.mean(jnp.logaddexp(0.0, jnp.where(labels == 1, -1, 1) * (X @ w))) + lam * w @ w  # noqa: E731
        return jnp.sum(fr.solve(fr.Composite(loss), jnp.zeros(2), FISTA(), tol=1e-12).x)

    h = 1e-5
    np.testing.assert_allclose(jax.grad(f)(0.3), (f(0.3 + h) - f(0.3 - h)) / (2 * h), rtol=1e-6)


def test_the_error_of_the_derivative_is_of_the_order_of_the_solutions(data):
    # Theorem 1 of Blondel et al. (2022): |J(x) - J*| <= C |x - x*|, checked as a slope over five decades.
    X, y = data
    labels = (y > 0).astype(float)

    def solved(lam, tol):
        loss = lambda w: jnp.mean(jnp.logaddexp(0.0, X @ w) - labels * (X @ w)) + 0.5 * lam * w @ w  # noqa: E731
        return fr.solve(fr.Composite(loss), jnp.zeros(4), FISTA(), tol=tol, max_steps=100_000).x

    jacobian = lambda tol: jax.jacfwd(lambda lam: solved(lam, tol))(0.1)  # noqa: E731
    x_star, j_star = solved(0.1, 1e-14), jacobian(1e-14)
    tols = np.logspace(-2, -7, 11)
    dx = [float(jnp.linalg.norm(solved(0.1, t) - x_star)) for t in tols]
    dj = [float(jnp.linalg.norm(jacobian(t) - j_star)) for t in tols]
    slope = np.polyfit(np.log(dx), np.log(dj), 1)[0]
    assert abs(slope - 1) < 0.1


# ------------------------------------------------------------------ where the theorem does not hold


def test_at_a_kink_one_element_of_the_generalised_jacobian_is_returned():
    # x(lam) = max(1 - lam, 0): at lam = 1 every value in [-1, 0] is a generalised derivative.
    def x_of(lam):
        problem = fr.Composite(lambda x: 0.5 * (x - 1.0) ** 2, fr.convex.L1(lam))
        return fr.solve(problem, jnp.zeros(()), FISTA(), tol=1e-12).x

    with pytest.warns(fr.DerivativeWarning, match="at a kink"):
        assert -1 <= float(jax.grad(x_of)(1.0)) <= 0
        jax.effects_barrier()
    assert float(jax.grad(x_of)(0.5)) == pytest.approx(-1)
    assert float(jax.grad(x_of)(1.5)) == pytest.approx(0)


def test_a_derivative_of_an_unconverged_solve_is_flagged(data):
    X, y = data
    f = lambda lam: jnp.sum(fr.solve(ridge(X, y, lam), jnp.zeros(4), FISTA(), max_steps=2).x)  # noqa: E731
    with pytest.warns(fr.DerivativeWarning, match="did not converge"):
        jax.block_until_ready(jax.grad(f)(0.7))
        jax.effects_barrier()


def test_a_singular_jacobian_is_flagged_unless_declared():
    class Valley(fr.Composite):
        isolated = False

    def x_of(a, kind):
        return fr.solve(kind(lambda x: 0.5 * (jnp.sum(x) - a) ** 2), jnp.zeros(2), FISTA(), tol=1e-10).x

    with pytest.warns(fr.DerivativeWarning, match="singular"):
        jax.block_until_ready(jax.jacfwd(lambda a: x_of(a, fr.Composite))(1.0))
        jax.effects_barrier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minimum_norm = jax.jacfwd(lambda a: x_of(a, Valley))(1.0)
        jax.effects_barrier()
    np.testing.assert_allclose(minimum_norm, [0.5, 0.5], rtol=1e-8)


def test_where_a_linear_solve_fails_nothing_is_raised_under_jit():
    """Dense (a singular matrix) and by products alone, in reverse mode, where Lineax would raise."""
    for n in (2, 300):
        f = lambda t, n=n: jnp.sum(fr.solve(fr.Root(lambda x: (x - t) ** 2), jnp.ones(n)).x)  # noqa: E731
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not np.isclose(jax.jit(jax.grad(f))(1.0), n)
            jax.effects_barrier()


def test_a_converged_derivative_is_silent(data):
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.block_until_ready(jax.grad(lambda lam: jnp.sum(ridge_solved(X, y, lam)))(0.7))
        jax.effects_barrier()
