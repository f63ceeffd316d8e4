"""Problem kinds: oracles against NumPy, optimality zero exactly at solutions, what they offer and refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr


@pytest.fixture
def data(precision):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), rng.normal(size=12)
    return jnp.asarray(X, precision), jnp.asarray(y, precision)


def rtol(precision):
    return 50 * float(jnp.finfo(precision).eps)


def kinds(X, y, g=None):
    """The same least squares written as each composite kind."""
    g = fr.convex.Zero() if g is None else g
    n = len(y)
    return {
        "closure": fr.Composite(lambda w: 0.5 * jnp.mean((X @ w - y) ** 2), g),
        "loss": fr.Composite(fr.losses.Squared(X, y), g),
        "finite sum": fr.FiniteSum(lambda w, d: 0.5 * (d[0] @ w - d[1]) ** 2, (X, y), g),
        "least squares": fr.LeastSquares(lambda w: (X @ w - y) / np.sqrt(n), g),
    }


@pytest.mark.parametrize("kind", ["closure", "loss", "finite sum", "least squares"])
def test_oracles_of_every_composite_kind(data, precision, kind):
    X, y = data
    problem = kinds(X, y)[kind]
    A, b = np.asarray(X, float), np.asarray(y, float)
    w, v = np.array([0.3, -1.0, 2.0]), np.array([1.0, 0.5, -0.2])
    residual, n = A @ w - b, len(b)
    w_, v_ = jnp.asarray(w, precision), jnp.asarray(v, precision)
    tol = rtol(precision)
    np.testing.assert_allclose(problem.value(w_), 0.5 * np.mean(residual**2), rtol=tol)
    np.testing.assert_allclose(problem.gradient(w_), A.T @ residual / n, rtol=tol, atol=tol)
    np.testing.assert_allclose(problem.hvp(w_, v_), A.T @ (A @ v) / n, rtol=tol, atol=tol)
    value, gradient = problem.value_and_gradient(w_)
    np.testing.assert_allclose(value, problem.value(w_), rtol=tol)
    np.testing.assert_allclose(gradient, problem.gradient(w_), rtol=tol, atol=tol)
    assert gradient.dtype == precision
    np.testing.assert_allclose(problem.optimality(w_), problem.gradient(w_), rtol=tol, atol=tol)


@pytest.mark.parametrize("kind", ["closure", "loss", "finite sum", "least squares"])
def test_lifting_changes_nothing_but_where_the_arrays_are(data, precision, kind):
    X, y = data
    problem = kinds(X, y, fr.convex.L1(0.1))[kind]
    w = jnp.asarray([0.3, -1.0, 2.0], precision)
    lifted = problem.lifted(w)
    assert type(lifted) is type(problem)
    np.testing.assert_allclose(lifted.objective(w), problem.objective(w), rtol=rtol(precision))
    leaves = [v for v in jax.tree.leaves(lifted) if isinstance(v, jax.Array)]
    assert any(v.shape == (12, 3) for v in leaves)


def test_optimality_is_zero_exactly_at_the_solution(data, precision):
    _, y = data
    problem = fr.Composite(fr.losses.Squared(jnp.eye(3, dtype=precision), y[:3]), fr.convex.L1(0.1))
    # f is a mean over three terms, so the solution is soft thresholding at 3 times the weight.
    solution = jnp.sign(y[:3]) * jnp.maximum(jnp.abs(y[:3]) - 0.3, 0)
    np.testing.assert_allclose(problem.optimality(solution), 0, atol=4 * float(jnp.finfo(precision).eps))
    assert jnp.linalg.norm(problem.optimality(solution + 0.1)) > 0.01


def test_a_constraint_set_is_its_indicator(data, precision):
    X, y = data
    problem = fr.Composite(fr.losses.Squared(X, y), fr.convex.NonNegative())
    inside, outside = jnp.ones(3, precision), -jnp.ones(3, precision)
    assert jnp.isfinite(problem.objective(inside)) and jnp.isinf(problem.objective(outside))


def test_sampling_a_finite_sum(data, precision):
    X, y = data
    indices = jnp.array([3, 3, 7])
    w = jnp.asarray([0.3, -1.0, 2.0], precision)
    A, b = np.asarray(X)[[3, 3, 7]], np.asarray(y)[[3, 3, 7]]
    for problem in (kinds(X, y)["finite sum"], kinds(X, y)["loss"]):
        assert problem.f.count == 12
        value, gradient = eqx.filter_jit(problem.sample_value_and_gradient)(w, indices)
        np.testing.assert_allclose(value, 0.5 * np.mean((A @ w - b) ** 2), rtol=rtol(precision))
        np.testing.assert_allclose(gradient, A.T @ (A @ np.asarray(w) - b) / 3, rtol=1e2 * rtol(precision))


def test_what_each_kind_offers(data):
    X, y = data
    offered = {name: set(p.offers()) for name, p in kinds(X, y, fr.convex.L1(0.1)).items()}
    common = {"value", "gradient", "hvp", "prox", "separable", "rows"}
    assert offered["closure"] == common
    assert offered["finite sum"] == common | {"sample"}
    assert offered["least squares"] == common | {"residual"}
    assert offered["loss"] >= common | {"sample", "linear model"}
    assert "smooth" in fr.Composite(jnp.sum).offers() and "smooth" not in offered["closure"]
    assert set(fr.Root(jnp.sin).offers()) == {"equation"}


def test_the_symmetric_parts_make_up_the_jacobian(data, precision):
    X, y = data
    x = jnp.asarray([0.3, -1.0, 2.0], precision)
    for g in (fr.convex.Zero(), fr.convex.L1(0.1), fr.convex.L2Ball(0.5)):
        problem = fr.Composite(fr.losses.Squared(X, y), g)
        D, H = problem.symmetric_parts(x)
        v = jnp.asarray([1.0, 0.5, -0.2], precision)
        want = jax.jvp(problem.optimality, (x,), (v,))[1]
        np.testing.assert_allclose(v - D(v - H(v)), want, rtol=1e3 * rtol(precision), atol=rtol(precision))


def test_root_and_fixed_point(precision):
    root = fr.Root(lambda x: {"a": x["a"] ** 2 - 4})
    x = {"a": jnp.asarray([2.0, 3.0], precision)}
    np.testing.assert_array_equal(root.optimality(x)["a"], [0.0, 5.0])
    assert root.objective(x) == 12.5
    point = fr.FixedPoint(lambda x: 0.5 * x + 1)
    assert point.apply(jnp.asarray(4.0)) == 3.0
    assert point.optimality(jnp.asarray(4.0)) == 1.0 and point.optimality(jnp.asarray(2.0)) == 0.0


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: fr.FiniteSum(jnp.sum, (jnp.ones((3, 2)), jnp.ones(4))), ValueError, "same leading axis"),
        (lambda: fr.FiniteSum(jnp.sum, jnp.ones(())), ValueError, "same leading axis"),
        (lambda: fr.LeastSquares(3.0), TypeError, "r must be callable, got float"),
        (lambda: fr.Composite(jnp.sum, jnp.sum), TypeError, "g must be a frechet.convex.Function"),
    ],
)
def test_bad_problems_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
