"""Losses of linear models against scikit-learn, SciPy, finite differences and their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from jax.experimental.sparse import BCOO

from frechet import losses

N, P, K = 40, 6, 4


@pytest.fixture(params=[True, False], ids=["float64", "float32"])
def precision(request):
    with jax.enable_x64(request.param):
        yield jnp.float64 if request.param else jnp.float32


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)) * (rng.random((N, P)) < 0.6)
    X[3] = 0  # an empty row for the sparse layout
    return X, {
        "two": rng.integers(0, 2, N),
        "many": rng.integers(0, K, N),
        "real": rng.normal(size=N) * 2,
        "vector": rng.normal(size=(N, K)),
        "counts": rng.poisson(2.0, N),
    }


def smoothed_hinge_by_conjugate(z, s, gamma):
    """The hinge is max over a in [0, 1] of a h; the smoothing subtracts gamma a^2 / 2 from it."""
    a = np.linspace(0, 1, 20001)
    return np.max(a * (1 - s * z)[:, None] - gamma * a**2 / 2, axis=1).mean()


# name: (loss, its targets, reference from predictions z and targets y, differentiable everywhere)
CASES = {
    "logistic": (
        losses.Logistic,
        "two",
        lambda z, y: sklearn.metrics.log_loss(y, scipy.special.expit(z)),
        True,
    ),
    "multinomial": (
        losses.Multinomial,
        "many",
        lambda z, y: sklearn.metrics.log_loss(y, scipy.special.softmax(z, axis=1), labels=range(K)),
        True,
    ),
    "squared": (losses.Squared, "real", lambda z, y: sklearn.metrics.mean_squared_error(y, z) / 2, True),
    "squared-vector": (
        losses.Squared,
        "vector",
        lambda z, y: sklearn.metrics.mean_squared_error(y, z) / 2 * K,
        True,
    ),
    "huber": (
        lambda *a, **k: losses.Huber(*a, delta=0.7, **k),
        "real",
        lambda z, y: scipy.special.huber(0.7, z - y).mean(),
        True,
    ),
    "hinge": (losses.Hinge, "two", lambda z, y: sklearn.metrics.hinge_loss(y, z), False),
    "squared-hinge": (
        losses.SquaredHinge,
        "two",
        lambda z, y: np.mean(np.maximum(0, 1 - (2 * y - 1) * z) ** 2),  # and see LinearSVC below
        True,
    ),
    "smoothed-hinge": (
        lambda *a, **k: losses.SmoothedHinge(*a, gamma=0.5, **k),
        "two",
        lambda z, y: smoothed_hinge_by_conjugate(z, 2 * y - 1, 0.5),
        True,
    ),
    "poisson": (
        losses.Poisson,
        "counts",
        # the deviance leaves out the term of the saturated model
        lambda z, y: (
            sklearn.metrics.mean_poisson_deviance(y, np.exp(z)) / 2 - np.mean(scipy.special.xlogy(y, y) - y)
        ),
        True,
    ),
    "quantile": (
        lambda *a, **k: losses.Quantile(*a, q=0.3, **k),
        "real",
        lambda z, y: sklearn.metrics.mean_pinball_loss(y, z, alpha=0.3),
        False,
    ),
}
SMOOTH = [name for name, case in CASES.items() if case[3]]
BOUNDED = [name for name in SMOOTH if name != "poisson"]


def make(name, seed=0, **kwargs):
    """The loss of a case, its design and targets, and a random w."""
    make_loss, kind, *_ = CASES[name]
    X, targets = data(seed)
    y = targets[kind]
    outputs = (K,) if kind in ("many", "vector") else ()
    w = np.random.default_rng(seed + 1).normal(size=(P, *outputs))
    return make_loss(X, y, **kwargs), X, y, jnp.asarray(w)


@pytest.mark.parametrize("name", CASES)
def test_value_is_that_of_the_reference(name, precision):
    loss, X, y, w = make(name)
    value = loss(w)
    assert value.dtype == precision
    # the grid of the conjugate is 5e-5 wide, so its maximum is off by at most gamma / 2 of its square
    rtol = 1e-5 if precision == jnp.float32 else 1e-8 if name == "smoothed-hinge" else 1e-12
    np.testing.assert_allclose(value, CASES[name][2](X @ np.asarray(w, float), y), rtol=rtol)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_finite_differences(name, float64):
    loss, _, _, w = make(name)
    gradient = jax.grad(loss)(w)
    v = jnp.asarray(np.random.default_rng(5).normal(size=w.shape))
    h = 1e-6
    slope = (loss(w + h * v) - loss(w - h * v)) / (2 * h)
    # central differences: rounding of 1e-16 / h and truncation of h^2, with room of 10
    np.testing.assert_allclose(jnp.vdot(gradient, v), slope, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_sparse_is_dense(name, float64):
    dense, X, _, w = make(name)
    for sparse_X in (BCOO.fromdense(jnp.asarray(X)), BCOO.fromdense(jnp.asarray(X), nse=N * P)):
        sparse = CASES[name][0](sparse_X, data()[1][CASES[name][1]])
        np.testing.assert_allclose(sparse(w), dense(w), rtol=1e-13)
        np.testing.assert_allclose(jax.grad(sparse)(w), jax.grad(dense)(w), atol=1e-14, rtol=1e-12)
        if np.isfinite(dense.curvature):
            np.testing.assert_allclose(sparse.lipschitz_terms(), dense.lipschitz_terms(), rtol=1e-13)
            np.testing.assert_allclose(sparse.lipschitz(), dense.lipschitz(), rtol=1e-2)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "layout", [jnp.asarray, lambda X: BCOO.fromdense(jnp.asarray(X))], ids=["dense", "sparse"]
)
@pytest.mark.parametrize("name", CASES)
def test_sampled_is_the_mean_over_the_subset(name, layout, weighted, float64):
    make_loss, kind, *_ = CASES[name]
    X, targets = data()
    y, w = targets[kind], make(name)[3]
    weight = np.random.default_rng(2).random(N) if weighted else np.ones(N)
    loss = make_loss(layout(X), y, sample_weight=weight if weighted else None)
    subset = np.array([7, 3, 3, 39, 0, 12])
    terms = [float(make_loss(X[[i]], y[[i]])(w)) * weight[i] for i in subset]
    sampled = jax.jit(lambda loss, w, indices: loss.sampled(indices)(w))
    np.testing.assert_allclose(sampled(loss, w, jnp.asarray(subset)), np.mean(terms), rtol=1e-12)
    assert loss.sampled(jnp.asarray(subset)).count == len(subset)
    whole = loss.sampled(jnp.arange(N))
    np.testing.assert_allclose(jax.grad(whole)(w), jax.grad(loss)(w), rtol=1e-11, atol=1e-14)
    # sampling a sample: SVRG's inner mean inside a shard, say
    np.testing.assert_allclose(whole.sampled(jnp.asarray(subset))(w), np.mean(terms), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_integer_weights_repeat_rows(name, float64):
    make_loss, kind, *_ = CASES[name]
    X, targets = data()
    y, w = targets[kind], make(name)[3]
    repeats = np.random.default_rng(3).integers(0, 3, N)
    weighted = make_loss(X, y, sample_weight=repeats)
    repeated = make_loss(np.repeat(X, repeats, axis=0), np.repeat(y, repeats, axis=0))
    np.testing.assert_allclose(weighted(w), repeated(w) * repeats.sum() / N, rtol=1e-13)


@pytest.mark.parametrize("name", BOUNDED)
def test_curvature_bounds_second_derivatives_and_is_attained(name, float64):
    loss, *_ = make(name)
    rng = np.random.default_rng(4)
    outputs = loss.y.shape[1:] if name == "squared-vector" else (K,) if name == "multinomial" else ()
    z = rng.normal(size=(500, *outputs)) * rng.choice([0.3, 3.0, 30.0], size=(500, *[1] * len(outputs)))
    if name == "multinomial":
        z[0] = [0.0, 0.0, -50.0, -50.0]  # two equal classes attain the bound
    rows = rng.integers(0, N, 500)

    def single(z, y):
        return loss.pointwise(z[None], y[None])[0]

    hessians = np.asarray(jax.vmap(jax.hessian(single))(jnp.asarray(z), loss.y[rows])).reshape(500, -1)
    side = int(np.sqrt(hessians.shape[1]))
    largest = np.linalg.eigvalsh(hessians.reshape(500, side, side))[:, -1]
    assert largest.max() <= loss.curvature * (1 + 1e-12)
    assert largest.max() >= loss.curvature * 0.99


@pytest.mark.parametrize("name", sorted(CASES.keys() - set(BOUNDED)))
def test_curvature_is_infinite_without_a_bound(name):
    assert make(name)[0].curvature == np.inf


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", BOUNDED)
def test_lipschitz_bounds_the_exact_constant_closely(name, weighted, precision):
    weight = np.random.default_rng(2).random(N) if weighted else np.ones(N)
    loss, X, _, _ = make(name, sample_weight=weight if weighted else None)
    exact = loss.curvature * np.linalg.norm(np.sqrt(weight)[:, None] * X, 2) ** 2 / N
    bound = float(jax.jit(lambda loss: loss.lipschitz())(loss))
    assert exact * (1 - 1e-6) <= bound <= exact * 1.021
    terms = loss.lipschitz_terms()
    np.testing.assert_allclose(terms, loss.curvature * weight * (X**2).sum(1), rtol=1e-5)


def test_lipschitz_of_a_zero_and_of_a_tall_design(float64):
    y = np.ones(3)
    assert float(losses.Squared(np.zeros((3, 2)), y).lipschitz()) == 0
    rng = np.random.default_rng(0)
    # Gaussian designs crowd their largest singular values, which is what hides the largest of all
    for shape in ((400, 3), (3, 400), (60, 60), (1, 1), (500, 500), (1000, 200), (200, 1000)):
        X = rng.normal(size=shape)
        exact = np.linalg.norm(X, 2) ** 2 / shape[0]
        bound = float(losses.Squared(X, np.zeros(shape[0])).lipschitz())
        assert exact <= bound <= 1.021 * exact, shape


def test_lipschitz_is_a_constant_to_differentiation(float64):
    X, targets = data()
    gradient = jax.grad(lambda X: losses.Squared(X, targets["real"]).lipschitz())(jnp.asarray(X))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", CASES)
def test_jit_and_vmap_agree_with_eager(name, precision):
    loss, *_, w = make(name)
    rtol = 1e-5 if precision == jnp.float32 else 1e-12
    np.testing.assert_allclose(jax.jit(lambda loss, w: loss(w))(loss, w), loss(w), rtol=rtol)
    many = jnp.stack([w, 2 * w, jnp.zeros_like(w)])
    np.testing.assert_allclose(jax.vmap(loss)(many), [loss(v) for v in many], rtol=rtol)
    # a batch of designs, made under vmap
    make_loss, kind, *_ = CASES[name]
    X, targets = data()
    batch = jnp.asarray(np.stack([X, X[::-1]]))
    values = jax.vmap(lambda X: make_loss(X, targets[kind])(w))(batch)
    np.testing.assert_allclose(values, [make_loss(X, targets[kind])(w) for X in batch], rtol=rtol)


def test_parameters_are_differentiable_leaves(float64):
    X, targets = data()
    w, h = jnp.ones(P), 1e-6
    for kind, make_loss, at in (
        ("real", losses.Huber, 0.8),
        ("two", losses.SmoothedHinge, 0.6),
        ("real", losses.Quantile, 0.4),
    ):
        f = lambda t, m=make_loss, y=targets[kind]: m(X, y, t)(w)  # noqa: E731
        np.testing.assert_allclose(jax.grad(f)(at), (f(at + h) - f(at - h)) / (2 * h), rtol=1e-6)


def test_huber_has_curvature_where_the_residual_is_zero(float64):
    loss = losses.Huber(np.eye(2), np.zeros(2))
    np.testing.assert_allclose(jax.hessian(loss)(jnp.zeros(2)), np.eye(2) / 2)


def test_logistic_is_stable_in_float32():
    with jax.enable_x64(False):
        z = jnp.array([1e4, -1e4, 1e4, -1e4, 20.0], jnp.float32)[:, None]
        loss = losses.Logistic(z, np.array([1, 0, 0, 1, 1]))
        value, gradient = jax.value_and_grad(loss)(jnp.ones(1))
        np.testing.assert_allclose(value, 2e4 / 5, rtol=1e-6)
        np.testing.assert_allclose(gradient, [2e4 / 5], rtol=1e-6)
        # log(1 + exp(-20)) keeps its digits, where log(1 + exp(20)) - 20 has none left in float32
        tail = losses.Logistic(np.array([[20.0]]), np.array([1]))(jnp.ones(1))
        np.testing.assert_allclose(tail, np.log1p(np.exp(-20.0)), rtol=1e-6)
        multinomial = losses.Multinomial(np.array([[1e4]]), np.array([1]))
        value, gradient = jax.value_and_grad(multinomial)(jnp.array([[1.0, -1.0, 0.0]]))
        np.testing.assert_allclose(value, 2e4, rtol=1e-6)
        assert np.isfinite(gradient).all()


def test_squared_hinge_is_what_linear_svc_minimises(float64):
    from sklearn.datasets import load_breast_cancer
    from sklearn.svm import LinearSVC

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    C = 0.01
    peer = LinearSVC(C=C, loss="squared_hinge", dual=False, fit_intercept=False, tol=1e-10, max_iter=100_000)
    w = jnp.asarray(peer.fit(X, y).coef_[0])
    gradient = C * len(y) * jax.grad(losses.SquaredHinge(X, y))(w) + w
    assert np.abs(gradient).max() < 1e-6


def test_both_label_sets_are_the_same_loss(float64):
    X, targets = data()
    y, w = targets["two"], jnp.ones(P)
    for loss in (losses.Logistic, losses.Hinge, losses.SquaredHinge, losses.SmoothedHinge):
        assert loss(X, y)(w) == loss(X, 2 * y - 1)(w) == loss(X, y.astype(bool))(w)


def test_scipy_matrices_and_integers_are_taken(float64):
    import scipy.sparse

    X, targets = data()
    w = jnp.ones(P)
    expected = losses.Squared(X, targets["real"])(w)
    for form in (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array):
        np.testing.assert_allclose(losses.Squared(form(X), targets["real"])(w), expected, rtol=1e-13)
    assert losses.Squared(np.arange(6).reshape(3, 2), np.arange(3)).X.dtype == jnp.float64


def test_duplicate_sparse_entries_add_up(float64):
    entries = jnp.array([[1, 0], [0, 1], [1, 0], [2, 1]])
    X = BCOO((jnp.array([1.0, 2.0, 3.0, 4.0]), entries), shape=(3, 2))
    sparse, dense = (losses.Squared(form, np.arange(3)) for form in (X, X.todense()))
    np.testing.assert_allclose(sparse.lipschitz_terms(), dense.lipschitz_terms())
    rows = jnp.array([1, 1, 2])
    np.testing.assert_allclose(sparse.sampled(rows)(jnp.ones(2)), dense.sampled(rows)(jnp.ones(2)))


def test_a_traced_sparse_design_can_be_sampled(float64):
    X, targets = data()
    sparse = BCOO.fromdense(jnp.asarray(X))
    rows = jnp.array([1, 3, 38])
    value = jax.jit(lambda X, rows: losses.Squared(X, targets["real"]).sampled(rows)(jnp.ones(P)))(
        sparse, rows
    )
    np.testing.assert_allclose(value, losses.Squared(X[rows], targets["real"][rows])(jnp.ones(P)), rtol=1e-13)


@pytest.mark.parametrize("name", [n for n in CASES if n != "multinomial"])
def test_nan_in_data_does_not_raise_and_shows(name):
    make_loss, kind, *_ = CASES[name]
    X, targets = data()
    w = make(name)[3]
    y = targets[kind].astype(float)
    y[0] = np.nan
    assert np.isnan(make_loss(X, y)(w))
    X[1, 1] = np.nan
    assert np.isnan(make_loss(X, targets[kind])(w))
    assert not np.isfinite(make_loss(X, targets[kind]).lipschitz())


X_, TARGETS_ = data()


@pytest.mark.parametrize(
    "make_it, says",
    [
        (lambda: losses.Squared(X_[0], TARGETS_["real"]), "X has shape"),
        (lambda: losses.Squared(X_[:0], TARGETS_["real"][:0]), "neither of them 0"),
        (lambda: losses.Squared(X_ * 1j, TARGETS_["real"]), "needs to be real"),
        (lambda: losses.Squared(X_, TARGETS_["real"][1:]), "X has 40 rows"),
        (lambda: losses.Squared(X_, 1.0), "leading axis of 40"),
        (lambda: losses.Huber(X_, TARGETS_["vector"]), "one target a row"),
        (lambda: losses.Squared(X_, TARGETS_["real"], sample_weight=np.ones(3)), "sample_weight has shape"),
        (lambda: losses.Squared(X_, TARGETS_["real"], sample_weight=-np.ones(N)), "negative"),
        (lambda: losses.Squared(BCOO.fromdense(jnp.asarray(X_), n_batch=1), TARGETS_["real"]), "n_batch=0"),
        (lambda: losses.Logistic(X_, TARGETS_["many"]), r"labels 0, 1, 2, 3; they need to be in \{0, 1\}"),
        (lambda: losses.Hinge(X_, np.arange(N) % 3 - 1), "labels -1, 0, 1"),
        (lambda: losses.Multinomial(X_, TARGETS_["real"]), "integer labels"),
        (lambda: losses.Multinomial(X_, TARGETS_["many"] - 1), "the label -1"),
        (lambda: losses.Multinomial(X_, TARGETS_["many"])(jnp.ones((P, 2))), "w has 2 columns"),
        (lambda: losses.Multinomial(X_, TARGETS_["many"])(jnp.ones(P)), r"needs to be \(p, K\)"),
        (lambda: losses.Poisson(X_, -TARGETS_["counts"]), "at least 0"),
        (lambda: losses.Huber(X_, TARGETS_["real"], delta=0), "delta is 0.0; it needs to be positive"),
        (lambda: losses.SmoothedHinge(X_, TARGETS_["two"], gamma=-1.0), "gamma is -1.0"),
        (lambda: losses.Quantile(X_, TARGETS_["real"], q=1.5), "between 0 and 1"),
        (lambda: losses.Squared(X_, TARGETS_["real"])(jnp.ones(P + 1)), "X has 6 columns"),
        (lambda: losses.Squared(X_, TARGETS_["real"])(jnp.ones((P, 1))), r"w needs shape \(6,\)"),
    ],
)
def test_bad_input_raises_one_clear_line(make_it, says):
    with pytest.raises(ValueError, match=says) as caught:
        make_it()
    assert "\n" not in str(caught.value)


def test_linear_model_takes_one_array() -> None:
    f = losses.Squared(jnp.eye(2), jnp.ones(2))
    with pytest.raises(TypeError, match="w is a tuple; a linear model takes one array, with 2 rows"):
        f((jnp.ones(2),))  # pyright: ignore[reportArgumentType]
