"""JAXopt's block coordinate and mirror descent, against scikit-learn, closed forms and recursions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from frechet.compat import jaxopt
from frechet.compat.jaxopt.objective import CompositeLinearFunction, LinearOperator
from frechet.core import lift

objective, prox = jaxopt.objective, jaxopt.prox
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = X @ RNG.normal(size=(6, 3)) * (np.arange(6)[:, None] < 3).T[:, :1] + 0.1 * RNG.normal(size=(40, 3))
LABELS = np.argmax(Y, axis=1)


def descent(fun=objective.least_squares, block_prox=prox.prox_lasso, **settings):
    return jaxopt.BlockCoordinateDescent(fun, block_prox, **settings)


def test_lasso_against_scikit_learn_and_its_derivative(precision):
    tol = 1e-5 if precision == jnp.float32 else 1e-10
    data = (jnp.asarray(X, precision), jnp.asarray(Y[:, 0], precision))
    w, state = descent(tol=tol).run(jnp.zeros(6, precision), hyperparams_prox=0.1, data=data)
    peer = linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-12, max_iter=100_000)
    peer = peer.fit(X, Y[:, 0]).coef_
    assert w.dtype == precision and state.error <= tol
    np.testing.assert_allclose(w, peer, atol=20 * tol)
    np.testing.assert_array_equal(w == 0, peer == 0)
    np.testing.assert_allclose(state.predictions, X @ np.asarray(w), atol=50 * tol)
    np.testing.assert_allclose(state.subfun_g, (X @ np.asarray(w) - Y[:, 0]) / 40, atol=20 * tol)
    assert state.num_prox_eval == 6 * state.iter_num == state.num_grad_eval - 1
    # With the support S and signs s, w_S = (X_S^T X_S)^-1 (X_S^T y - n lam s).
    S = peer != 0
    closed = -np.linalg.solve(X[:, S].T @ X[:, S] / 40, np.sign(peer[S]))
    for implicit in (True, False):
        run = descent(tol=tol / 10, maxiter=60, implicit_diff=implicit).run
        slope = jax.jacobian(lambda lam, run=run: run(jnp.zeros(6, precision), lam, data).params)(0.1)
        np.testing.assert_allclose(slope[S], closed, rtol=1e-3 if precision == jnp.float32 else 1e-6)


def test_rows_of_several_tasks_against_scikit_learn():
    with jax.enable_x64(True):
        solver = descent(block_prox=prox.prox_group_lasso, tol=1e-10)
        W = solver.run(jnp.zeros((6, 3)), 0.1, (X, Y)).params
        peer = linear_model.MultiTaskLasso(alpha=0.3, fit_intercept=False, tol=1e-13, max_iter=100_000)
        np.testing.assert_allclose(W, peer.fit(X, Y).coef_.T, atol=1e-6)


def test_a_ridge_of_many_classes_against_scikit_learn():
    with jax.enable_x64(True):
        solver = descent(objective.multiclass_logreg, prox.prox_ridge, tol=1e-9, maxiter=2000)
        W, state = solver.run(jnp.zeros((6, 3)), 0.05, (X, LABELS))
        assert state.error <= 1e-9
        peer = linear_model.LogisticRegression(C=1 / (0.05 * 40), fit_intercept=False, tol=1e-10)
        np.testing.assert_allclose(W, peer.fit(X, LABELS).coef_.T, atol=1e-5)
        # The optimality map at a solution.
        assert solver.l2_optimality_error(W, 0.05, (X, LABELS)) <= 1e-7


def test_orthogonal_columns_are_solved_in_one_update():
    """Each row's step is then that of its own curvature, which is the mean's and not the sum's."""
    Q = np.linalg.qr(X)[0]
    with jax.enable_x64(True):
        state = descent().init_state(jnp.zeros(6), 0.001, (Q, Y[:, 0]))
        w, state = descent().update(jnp.zeros(6), state, 0.001, (Q, Y[:, 0]))
        z = Q.T @ Y[:, 0]
        np.testing.assert_allclose(w, np.sign(z) * np.maximum(np.abs(z) - 0.001 * 40, 0), rtol=1e-9)


class Tilted(CompositeLinearFunction):
    """Half the squared norm of ``X w - y``, plus ``<c, w>``."""

    def subfun(self, predictions, y, c):
        return 0.5 * jnp.sum((predictions - y) ** 2)

    def make_linop(self, y, c):
        return LinearOperator(X)

    def columnwise_lipschitz_const(self, y, c):
        return 2 * self.make_linop(y, c).column_l2_norms(squared=True)

    def b(self, y, c):
        return c


@pytest.mark.parametrize("jit", [True, False])
def test_a_function_of_ones_own_follows_the_recursion(jit):
    c, w = RNG.normal(size=(6, 3)), np.zeros((6, 3))
    for _ in range(3):
        before = w.copy()
        for j in range(6):
            step = 1 / (2 * np.sum(X[:, j] ** 2))
            row = w[j] - step * (X[:, j] @ (X @ w - Y) + c[j])
            w[j] = np.sign(row) * np.maximum(np.abs(row) - 2.0 * step, 0)
    with jax.enable_x64(True):
        solver = descent(Tilted(), maxiter=3, tol=0.0, jit=jit)
        found, state = solver.run(jnp.zeros((6, 3)), 2.0, Y, c=c)
        np.testing.assert_allclose(found, w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(state.error, np.linalg.norm(w - before), rtol=1e-7)


def test_functions_of_another_kind_are_refused():
    with pytest.raises(AttributeError, match="CompositeLinearFunction, got a function"):
        jaxopt.BlockCoordinateDescent(lambda w: w @ w, prox.prox_lasso)


# ------------------------------------------------------------------ mirror descent

CENTRE = np.array([0.5, 0.3, 0.4, 0.2])


def distance(x, centre, scale=1.0):
    return 0.5 * scale * jnp.sum((x - centre) ** 2)


def entropic(x, gradient, stepsize, hyperparams_proj):
    y = x * jnp.exp(-stepsize * gradient)
    return hyperparams_proj * y / jnp.sum(y)


def mirror(fun=distance, step=entropic, size=0.5, **settings):
    return jaxopt.MirrorDescent(fun, step, size, **settings)


def test_exponentiated_gradients_with_a_schedule_follow_the_recursion():
    x = np.full(4, 0.25)
    for k in range(5):
        y = x * np.exp(-(x - CENTRE) / (k + 1))
        x, before = y / y.sum(), x
    with jax.enable_x64(True):
        solver = mirror(size=lambda k: 1 / (k + 1), maxiter=5, tol=0.0)
        found, state = solver.run(jnp.full(4, 0.25), 1.0, jnp.asarray(CENTRE))
        np.testing.assert_allclose(found, x, rtol=1e-12)
        np.testing.assert_allclose(state.error, 5 * np.linalg.norm(x - before), rtol=1e-9)
        assert state.iter_num == state.num_fun_eval == state.num_grad_eval == state.num_proj_eval == 5


def test_the_nearest_distribution_and_its_derivative(precision):
    tol = 1e-5 if precision == jnp.float32 else 1e-9
    centre, x0 = jnp.asarray(CENTRE, precision), jnp.full(4, 0.25, precision)
    solver = mirror(size=2.0, tol=tol, maxiter=5000)
    x, state = solver.run(x0, 1.0, centre)
    # Inside of the simplex it is c + (1 - sum c) / n, with derivative I - 1 1^T / n.
    assert x.dtype == precision and state.error <= tol
    np.testing.assert_allclose(x, CENTRE + (1 - CENTRE.sum()) / 4, atol=30 * tol)
    assert solver.l2_optimality_error(x, 1.0, centre) <= tol
    jacobian = jax.jacrev(lambda c: solver.run(x0, 1.0, c).params)(centre)
    np.testing.assert_allclose(jacobian, np.eye(4) - 1 / 4, atol=1e-3 if precision == jnp.float32 else 1e-6)
    # Keywords, and a hyperparameter that is differentiated: the total mass, shared equally.
    slope = jax.jacrev(lambda mass: solver.run(x0, hyperparams_proj=mass, centre=centre).params)(1.0)
    np.testing.assert_allclose(slope, np.full(4, 1 / 4), atol=1e-3)


def test_a_projection_and_a_mirror_map_make_a_step():
    step = jaxopt.MirrorDescent.make_projection_grad(
        lambda dual, _: jax.tree.map(lambda d: jax.nn.softmax(d, -1), dual),
        lambda x: jax.tree.map(jnp.log, x),
    )
    with jax.enable_x64(True):
        fun = lambda x: distance(x["a"], CENTRE)  # noqa: E731
        pair = mirror(fun, step, maxiter=7, tol=0.0).run({"a": jnp.full(4, 0.25)}).params
        same, _ = mirror(maxiter=7, tol=0.0).run(jnp.full(4, 0.25), 1.0, jnp.asarray(CENTRE))
        np.testing.assert_allclose(pair["a"], same, rtol=1e-12)


def test_auxiliary_data_and_a_function_of_numpys():
    with jax.enable_x64(True):
        with_aux = lambda x, c: (distance(x, c), 3 * x)  # noqa: E731
        x, state = mirror(with_aux, has_aux=True).run(jnp.full(4, 0.25), 1.0, jnp.asarray(CENTRE))
        np.testing.assert_allclose(state.aux, 3 * x)
        unrolled = mirror(implicit_diff=False, maxiter=60, size=2.0, tol=0.0)
        slope = jax.jacrev(lambda c: unrolled.run(jnp.full(4, 0.25), 1.0, c).params)(jnp.asarray(CENTRE))
        np.testing.assert_allclose(slope, np.eye(4) - 1 / 4, atol=1e-5)
    called = []

    def counted(x, c):
        called.append(1)
        return distance(x, c)

    state = mirror(counted, jit=False, maxiter=4, tol=0.0).run(jnp.full(4, 0.25), 1.0, CENTRE).state
    assert len(called) == state.num_fun_eval == 4


def soft(row, lam, step):
    return jnp.sign(row) * jnp.maximum(jnp.abs(row) - step * lam, 0)


def test_a_second_run_with_the_same_shapes_does_not_trace():
    def run(k):
        x, c, lam, w = jax.device_put([np.full(4, v, np.float32) for v in (0.25, 0.3, k, k)])
        mirror(size=lambda i: k / (i + 1.0), maxiter=3).run(x, 1.0, c)
        descent(block_prox=soft, maxiter=3).run(w, lam[0], (jnp.asarray(X[:, :4]), jnp.asarray(Y[:, 0])))

    run(1.0)
    run(2.0)  # the schedule's number is found to vary
    before = lift.traces()
    run(3.0)
    # The schedule is a new function, traced to be recognised; nothing else is.
    assert lift.traces() == before + 1
