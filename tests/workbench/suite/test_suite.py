"""Every problem of the suite loads, is finite at its start and keeps the dtype it is given."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.workbench import data, suite
from frechet.workbench.errors import UserError
from frechet.workbench.suite.registry import problem


@eqx.filter_jit
def evaluated(problem, x):
    return problem.objective(x), problem.optimality(x)


def well_posed_start(name: str, precision: Any) -> tuple[float, Any]:
    """The objective at the start, zero where other tests evaluate it, and the start."""
    case = suite.load(name)
    assert case.name == name
    assert case.title
    assert case.source
    # lifted, so that what closures captured counts too
    leaves = jax.tree.leaves((case.problem.lifted(case.x0), case.x0))
    floating = [v for v in leaves if hasattr(v, "dtype") and jnp.issubdtype(v.dtype, jnp.floating)]
    assert {v.dtype for v in floating} == {jnp.dtype(precision)}
    if not case.problem.testable:  # the tests of training evaluate it, on fewer data
        return 0.0, case.x0
    objective, optimality = evaluated(case.problem, case.x0)
    assert objective.dtype == precision
    assert np.isfinite(objective)
    # where a lower level makes the objective nonconvex, the least value of it may not be known; operators and
    # games have no least value
    assert case.optimum is not None or isinstance(case.problem, fr.Bilevel | fr.Inclusion)
    assert case.optimum is None or case.optimum < objective
    assert jax.tree.structure(optimality) == jax.tree.structure(case.x0)
    for residual, x in zip(jax.tree.leaves(optimality), jax.tree.leaves(case.x0), strict=True):
        assert (residual.shape, residual.dtype) == (x.shape, x.dtype)
        assert np.isfinite(residual).all()
        assert np.any(residual)
    return float(objective), case.x0


@pytest.mark.parametrize("name", suite.names())
def test_problem_is_well_posed_at_its_start_which_is_the_same_in_both_precisions(name):
    values, starts = [], []
    for precision in (jnp.float64, jnp.float32):
        with jax.enable_x64(precision == jnp.float64):
            value, start = well_posed_start(name, precision)
            values.append(value)
            starts.append([np.asarray(v, np.float32) for v in jax.tree.leaves(start)])
    np.testing.assert_allclose(values[1], values[0], rtol=2e-5)
    for wide, narrow in zip(*starts, strict=True):
        np.testing.assert_array_equal(wide, narrow)


def test_sampling_all_terms_gives_the_gradient():
    checked = []
    with jax.enable_x64(True):
        for name in suite.names():
            case = suite.load(name)
            whole: Any = case.problem
            if "sample" not in whole.offers() or not whole.testable or isinstance(whole, fr.Inclusion):
                continue
            value, gradient = whole.sample_value_and_gradient(case.x0, jnp.arange(whole.f.count))
            np.testing.assert_allclose(value, whole.value(case.x0), rtol=1e-12)
            expected = jax.tree.leaves(whole.gradient(case.x0))
            for a, b in zip(jax.tree.leaves(gradient), expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-13)
            checked.append(name)
    # all but the two curves, the signal, those with constraints or two levels, operators, trainings, measures
    others = fr.Constrained | fr.Training | fr.Bilevel | fr.Inclusion
    others |= fr.Particles | fr.GaussianVariational | fr.Density | fr.Transport
    other = [n for n in suite.names() if isinstance(suite.load(n).problem, others)]
    assert len(checked) == len(suite.names()) - 3 - len(other)


def test_names_are_sorted_and_described():
    assert suite.names() == sorted(suite.names())
    for name, entry in suite.entries().items():
        assert entry.name == name
        assert "\n" not in entry.title


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(
        suite.UnknownProblem, match="no problem is called 'laso'; did you mean lasso"
    ) as caught:
        suite.load("laso")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="already has a problem 'lasso'"):
        problem("lasso", title="another", source="nowhere")(lambda: suite.load("nnls"))


def test_a_new_registration_is_found(monkeypatch):
    from frechet.workbench.suite import registry

    monkeypatch.setattr(registry, "_registered", dict(suite.entries()))
    made = suite.Case(suite.load("lasso").problem, jnp.zeros(10))
    problem("a-new-one", title="New", source="here")(lambda: made)
    assert "a-new-one" in suite.names()
    case = suite.load("a-new-one")
    assert (case.name, case.title, case.source, case.optimum) == ("a-new-one", "New", "here", None)


def test_mlp_layers_are_what_its_title_says():
    case = suite.load("mlp")
    assert sum(v.size for v in jax.tree.leaves(case.x0)) == 1210


@pytest.mark.parametrize(
    "loader, shapes",
    [
        (data.breast_cancer, [(569, 30), (569,)]),
        (data.diabetes, [(442, 10), (442,)]),
        (data.digits, [(1797, 64), (1797,)]),
        (data.wine, [(178, 13), (178,)]),
        (data.camera_row, [(512,)]),
        (data.grey_pictures, [(4, 32, 32)]),
        (data.photographs, [(427, 640, 3)] * 2),
        (data.monthly_returns, [(213, 7)]),
        (data.misra1a, [(14,), (14,)]),
        (data.thurber, [(37,), (37,)]),
        (data.python_reference, [(400_000,)]),
    ],
)
def test_data_are_loaded_once_and_read_only(loader, shapes):
    arrays = loader()
    arrays = arrays if isinstance(arrays, tuple) else (arrays,)
    assert [v.shape for v in arrays] == shapes
    for array in arrays:
        assert np.isfinite(array).all()
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert loader() is loader()


@pytest.mark.parametrize("loader", [data.breast_cancer, data.diabetes, data.wine])
def test_designs_are_standardised(loader):
    X, _ = loader()
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=0), 1, rtol=1e-12)


def test_no_network_is_used(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a loader opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for loader in (
        data.breast_cancer,
        data.diabetes,
        data.digits,
        data.wine,
        data.camera_row,
        data.grey_pictures,
        data.photographs,
        data.monthly_returns,
        data.python_reference,
    ):
        loader.__wrapped__.__wrapped__()


def test_sparse_regression_has_the_stated_correlation_noise_and_support():
    X, y, w = data.sparse_regression(4000, 20, nonzeros=4, correlation=0.6, noise=0.25, seed=1)
    assert np.count_nonzero(w) == 4
    np.testing.assert_allclose(np.linalg.norm(y - X @ w) / np.linalg.norm(X @ w), 0.25, rtol=1e-12)
    distance = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    # sampling error of a covariance of 4000 rows is about 1 / sqrt(4000) = 0.016; five of those
    np.testing.assert_allclose(np.cov(X.T), 0.6**distance, atol=0.08)
    again = data.sparse_regression(4000, 20, nonzeros=4, correlation=0.6, noise=0.25, seed=1)
    np.testing.assert_array_equal(again[1], y)
