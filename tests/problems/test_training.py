"""Training problems: no optimality map, batches, measures; hyperparameters that are traced."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.core.space import Choice, LogUniform, Uniform
from frechet.optimizers.registry import optimizer
from frechet.solvers.wrappers.optax import Optax
from frechet.workbench.checking.common import compilations

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(50, 3)), np.array([1.0, -2.0, 0.5])
Y = X @ W + 0.1 * RNG.normal(size=50)


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def problem(**options):
    given = {"batch_size": 8, "held_out": (jnp.asarray(X[40:]), jnp.asarray(Y[40:]))}
    return fr.Training(loss, (jnp.asarray(X[:40]), jnp.asarray(Y[:40])), **{**given, **options})


def test_full_batches_are_gradient_descent(precision) -> None:
    solution = fr.solve(problem(batch_size=None), jnp.zeros(3), Optax(optax.sgd(0.1)), max_steps=20)
    w = np.zeros(3)
    for _ in range(20):
        w -= 0.1 * 2 / 40 * X[:40].T @ (X[:40] @ w - Y[:40])
    np.testing.assert_allclose(solution.x, w, rtol=50 * np.finfo(precision).eps)
    assert solution.status.name == "max_steps" and np.isnan(solution.residual)
    assert int(solution.calls.gradient) == 20


def test_batches_reach_the_neighbourhood_of_least_squares(precision) -> None:
    solution = fr.solve(problem(), jnp.zeros(3), Optax(optax.sgd(0.02)), max_steps=2000)
    best = np.linalg.lstsq(X[:40], Y[:40])[0]
    assert np.linalg.norm(solution.x - best) < 0.05  # the noise floor of step 0.02 and noise 0.1
    assert int(solution.calls.sample) == 8 * 2000


def test_a_run_watches_measures(precision) -> None:
    measure = lambda w, d: {"worst": jnp.max(jnp.abs(d[0] @ w - d[1]))}  # noqa: E731
    x0 = jnp.zeros(3)
    result = fr.run(problem(measure=measure), x0, Optax(optax.sgd(0.05)), budget=fr.Budget(steps=100))
    first, last = result.trace.rows[0], result.trace.rows[-1]
    assert "residual" not in first
    rtol = 10 * np.finfo(precision).eps
    np.testing.assert_allclose(first["measure_worst"], np.abs(Y[40:]).max(), rtol=rtol)
    # the mean over batches of 8 of the 40 is the mean
    np.testing.assert_allclose(first["objective"], np.mean(Y[:40] ** 2), rtol=rtol)
    w = np.asarray(result.solution.x)
    np.testing.assert_allclose(last["measure_worst"], np.abs(X[40:] @ w - Y[40:]).max(), rtol=1e3 * rtol)


def test_held_out_loss_is_the_default_measure() -> None:
    (value,) = problem().measures(jnp.zeros(3)).values()
    np.testing.assert_allclose(value, np.mean(Y[40:] ** 2), rtol=1e-6)


def test_the_objective_may_be_taken_over_fewer_data() -> None:
    value = problem(objective_size=20).objective(jnp.zeros(3))
    np.testing.assert_allclose(value, np.mean(Y[:16] ** 2), rtol=1e-6)  # two whole batches of 8


def test_divergence_ends_with_the_last_finite_iterate() -> None:
    solution = fr.solve(problem(), jnp.zeros(3), Optax(optax.sgd(1e6)), max_steps=1000)
    assert solution.status.name == "nonfinite" and bool(jnp.all(jnp.isfinite(solution.x)))


def test_interrupted_and_resumed_it_ends_the_same(tmp_path) -> None:
    solver, x0 = Optax(optax.adam(0.05)), jnp.zeros(3)
    whole = fr.run(problem(), x0, solver, budget=fr.Budget(steps=60))
    path = tmp_path / "run"
    fr.run(problem(), x0, solver, budget=fr.Budget(steps=20), checkpoint=path)
    resumed = fr.run(problem(), x0, solver, budget=fr.Budget(steps=60), checkpoint=path)
    assert np.array_equal(whole.solution.x, resumed.solution.x)


def test_derivative_of_the_trained_model_in_the_learning_rate() -> None:
    with jax.enable_x64(True):

        def held_out(rate):
            solver = Optax.of(optax.sgd, learning_rate=rate)
            x = fr.solve(problem(), jnp.zeros(3), solver, max_steps=10, differentiate="unroll").x
            return loss(x, problem().held_out)

        slope, h = jax.grad(held_out)(0.05), 1e-5
        np.testing.assert_allclose(slope, (held_out(0.05 + h) - held_out(0.05 - h)) / (2 * h), rtol=1e-7)


def test_implicit_derivatives_are_refused() -> None:
    def trained(target):
        data = (jnp.asarray(X), jnp.asarray(Y) * target)
        return fr.solve(fr.Training(loss, data), jnp.zeros(3), Optax(optax.sgd(0.1)), max_steps=3).x.sum()

    with pytest.raises(TypeError, match=r'no optimality map .* use differentiate="unroll"'):
        jax.grad(trained)(1.0)


def test_another_learning_rate_is_no_other_program() -> None:
    p, x0 = problem(), jnp.zeros(3)
    fr.solve(p, x0, Optax.of(optax.adam, learning_rate=0.1), max_steps=5)
    with compilations() as count:
        fr.solve(p, x0, Optax.of(optax.adam, learning_rate=0.2), max_steps=5)
        assert count() == 0


def test_what_an_optimizer_asks_for_it_is_given() -> None:
    seen = {}

    def nosy():
        def update(updates, state, params=None, **extra):
            seen.update(extra)
            return optax.tree.scale(-0.1, updates), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    inputs = lambda w, batch: batch[0]  # noqa: E731
    fr.solve(problem(layer_inputs=inputs), jnp.zeros(3), Optax(nosy()), max_steps=1)
    assert seen.keys() == {"value", "grad", "value_fn", "layer_input"}
    assert seen["layer_input"].shape == (8, 3)


def test_games_are_for_optimizers_of_games() -> None:
    game = problem(players=True)
    with pytest.raises(TypeError, match="needs smooth"):
        fr.solve(game, jnp.zeros(3), Optax(optax.sgd(0.1)))

    @optimizer(space={}, needs=("players",))
    def simultaneous(learning_rate=0.1):
        """Anything."""
        return optax.sgd(learning_rate)

    assert Optax.of(simultaneous).fits(game) is None
    assert "players" in str(Optax.of(simultaneous).fits(problem()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: problem(batch_size=41), "batch_size must be between 1 and the 40 data"),
        (lambda: problem(objective_size=7), "objective_size must be between a batch and the 40 data"),
        (lambda: fr.Training(loss, (jnp.ones(3), jnp.ones(4))), "same leading axis"),
        (
            lambda: Optax.of(optax.adam, learning_rate=1.0, rate=1.0),
            "adam: got an unexpected keyword argument 'rate'",
        ),
        (lambda: Optax.of(lambda: 3), "must be an optax.GradientTransformation, got int"),
        (lambda: fr.solve(problem(), jnp.zeros(3)), "Training has no default solver"),
        (lambda: fr.solve(problem(), jnp.zeros(3), fr.solvers.FISTA()), "takes a Composite, not a Training"),
        (lambda: LogUniform(0.0, 1.0), "positive bounds"),
        (lambda: Uniform(2.0, 1.0), "low < high"),
        (lambda: Choice(), "at least one value"),
        (lambda: optimizer(space={})(lambda rate: rate), "every parameter needs a default, rate has none"),
        (lambda: optimizer(space={"x": Choice(1)})(lambda rate=1: rate), "the space names x"),
    ],
)
def test_mistakes_are_named(make, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        make()


def test_a_loss_that_is_no_scalar_is_named() -> None:
    bad = fr.Training(lambda w, d: d[0] @ w, (jnp.asarray(X), jnp.asarray(Y)))
    with pytest.raises(TypeError, match="must return a scalar"):
        fr.solve(bad, jnp.zeros(3), Optax(optax.sgd(0.1)))
