"""Derivatives through a solver of one's own, against closed forms and finite differences."""

import warnings

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.optimize

import frechet as fr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
Y = X @ RNG.normal(size=4) + 0.1 * RNG.normal(size=20)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def ridge_gradient(w, lam, X, y):
    return X.T @ (X @ w - y) + lam * w


def ridge_exact(lam, X, y):
    return jnp.linalg.solve(X.T @ X + lam * jnp.eye(X.shape[1]), X.T @ y)


@fr.custom_root(ridge_gradient)
def ridge(init, lam, X, y):
    del init
    step = 1 / (jnp.linalg.norm(X, 2) ** 2 + lam)

    def descend(w):
        return w - step * ridge_gradient(w, lam, X, y)

    return jax.lax.while_loop(
        lambda w: jnp.linalg.norm(ridge_gradient(w, lam, X, y)) > 1e-12, descend, jnp.zeros(X.shape[1])
    )


@fr.custom_root(ridge_gradient)
def ridge_by_scipy(init, lam, X, y):
    """Sees concrete values: this could not be traced."""
    A = np.asarray(X).T @ np.asarray(X) + float(lam) * np.eye(4)
    return np.linalg.solve(A, np.asarray(X).T @ np.asarray(y))


@fr.custom_root(ridge_gradient)
def ridge_by_callback(init, lam, X, y):
    shape = jax.ShapeDtypeStruct((4,), X.dtype)
    solve = lambda lam, X, y: np.linalg.solve(X.T @ X + lam * np.eye(4), X.T @ y)  # noqa: E731
    return jax.pure_callback(solve, shape, lam, X, y, vmap_method="sequential")


@pytest.mark.parametrize("solver", [ridge, ridge_by_scipy, ridge_by_callback])
@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
def test_ridge_in_every_argument(solver, mode):
    arguments = (0.7, jnp.asarray(X), jnp.asarray(Y))
    for i in range(3):
        got = mode(solver, argnums=1 + i)(None, *arguments)
        np.testing.assert_allclose(got, mode(ridge_exact, argnums=i)(*arguments), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", [ridge, ridge_by_callback])
def test_under_jit_and_vmap(solver):
    lams = jnp.array([0.1, 1.0, 10.0])
    f = lambda lam: jnp.sum(solver(None, lam, X, Y) ** 2)  # noqa: E731
    exact = lambda lam: jnp.sum(ridge_exact(lam, X, Y) ** 2)  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(lams), jax.vmap(exact)(lams), rtol=1e-9)
    want = jax.vmap(jax.grad(exact))(lams)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(f)))(lams), want, rtol=1e-8)
    np.testing.assert_allclose(jax.grad(lambda v: jnp.sum(jax.vmap(f)(v)))(lams), want, rtol=1e-8)


def test_second_derivatives():
    theta = jnp.array([0.7, 1.3])
    f = lambda t: jnp.sum(ridge(None, t[0] * t[1], X, t[1] * Y) ** 2)  # noqa: E731
    exact = lambda t: jnp.sum(ridge_exact(t[0] * t[1], X, t[1] * Y) ** 2)  # noqa: E731
    want = jax.hessian(exact)(theta)
    np.testing.assert_allclose(jax.hessian(f)(theta), want, rtol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.jacrev(jax.jacrev(f)))(theta), want, rtol=1e-7)
    np.testing.assert_allclose(jax.jacfwd(jax.jacfwd(f))(theta), want, rtol=1e-7)


def soft_threshold(v, lam):
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - lam, 0)


def lasso_map(w, lam, X, y):
    step = 1 / jnp.linalg.norm(X, 2) ** 2
    return soft_threshold(w - step * X.T @ (X @ w - y), step * lam)


@fr.custom_fixed_point(lasso_map)
def lasso(init, lam, X, y):
    return jax.lax.fori_loop(0, 3000, lambda _, w: lasso_map(w, lam, X, y), init)


def test_lasso_derivative_is_that_of_the_active_set():
    lam, w0 = 8.0, jnp.zeros(4)
    w = lasso(w0, lam, X, Y)
    active = np.asarray(w) != 0
    assert 0 < active.sum() < 4
    A = X[:, active]
    want = np.zeros(4)
    want[active] = -np.linalg.solve(A.T @ A, np.sign(np.asarray(w)[active]))
    np.testing.assert_allclose(jax.jacfwd(lasso, argnums=1)(w0, lam, X, Y), want, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(jax.jacrev(lasso, argnums=1)(w0, lam, X, Y), want, rtol=1e-8, atol=1e-12)


def test_logistic_regression_by_another_library():
    labels = np.sign(Y)

    def gradient(params, lam, X):
        w, b = params["w"], params["b"]
        loss = lambda w, b: jnp.mean(jnp.logaddexp(0, -labels * (X @ w + b))) + 0.5 * lam * w @ w  # noqa: E731
        dw, db = jax.grad(loss, argnums=(0, 1))(w, b)
        return {"w": dw, "b": db}

    @fr.custom_root(gradient, has_aux=True)
    def fit(init, lam, X, maxiter=100):
        def F(v):
            g = gradient({"w": v[:4], "b": v[4]}, float(lam), np.asarray(X))
            return np.append(g["w"], g["b"])

        found = scipy.optimize.root(
            F, np.append(init["w"], init["b"]), tol=1e-14, options={"maxfev": maxiter}
        )
        return {"w": jnp.asarray(found.x[:4]), "b": jnp.asarray(found.x[4])}, {"calls": found.nfev}

    init = {"w": jnp.zeros(4), "b": jnp.asarray(0.0)}

    def total(lam, X):
        params, aux = fit(init, lam, X=X, maxiter=1000)  # maxiter is no business of the optimality map's
        assert aux["calls"] > 0
        return jnp.sum(params["w"] ** 2) + params["b"]

    got = jax.grad(total)(0.3, jnp.asarray(X))
    want = (total(0.3 + 1e-5, jnp.asarray(X)) - total(0.3 - 1e-5, jnp.asarray(X))) / 2e-5
    np.testing.assert_allclose(got, want, rtol=1e-6)
    slope = jax.grad(total, argnums=1)(0.3, jnp.asarray(X))
    E = RNG.normal(size=X.shape)
    want = (total(0.3, jnp.asarray(X + 1e-5 * E)) - total(0.3, jnp.asarray(X - 1e-5 * E))) / 2e-5
    np.testing.assert_allclose(jnp.sum(slope * E), want, rtol=1e-5)


def test_a_dual_svm_by_projected_gradient():
    labels = np.sign(Y)
    K0 = (labels[:, None] * X) @ (labels[:, None] * X).T

    def T(a, C, ridge):
        K = K0 + ridge * np.eye(20)
        return jnp.clip(a - (K @ a - 1) / 60, 0, C)

    @fr.custom_fixed_point(T, tol=1e-8)
    def dual(init, C, ridge):
        return jax.lax.fori_loop(0, 20_000, lambda _, a: T(a, C, ridge), init)

    total = jax.jit(lambda C, ridge: jnp.sum(jnp.sin(dual(jnp.zeros(20), C, ridge))))
    a = np.asarray(dual(jnp.zeros(20), 0.4, 0.5))
    assert np.any(a == 0) and np.any(a == 0.4) and np.any((a > 0) & (a < 0.4))
    got = jax.grad(total, argnums=(0, 1))(0.4, 0.5)
    h = 1e-6
    want = (
        (total(0.4 + h, 0.5) - total(0.4 - h, 0.5)) / (2 * h),
        (total(0.4, 0.5 + h) - total(0.4, 0.5 - h)) / (2 * h),
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_start_has_no_derivative_and_may_be_named():
    f = lambda w0: jnp.sum(lasso(w0, 8.0, X, Y))  # noqa: E731
    assert not np.any(jax.grad(f)(jnp.ones(4)))
    by_name = ridge(init=None, lam=0.7, X=jnp.asarray(X), y=jnp.asarray(Y))
    np.testing.assert_allclose(by_name, ridge_exact(0.7, X, Y), rtol=1e-9)
    slope = jax.grad(lambda lam: jnp.sum(ridge(None, lam=lam, X=X, y=Y)))(0.7)
    np.testing.assert_allclose(slope, jax.grad(lambda m: jnp.sum(ridge_exact(m, X, Y)))(0.7), rtol=1e-8)


def test_the_linear_solver_is_a_choice():
    solver = fr.custom_root(ridge_gradient, solve=lx.GMRES(rtol=1e-12, atol=1e-12))(
        lambda init, lam: ridge_exact(lam, X, Y)
    )
    with pytest.raises(TypeError):  # F needs X and y too
        jax.grad(lambda lam: jnp.sum(solver(None, lam)))(0.7)
    solver = fr.custom_root(
        lambda w, lam: ridge_gradient(w, lam, X, Y), solve=lx.GMRES(rtol=1e-12, atol=1e-12)
    )(lambda init, lam: ridge_exact(lam, X, Y))
    got = jax.grad(lambda lam: jnp.sum(solver(None, lam)))(0.7)
    np.testing.assert_allclose(got, jax.grad(lambda m: jnp.sum(ridge_exact(m, X, Y)))(0.7), rtol=1e-8)


def test_a_derivative_away_from_a_root_warns(precision):
    rough = fr.custom_root(lambda x, a: 1000 * (x**2 - a))(lambda init, a, off: jnp.sqrt(a) * (1 + off))
    with jax.enable_x64(precision == np.float64):
        a, eps = jnp.asarray(4.0, precision), float(np.finfo(precision).eps)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            jax.block_until_ready(jax.grad(lambda a: rough(None, a, off=eps**0.5))(a))
        with pytest.warns(fr.DerivativeWarning, match="did not converge"):
            jax.block_until_ready(jax.grad(lambda a: rough(None, a, off=4 * eps**0.25))(a))
            jax.effects_barrier()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fr.custom_root(3), "zero at the solution, got a int"),
        (lambda: fr.custom_fixed_point(3), "whose fixed point is sought"),
        (lambda: fr.custom_root(ridge_gradient)(3), "the solver must be callable"),
        (
            lambda: fr.custom_root(lambda x: x)(lambda init: jnp.zeros(2, int))(None),
            r"of dtype int64; return",
        ),
        (lambda: fr.custom_root(lambda x: x, has_aux=True)(lambda init: init)(1.0), r"returns \(x, aux\)"),
        (lambda: fr.custom_root(lambda x, a: x)(lambda init, a: init)(a=1.0), "start as its first argument"),
    ],
)
def test_bad_use_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
