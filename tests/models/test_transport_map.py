"""Learning maps: what is drawn, measured and minimised."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.metrics import monge_gap, sinkhorn_divergence
from frechet.models import AffineMap, Residual
from frechet.solvers import Optax

RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(24, 2))), jnp.asarray(RNG.normal(size=(16, 2)) + 1)
TURN = jnp.array([[0.0, -1.0], [1.0, 0.0]])


def problem(**options) -> Any:
    return fr.TransportMap(AffineMap(TURN), X, Y, **options)


def test_pairs_are_drawn_independently():
    """Every pair of points has one index, so uniform indices are independent uniform points."""
    p = problem(batch_size=8)
    x, y = p.batch(jnp.arange(p.count))
    pairs = {(float(a[0]), float(b[0])) for a, b in zip(x, y, strict=True)}
    assert p.count == 24 * 16 == len(pairs)


def test_objective_and_measures_are_divergence_and_gap():
    p = problem(gap_weight=3.0, tol=1e-4, held_out=(X, Y, X))
    images = X @ TURN.T
    cost = lambda x, y: np.mean(np.sum((np.asarray(x)[:, None] - np.asarray(y)) ** 2, axis=2))  # noqa: E731
    divergence = sinkhorn_divergence(images, Y, epsilon=0.05 * cost(Y, Y), relative=False)
    gap = monge_gap(X, images, epsilon=0.05 * cost(X, Y), relative=False, debiased=True)
    np.testing.assert_allclose(p.objective(p.parameters), divergence + 3 * gap, rtol=1e-4)
    measures = p.measures(p.parameters)
    np.testing.assert_allclose(measures["divergence"], divergence, rtol=1e-4)
    np.testing.assert_allclose(measures["monge_gap"], gap, rtol=1e-4)
    error = np.mean(np.sum((np.asarray(images) - X) ** 2, axis=1)) / np.sum(np.var(np.asarray(X), axis=0))
    np.testing.assert_allclose(measures["map_error"], error, rtol=1e-5)


def test_only_inexact_arrays_are_trained_and_any_loss_may_be():
    model = Residual(eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0)), lambda x: 2 * x)
    fit = lambda model, x, y: jnp.mean((jax.vmap(model)(x) - 3 * x) ** 2)  # noqa: E731
    p = fr.TransportMap(model, X, Y, fit=fit, gap_weight=None, batch_size=16)
    solution = fr.solve(p, p.parameters, Optax(optax.adam(0.03)), max_steps=300)
    assert jax.tree.structure(solution.x) == jax.tree.structure(p.parameters)
    trained = p.map(solution.x)
    assert fit(trained, X, Y) < 0.1 * fit(model, X, Y)
    assert solution.status.name == "max_steps" and int(solution.calls.sample) == 16 * 300


def test_models_are_drawn_for_comparisons():
    draw = lambda key: AffineMap(jax.random.normal(key, (2, 2)))  # noqa: E731
    p = problem(initial=draw)
    assert np.array_equal(p.initial(jax.random.key(1)).A, draw(jax.random.key(1)).A)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 17}, "batch_size must be between 1 and the 16 data"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"gap_weight": -1.0}, "gap_weight"),
        ({"y": jnp.ones((3, 1))}, "points of x have 2 coordinates, those of y 1"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        fr.TransportMap(AffineMap(TURN), X, **{"y": Y, **options})
