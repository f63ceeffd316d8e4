"""Problems of training: finite and falling in both precisions, and measured by what they say."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

import frechet as fr
from frechet.workbench import data, suite

CLASSIFIERS = (
    "cnn-digits",
    "lstm-digits",
    "mlp-digits",
    "modular-addition",
    "modular-addition-stablemax",
    "resnet-digits",
    "transformer-text",
)
NAMES = (*CLASSIFIERS, "heavy-tailed-logistic", "poisson-pinn")


@functools.cache
def loaded(name) -> tuple[Any, Any]:
    """Problem and start in float64, for comparisons with NumPy."""
    with jax.enable_x64(True):
        case = suite.load(name)
        return case.problem, case.x0


@pytest.mark.parametrize("name", NAMES)
def test_adam_lowers_the_loss_of_a_batch(name, precision):
    case = suite.load(name)
    assert isinstance(case.problem, fr.Training)
    problem: Any = case.problem
    tx, batch = optax.adam(1e-3), problem.batch(jnp.arange(8))

    @jax.jit
    def descend(x):
        def step(carry, _):
            x, state = carry
            loss, gradient = jax.value_and_grad(problem.loss)(x, batch)
            updates, state = tx.update(gradient, state, x)
            return (optax.apply_updates(x, updates), state), (loss, gradient)

        return jax.lax.scan(step, (x, tx.init(x)), length=8)[1]

    losses, gradients = descend(case.x0)
    measures = jax.eval_shape(problem.measures, case.x0)
    assert {v.dtype for v in jax.tree.leaves((losses, gradients, measures))} == {precision}
    assert all(np.isfinite(v).all() for v in jax.tree.leaves((losses, gradients)))
    assert all(np.any(v[0]) for v in jax.tree.leaves(gradients))
    assert losses[-1] < losses[0]
    assert problem.target.measure in ("objective", *measures)
    again = problem.initial(jax.random.key(1)) if problem.initial else case.x0
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, case.x0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_constant_predictions_are_measured_as_counted_by_hand(name):
    """Without weights in the last layer its bias decides: one class always, at a loss known to all."""
    problem, x0 = loaded(name)
    labels = problem.held_out[1] if isinstance(problem.held_out, tuple) else problem.held_out[:, 1:]
    labels = np.asarray(labels).ravel()
    classes = x0["output"]["bias"].size
    bias = np.random.default_rng(0).normal(size=classes)
    bias[np.bincount(labels).argmax()] += 3
    with jax.enable_x64(True):
        output = {"weight": jnp.zeros_like(x0["output"]["weight"]), "bias": jnp.asarray(bias)}
        found = eqx.filter_jit(problem.measures)({**x0, "output": output})
    assert found.keys() == {"loss", "accuracy"}
    np.testing.assert_allclose(found["accuracy"], np.mean(labels == bias.argmax()), rtol=1e-12)
    logarithms = np.log(stable(bias) / stable(bias).sum()) if "stablemax" in name else log_softmax(bias)
    np.testing.assert_allclose(found["loss"], -np.mean(logarithms[labels]), rtol=1e-12)


def stable(v):
    """What StableMax has in the place of the exponential."""
    return np.where(v >= 0, 1 + v, 1 / (1 + np.abs(v)))


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def loss_of(logits, labels):
    return -np.mean(log_softmax(logits, axis=-1)[np.arange(len(labels)), labels])


def test_mlp_and_what_enters_its_first_layer():
    problem, x = loaded("mlp-digits")
    pictures, labels = (np.asarray(v[:5]) for v in problem.data)
    h = pictures
    for name in ("first", "second", "output"):
        h = h @ np.asarray(x[name]["weight"]) + np.asarray(x[name]["bias"])
        h = h if name == "output" else np.maximum(h, 0)
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.jit(problem.loss)(x, (pictures, labels)), loss_of(h, labels), rtol=1e-12
        )
        found = problem.layer_inputs(x, (pictures, labels))
    assert np.array_equal(found["first"].pop("weight"), pictures)
    assert jax.tree.leaves(found) == []


def test_cnn_is_a_sum_over_windows():
    problem, x = loaded("cnn-digits")
    pictures, labels = (np.asarray(v[:3]) for v in problem.data)
    h = pictures
    for name in ("first", "second"):
        w, out = np.asarray(x[name]["weight"]), h.shape[1] // 2
        padded = np.pad(h, ((0, 0), (0, 1), (0, 1), (0, 0)))
        windows = [[padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for j in range(out)] for i in range(out)]
        h = np.maximum(np.einsum("ijnabc,abcd->nijd", np.array(windows), w), 0)
    logits = h.reshape(3, -1) @ np.asarray(x["output"]["weight"])
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.jit(problem.loss)(x, (pictures, labels)), loss_of(logits, labels), rtol=1e-12
        )


def test_lstm_is_its_recurrence():
    problem, x = loaded("lstm-digits")
    pictures, labels = (np.asarray(v[:5]) for v in problem.data)
    h = c = np.zeros((5, 48))
    for t in range(8):
        gates = np.hstack([pictures[:, t], h]) @ np.asarray(x["cell"]["weight"])
        keep, write, show, new = np.split(gates, 4, axis=1)
        c = sigmoid(keep + 1) * c + sigmoid(write) * np.tanh(new)
        h = sigmoid(show) * np.tanh(c)
    logits = h @ np.asarray(x["output"]["weight"])
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.jit(problem.loss)(x, (pictures, labels)), loss_of(logits, labels), rtol=1e-12
        )


def test_resnet_does_not_feel_the_scale_of_its_convolutions():
    """So the gradient is at a right angle to each of them, but for the 1e-5 beside their variances."""
    problem, x = loaded("resnet-digits")
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(problem.loss))(x, problem.batch(jnp.arange(16)))
    kernels = [(w, g) for w, g in zip(*map(jax.tree.leaves, (x, gradient)), strict=True) if w.ndim == 4]
    assert len(kernels) == 8
    for w, g in kernels:
        assert abs(np.vdot(w, g)) < 1e-3 * np.linalg.norm(w) * np.linalg.norm(g)


def test_transformer_sees_no_future():
    """The probabilities of the last character sum to one, which leaves the sum over those before it.

    Seen from the stretch without its last character it is the same only if nothing looked ahead.
    """
    problem, x = loaded("transformer-text")
    loss = jax.jit(problem.loss)
    with jax.enable_x64(True):
        text = problem.data[7]
        n = len(text) - 1
        x = {**x, "output": {**x["output"], "weight": 30 * x["output"]["weight"]}}
        every = jax.lax.map(lambda c: n * loss(x, text.at[-1].set(c)[None]), jnp.arange(len(data.ALPHABET)))
        before = -jax.scipy.special.logsumexp(-every)
        np.testing.assert_allclose(before, (n - 1) * loss(x, text[None, :-1]), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "kept"), [("modular-addition", 59**2 // 2), ("modular-addition-stablemax", 59**2 * 4 // 5)]
)
def test_modular_addition_parts_the_whole_table(name, kept):
    problem, _ = loaded(name)
    pairs, sums = (np.concatenate(v) for v in zip(problem.data, problem.held_out, strict=True))
    assert {tuple(p) for p in pairs.tolist()} == {(a, b) for a in range(59) for b in range(59)}
    assert len(pairs) == 59**2
    assert len(problem.data[0]) == kept
    np.testing.assert_array_equal(pairs.sum(axis=1) % 59, sums)


def test_poisson_s_loss_and_error_by_differences():
    problem, x = loaded("poisson-pinn")

    def exact(z):
        s, t = np.pi * z.T
        return np.sin(s) * np.sin(t) + np.sin(2 * s) * np.sin(2 * t) / 2

    def network(z):
        for name in ("first", "second"):
            z = np.tanh(z @ np.asarray(x[name]["weight"]) + np.asarray(x[name]["bias"]))
        return (z @ np.asarray(x["output"]["weight"]))[:, 0]

    def laplacian(u, z, h=1e-3):
        steps = h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        return (sum(u(z + e) for e in steps) - 4 * u(z)) / h**2

    inside, boundary = (np.asarray(v[:64]) for v in problem.data)
    assert (np.min(np.minimum(boundary, 1 - boundary), axis=1) == 0).all()
    residual = laplacian(network, inside) - laplacian(exact, inside)
    expected = np.mean(residual**2) / (5 * np.pi**4) + 10 * np.mean(network(boundary) ** 2)
    grid = np.asarray(problem.held_out)
    with jax.enable_x64(True):
        # differences of the second order, steps of 1e-3
        np.testing.assert_allclose(jax.jit(problem.loss)(x, (inside, boundary)), expected, rtol=1e-4)
        error = np.linalg.norm(network(grid) - exact(grid)) / np.linalg.norm(exact(grid))
        np.testing.assert_allclose(eqx.filter_jit(problem.measures)(x)["error"], error, rtol=1e-10)


def test_heavy_tails_leave_the_objective_alone():
    problem, x0 = loaded("heavy-tailed-logistic")
    with jax.enable_x64(True):
        plain, w = suite.load("l2-logistic").problem, jnp.linspace(-1, 1, x0.size)
        np.testing.assert_allclose(problem.objective(w), plain.objective(w), rtol=1e-12)
        measures = problem.measures(w)
        np.testing.assert_allclose(measures["clean_loss"], plain.objective(w), rtol=1e-12)
        X, y = data.breast_cancer()
        np.testing.assert_allclose(measures["accuracy"], np.mean((X @ w > 0) == (y > 0)))
    noise = np.sort(np.abs(np.asarray(problem.data[2])), axis=None)[::-1]
    # Hill's estimate of the tail's exponent, which is 1.5, from its thousand largest; its error is 1.5 / 32
    assert abs(1 / np.mean(np.log(noise[:1000] / noise[1000])) - 1.5) < 0.2


def dense(x, h):
    for name in ("first", "second"):
        h = h @ np.asarray(x[name]["weight"]) + np.asarray(x[name]["bias"])
        h = np.where(h > 0, h, h / 100)
    return h @ np.asarray(x["output"]["weight"])


def test_gan_s_value_and_distance_by_hand():
    """In the plane the distance needs no root of a matrix: that of M has the trace sqrt(tr + 2 sqrt(det))."""
    problem, x = loaded("gan-mixture")
    assert set(problem.offers()) == {"players", "sample"}
    real, latent = (np.asarray(v[:128]) for v in problem.data)
    of_real, of_made = (dense(x["maximiser"], s) for s in (real, dense(x["minimiser"], latent)))
    expected = np.mean(np.log(sigmoid(of_real))) + np.mean(np.log(1 - sigmoid(of_made)))
    real, latent = (np.asarray(v) for v in problem.held_out)
    made = dense(x["minimiser"], latent)
    of_both = np.cov(real.T) @ np.cov(made.T)
    trace = np.sqrt(np.trace(of_both) + 2 * np.sqrt(np.linalg.det(of_both)))
    distance = np.sum((real.mean(0) - made.mean(0)) ** 2) + np.trace(np.cov(real.T) + np.cov(made.T))
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.jit(problem.loss)(x, problem.batch(jnp.arange(128))), expected, rtol=1e-12
        )
        found = eqx.filter_jit(problem.measures)(x)
    np.testing.assert_allclose(found["frechet_distance"], distance - 2 * trace, rtol=1e-10)


def test_gan_s_samples_are_of_eight_gaussians_on_an_ellipse():
    real = np.asarray(loaded("gan-mixture")[0].data[0])
    angle = np.arange(8) * np.pi / 4
    off = real[:, None] - np.stack([2 * np.cos(angle), np.sin(angle)], axis=1)
    nearest = np.argmin(np.sum(off**2, axis=2), axis=1)
    counts = np.bincount(nearest, minlength=8)
    assert (abs(counts - 1024) < 200).all()  # 30 by chance, and neighbours overlap
    # at the sharp ends of the ellipse neighbours are 0.92 apart, so a few samples are taken for theirs
    assert abs(np.std(off[np.arange(len(real)), nearest]) - 0.2) < 0.01


def test_gan_comes_to_its_target():
    case = suite.load("gan-mixture")
    problem: Any = case.problem
    tx = fr.optimizers.ttur()

    @jax.jit
    def distances(x, keys):
        def step(carry, key):
            x, state = carry
            indices = jax.random.randint(key, (problem.batch_size,), 0, problem.count)
            updates, state = tx.update(jax.grad(problem.loss)(x, problem.batch(indices)), state, x)
            return (optax.apply_updates(x, updates), state), None

        def measured(carry, keys):
            distance = problem.measures(carry[0])["frechet_distance"]
            return jax.lax.scan(step, carry, keys)[0], distance

        return jax.lax.scan(measured, (x, tx.init(x)), keys)[1]

    found = distances(case.x0, jax.random.split(jax.random.key(0), (20, 20)))
    assert found[0] > 10 * problem.target.value
    assert problem.target.met(found).any()


def test_the_text_is_python_s():
    from pydoc_data.topics import topics

    text = "".join(data.ALPHABET[i] for i in data.python_reference())
    start = topics[min(topics)]
    assert start.isascii()
    assert text.startswith(start)
    assert len(data.ALPHABET) == 96
    assert text.count("?") < 2000
