"""JAXopt's function modules: signatures as there, values against closed forms and NumPy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from frechet.compat.jaxopt import (
    isotonic,
    linear_solve,
    loop,
    loss,
    objective,
    perturbations,
    projection,
    prox,
    tree_util,
)

X = jnp.array([0.5, -1.0, 2.0])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: projection.projection_non_negative(X), [0.5, 0, 2]),
        (lambda: projection.projection_box(X, (-0.5, 1.0)), [0.5, -0.5, 1]),
        (lambda: projection.projection_box(X, (-jnp.ones(3), jnp.zeros(3))), [0, -1, 0]),
        (lambda: projection.projection_hypercube(X), [0.5, 0, 1]),
        (lambda: projection.projection_simplex(X, 2.0), [0.25, 0, 1.75]),
        (lambda: projection.projection_simplex(X, None), [0, 0, 1]),
        (lambda: projection.projection_sparse_simplex(X, 1, value=3.0), [0, 0, 3]),
        (lambda: projection.projection_l1_sphere(X, 5.5), [1.1666667, -1.6666667, 2.6666667]),
        (lambda: projection.projection_l1_ball(X, 1.5), [0, -0.25, 1.25]),
        (lambda: projection.projection_l1_ball(X, 5.0), X),
        (lambda: projection.projection_l2_sphere(jnp.array([3.0, 4.0]), 10.0), [6, 8]),
        (lambda: projection.projection_l2_ball(jnp.array([3.0, 4.0]), 1.0), [0.6, 0.8]),
        (lambda: projection.projection_linf_ball(X), [0.5, -1, 1]),
        (lambda: projection.projection_hyperplane(X, (jnp.ones(3), 0.0)), [0, -1.5, 1.5]),
        (lambda: projection.projection_halfspace(X, (jnp.ones(3), 3.0)), X),
        (lambda: projection.projection_affine_set(X, (jnp.ones((1, 3)), jnp.zeros(1))), [0, -1.5, 1.5]),
        (
            lambda: projection.projection_polyhedron(
                X, (jnp.ones((1, 3)), jnp.ones(1), -jnp.eye(3), jnp.zeros(3))
            ),
            [0, 0, 1],
        ),
        (
            lambda: projection.projection_box_section(X, (jnp.zeros(3), jnp.ones(3), jnp.ones(3), 1.5), True),
            [0.5, 0, 1],
        ),
        (lambda: projection.projection_transport(jnp.eye(2), (jnp.ones(2), jnp.ones(2))), np.eye(2)),
        (lambda: projection.projection_birkhoff(jnp.zeros((2, 2))), np.full((2, 2), 0.5)),
        (
            lambda: projection.kl_projection_transport(
                jnp.zeros((2, 2)), (jnp.array([1.0, 3.0]), 2 * jnp.ones(2))
            ),
            [[0.5, 0.5], [1.5, 1.5]],
        ),
        (lambda: projection.kl_projection_birkhoff(jnp.ones((2, 2))), np.full((2, 2), 0.5)),
        (lambda: prox.prox_none(X, None, 2.0), X),
        (lambda: prox.prox_lasso(X, 0.5, 0.5), [0.25, -0.75, 1.75]),
        (lambda: prox.prox_lasso(X, jnp.array([1.0, 0.0, 1.0])), [0, -1, 1]),
        (lambda: prox.prox_non_negative_lasso(X, 1.0, 0.25), [0.25, 0, 1.75]),
        (lambda: prox.prox_elastic_net(X, (0.5, 2.0), 0.5), [0.25 / 1.5, -0.75 / 1.5, 1.75 / 1.5]),
        (lambda: prox.prox_group_lasso(jnp.array([3.0, 4.0]), 2.5), [1.5, 2]),
        (lambda: prox.prox_ridge(X, 0.5, 2.0), [0.25, -0.5, 1]),
        (lambda: prox.prox_non_negative_ridge(X), [0.25, 0, 1]),
        (lambda: prox.make_prox_from_projection(projection.projection_box)(X, (0, 1), 7.0), [0.5, 0, 1]),
        (lambda: isotonic.isotonic_l2_pav(X), [-0.25, -0.25, 2]),
        (lambda: isotonic.isotonic_l2_pav(X, y_max=0.25, increasing=False), [0.25, 0.25, 0.25]),
    ],
)
def test_projections_and_proximal_maps(found, expected):
    np.testing.assert_allclose(found(), expected, atol=2e-6)


def test_infeasible_sets_are_told():
    hyperparams = (None, None, jnp.array([[1.0], [-1.0]]), jnp.array([0.0, -1.0]))
    with pytest.raises(ValueError, match="polyhedron is empty"):
        projection.projection_polyhedron(jnp.ones(1), hyperparams)
    for alpha, beta, words in ((2.0, 3.0, "alpha should"), (0.0, 0.1, "beta should")):
        with pytest.raises(ValueError, match=words):
            projection.projection_box_section(X, (alpha, beta, 1.0, 1.0), check_feasible=True)
    with pytest.raises(ValueError, match="marginals_a should be a vector"):
        projection.projection_transport(jnp.eye(2), (jnp.ones((2, 1)), jnp.ones(2)))


@pytest.mark.parametrize("label", [0, 1])
def test_binary_losses(label):
    z = jnp.array([-3.0, -0.5, 0.4, 5.0])
    s = (2 * label - 1) * np.asarray(z)
    for f, expected in (
        (loss.binary_logistic_loss, np.log1p(np.exp(-s))),
        (loss.binary_sparsemax_loss, np.where(s >= 1, 0, np.where(s <= -1, -s, (1 - s) ** 2 / 4))),
        (loss.binary_hinge_loss, np.maximum(0, 1 - s)),
        (loss.binary_perceptron_loss, np.maximum(0, -s)),
    ):
        np.testing.assert_allclose(jax.vmap(f, (None, 0))(label, z), expected, rtol=1e-5, atol=1e-7)


def test_multiclass_losses_and_huber():
    z = np.array([1.2, 0.3, 2.3])
    y = np.eye(3)[1]
    p = np.asarray(projection.projection_simplex(jnp.asarray(z)))
    for f, expected in (
        (loss.multiclass_logistic_loss, scipy.special.logsumexp(z) - z[1]),
        (loss.multiclass_sparsemax_loss, p @ z - p @ p / 2 + 0.5 - z[1]),
        (loss.multiclass_hinge_loss, np.max(z + 1 - y) - z[1]),
        (loss.multiclass_perceptron_loss, np.max(z) - z[1]),
        (
            lambda label, z: loss.make_fenchel_young_loss(jax.nn.logsumexp)(y, z),
            scipy.special.logsumexp(z) - z[1],
        ),
    ):
        assert float(f(1, jnp.asarray(z))) == pytest.approx(expected, rel=1e-5)
    assert float(loss.huber_loss(1.0, 4.0, 2.0)) == 4.0
    assert float(loss.huber_loss(1.0, 1.5)) == 0.125 and float(loss.huber_loss(0, 3)) == 2.5


def test_objectives():
    rng = np.random.default_rng(0)
    A, y, W, b = (
        rng.normal(size=(5, 3)),
        np.array([0, 1, 2, 1, 0]),
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
    )
    log = scipy.special.log_softmax
    w, t = W[:, 0], rng.normal(size=5)
    value = {
        "least": (objective.least_squares(w, (A, t)), np.mean((A @ w - t) ** 2) / 2),
        "ridge": (
            objective.ridge_regression(w, 0.3, (A, t)),
            np.mean((A @ w - t) ** 2) / 2 + 0.15 * np.sum(w**2),
        ),
        "binary": (
            objective.binary_logreg(w, (A, y > 0)),
            np.mean(np.logaddexp(0, np.where(y > 0, -1, 1) * (A @ w))),
        ),
        "multi": (objective.multiclass_logreg(W, (A, y)), -np.mean(log(A @ W, 1)[np.arange(5), y])),
        "intercept": (
            objective.l2_multiclass_logreg_with_intercept((W, b), 0.3, (A, y)),
            -np.mean(log(A @ W + b, 1)[np.arange(5), y]) + 0.15 * np.sum(W**2),
        ),
    }
    for found, expected in value.values():
        assert float(found) == pytest.approx(expected, rel=1e-5)
    Y, beta = np.eye(3)[y], rng.normal(size=(5, 3))
    V = A.T @ (Y - beta)
    expected = np.sum(V**2) / 0.6 + np.sum(beta * (Y - 1))
    assert float(objective.multiclass_linear_svm_dual(beta, 0.3, (A, Y))) == pytest.approx(expected, rel=1e-5)
    constants = objective.binary_logreg.columnwise_lipschitz_const((A, y))
    np.testing.assert_allclose(constants, np.sum(A**2, 0) / 4, rtol=1e-5)


def test_perturbed_functions_take_the_key_last():
    def hardmax(x):
        return jax.nn.one_hot(jnp.argmax(x), x.size)

    key, n = jax.random.key(0), 20_000
    soft = perturbations.make_perturbed_argmax(hardmax, n, 0.5)(X, key)
    np.testing.assert_allclose(soft, jax.nn.softmax(X / 0.5), atol=6 / np.sqrt(n))
    top = perturbations.make_perturbed_max(hardmax, n, 0.5)
    np.testing.assert_allclose(jax.grad(top)(X, key), soft, atol=1e-5)
    mean = perturbations.make_perturbed_fun(lambda x: x, n, 0.5, perturbations.Normal(), True)(X, key)
    np.testing.assert_allclose(mean, X, atol=3 / np.sqrt(n))


def test_tree_util():
    a, b = {"u": jnp.array([1.0, 2.0]), "v": 3.0}, {"u": jnp.array([2.0, -1.0]), "v": 4.0}
    assert float(tree_util.tree_vdot(a, b)) == 12
    assert float(tree_util.tree_l2_norm(a, squared=True)) == 14
    assert float(tree_util.tree_inf_norm(b)) == 4
    assert float(tree_util.tree_sum(tree_util.tree_add_scalar_mul(a, 2.0, b))) == 16
    picked = tree_util.tree_where(True, a, 0.0)
    assert jax.tree.structure(picked) == jax.tree.structure(a) and float(picked["v"]) == 3
    with pytest.raises(ValueError, match="different structures"):
        tree_util.broadcast_pytrees(a, [1.0, 2.0])
    assert float(tree_util.tree_vdot_real(jnp.array([1j]), jnp.array([1j]))) == 1


def test_linear_solvers():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        M, b = rng.normal(size=(4, 4)), rng.normal(size=4)
        S = M @ M.T + np.eye(4)
        for A, names in ((M, "lu inv qr normal_cg gmres bicgstab"), (S, "cholesky cg")):
            for name in names.split():
                solve = getattr(linear_solve, f"solve_{name}")
                found = solve(lambda v, A=A: A @ v, jnp.asarray(b))
                np.testing.assert_allclose(found, np.linalg.solve(A, b), rtol=2e-3, atol=2e-3, err_msg=name)
        found = linear_solve.solve_lu(lambda v: M @ v, jnp.asarray(b), ridge=0.5)
        np.testing.assert_allclose((M + 0.5 * np.eye(4)) @ found, b, atol=1e-12)
        found = linear_solve.solve_normal_cg(lambda v: M[:2] @ v, b[:2], init=jnp.zeros(4), tol=1e-12)
        np.testing.assert_allclose(found, np.linalg.pinv(M[:2]) @ b[:2], atol=1e-8)
        with pytest.raises(TypeError, match="nonsquare"):
            linear_solve.solve_normal_cg(lambda v: M[:2] @ v, b[:2])


def test_while_loop():
    def run(x, maxiter, **options):
        return loop.while_loop(lambda v: v < 10, lambda v: 2 * v, x, maxiter, **options)

    for options in ({"unroll": True}, {"unroll": True, "jit": True}, {"jit": True}):
        assert float(run(1.0, 100, **options)) == 16
        assert float(run(1.0, 2, **options)) == 4
    assert float(jax.grad(lambda x: run(x, 100, unroll=True, jit=True))(1.0)) == 16
    with pytest.raises(ValueError, match="cannot be used together"):
        run(1.0, 2)


def test_importing_the_package_is_light_and_silent():
    loaded = "[m for m in ('optax', 'jaxopt') if m in sys.modules]"
    code = f"import sys; from frechet.compat import jaxopt; print({loaded})"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
