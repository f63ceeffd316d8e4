"""Tuning: against closed forms, its own steps, and what users get wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.solvers.bilevel.inverse import ConjugateGradient, Exact, Neumann

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(2, 12, 4))
Y, V = X[:, 0] + 0.3 * RNG.normal(size=12), Z[:, 0] + 0.3 * RNG.normal(size=12)
TRAIN, VALID = (X, Y), (Z, V)


def fit(hyper, w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


def ridge(hyper, w, batch):
    return fit(hyper, w, batch) + jnp.exp(hyper) @ w**2


def weights(h):
    """Those that training ends with."""
    return np.linalg.solve(X.T @ X / 12 + np.diag(np.exp(h)), X.T @ Y / 12)


def valid_loss(h):
    return np.mean((Z @ weights(h) - V) ** 2)


def test_a_step_follows_the_gradient_of_the_validation_loss():
    with jax.enable_x64():
        h = np.array([-2.0, -1.0, 0.0, 0.5])
        tuner = fr.Tuner(ridge, fit, optax.sgd(0.1), optax.sgd(1.0), Exact())
        state, loss = tuner.tune(tuner.init(h, weights(h)), TRAIN, VALID)
        gradient = [(valid_loss(h + e) - valid_loss(h - e)) / 2e-5 for e in 1e-5 * np.eye(4)]
        np.testing.assert_allclose(h - state.hyper, gradient, rtol=1e-6, atol=1e-9)
        assert float(loss) == pytest.approx(valid_loss(h))


def test_tune_takes_the_steps_of_a_tuner(precision):
    inner, outer = optax.adam(0.05), optax.adam(0.1)
    h, w = np.zeros(4, precision), np.zeros(4, precision)
    train, valid = jax.tree.map(lambda v: v.astype(precision), (TRAIN, VALID))
    found = fr.tune(
        ridge, fit, h, w, train, valid, inner=inner, outer=outer, inner_steps=3, budget=fr.Budget(steps=4)
    )
    tuner = fr.Tuner(ridge, fit, inner, outer)
    state = tuner.init(h, w)
    for _ in range(4):
        for _ in range(3):
            state, _ = tuner.train(state, train)
        state, _ = tuner.tune(state, train, valid)
    assert state.hyper.dtype == precision and found.hyper.dtype == precision
    np.testing.assert_allclose(state.hyper, found.hyper, rtol=1e-5)
    np.testing.assert_allclose(state.params, found.params, rtol=1e-5)
    calls, counted = state.of_solver.calls.asdict(), found.solution.calls.asdict()
    assert {k: int(v) for k, v in calls.items()} == {k: int(v) for k, v in counted.items()}
    assert int(calls["gradient"]) == 12 and int(calls["outer_gradient"]) == 4


def test_it_finds_the_best_penalties():
    """A minimum of the validation loss in a box, by SciPy from several starts."""
    from scipy.optimize import minimize

    starts = np.random.default_rng(1).uniform(-4, 1, (8, 4))
    best = min(minimize(valid_loss, s, bounds=[(-4, 1)] * 4).fun for s in starts)
    found = fr.tune(
        ridge,
        fit,
        jnp.full(4, -1.0),
        jnp.zeros(4),
        TRAIN,
        VALID,
        inner=optax.sgd(0.1),
        outer=optax.adam(0.05),
        inverse=ConjugateGradient(steps=3),
        hyper_set=fr.convex.Box(-4.0, 1.0),
        measure=lambda h, w: {"penalty": jnp.sum(jnp.exp(h))},
        budget=fr.Budget(steps=200),
    )
    assert valid_loss(np.asarray(found.hyper, float)) <= 1.02 * best
    assert float(found.trace.rows[-1]["measure_penalty"]) > 0
    assert float(found.trace.rows[-1]["objective"]) == pytest.approx(best, rel=0.05)


def test_batches_are_drawn_of_the_sizes_asked_for_and_runs_resume(tmp_path):
    sizes = []

    def watched(h, w, batch):
        sizes.append(batch[0].shape[0])
        return ridge(h, w, batch)

    def run(steps, **more):
        return fr.tune(
            watched,
            fit,
            jnp.zeros(4),
            jnp.zeros(4),
            TRAIN,
            VALID,
            batch_size=5,
            valid_batch_size=4,
            budget=fr.Budget(steps=steps),
            **more,
        )

    straight = run(6)
    assert set(sizes) == {5}
    assert int(straight.solution.calls.sample) == 6 * 10 * 5
    run(3, checkpoint=tmp_path / "tuning")
    resumed = run(6, checkpoint=tmp_path / "tuning")
    assert np.array_equal(straight.hyper, resumed.hyper) and np.array_equal(straight.params, resumed.params)


def test_one_draw_for_all_products_of_a_hypergradient():
    """Noise that a batch's key draws: with it as data, the exact inverse's products see the same Hessian."""

    def noisy(h, w, batch):
        rows, key = batch
        return fit(h, w, (rows[0] * jax.random.bernoulli(key, 0.7, (4,)), rows[1])) + jnp.exp(h) @ w**2

    key = jax.random.key(3)
    kept = np.asarray(jax.random.bernoulli(key, 0.7, (4,)))
    masked = lambda h, w, batch: fit(h, w, (batch[0] * kept, batch[1])) + jnp.exp(h) @ w**2  # noqa: E731
    ends = []
    for loss, batch in ((noisy, (TRAIN, key)), (masked, TRAIN)):
        tuner = fr.Tuner(loss, fit, optax.sgd(0.1), optax.sgd(1.0), Exact())
        state, _ = tuner.train(tuner.init(jnp.zeros(4), jnp.ones(4)), batch)
        ends.append(tuner.tune(state, batch, VALID)[0].hyper)
    np.testing.assert_allclose(*ends, rtol=1e-5)


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_point():
    found = fr.tune(
        ridge, fit, jnp.zeros(4), jnp.ones(4), TRAIN, VALID, inner=optax.sgd(1e3), budget=fr.Budget(steps=50)
    )
    assert found.solution.status.name == "nonfinite"
    assert np.all(np.isfinite(found.params)) and np.all(np.isfinite(found.hyper))


def test_bad_input_says_what_is_wrong():
    with pytest.raises(TypeError, match="valid_loss must be callable, got float"):
        fr.tune(ridge, 1.0, jnp.zeros(4), jnp.zeros(4), TRAIN, VALID)  # pyright: ignore
    with pytest.raises(ValueError, match="batch_size must be between 1 and the 12 data there are, got 13"):
        fr.tune(ridge, fit, jnp.zeros(4), jnp.zeros(4), TRAIN, VALID, batch_size=13)
    with pytest.raises(ValueError, match="a batch size needs train_data to draw batches from"):
        fr.tune(ridge, fit, jnp.zeros(4), jnp.zeros(4), batch_size=3)
    with pytest.raises(ValueError, match="give Neumann a step"):
        fr.Tuner(ridge, fit, inverse=Neumann())
    with pytest.raises(TypeError, match="inner must return a scalar"):
        fr.tune(lambda h, w, d: w, fit, jnp.zeros(4), jnp.zeros(4), TRAIN, VALID)
