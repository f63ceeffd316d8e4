"""Networks that read digits, to be trained: dense, convolutional, residual, recurrent."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from frechet.problems import Training
from frechet.problems.training import Target
from frechet.workbench import data
from frechet.workbench.suite import layers
from frechet.workbench.suite.registry import Case, problem

_DIGITS = "Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn"
_HELD_OUT = 397


def _parted(X: np.ndarray) -> tuple[tuple, tuple]:
    """Pictures and digits to train on and, of the same writers, held out."""
    _, y = data.digits()
    order = np.random.default_rng(0).permutation(len(y))
    kept, held = order[:-_HELD_OUT], order[-_HELD_OUT:]
    X = np.asarray(X)
    return (jnp.asarray(X[kept]), jnp.asarray(y[kept])), (jnp.asarray(X[held]), jnp.asarray(y[held]))


def _classifier(
    logits: Callable[[Any, Any], Any],
    weights: Callable[[np.random.Generator], layers.Weights],
    X: np.ndarray,
    *,
    accuracy: float,
    batch_size: int,
    **oracles: Any,
) -> Case:
    loss, measure = layers.classification(logits)
    train, held_out = _parted(X)
    initial = layers.drawn(weights)
    trained = Training(
        loss,
        train,
        batch_size=batch_size,
        held_out=held_out,
        measure=measure,
        target=Target("accuracy", accuracy, at_least=True),
        initial=initial,
        **oracles,
    )
    return Case(trained, initial(jax.random.key(0)))


@problem("mlp-digits", title="Training: dense network 64-64-64-10 on digits", source=_DIGITS)
def mlp_digits() -> Case:
    """Rectified; tells the first layer's inputs, the pictures, to optimizers that ask for them."""

    def logits(x, pictures):
        h = pictures
        for name in ("first", "second"):
            h = jax.nn.relu(layers.linear(x[name], h))
        return layers.linear(x["output"], h)

    def layer_inputs(x, batch):
        nothing = jax.tree.map(lambda _: None, x)
        return {**nothing, "first": {**nothing["first"], "weight": batch[0]}}

    def weights(rng):
        return {
            "first": layers.dense(rng, 64, 64, gain=2),
            "second": layers.dense(rng, 64, 64, gain=2),
            "output": layers.dense(rng, 64, 10),
        }

    X, _ = data.digits()
    return _classifier(logits, weights, X, accuracy=0.97, batch_size=64, layer_inputs=layer_inputs)


@problem("cnn-digits", title="Training: convolutional network on digits", source=_DIGITS)
def cnn_digits() -> Case:
    """Two rectified convolutions with strides, 16 and 32 channels, and a dense layer."""

    def logits(x, pictures):
        h = pictures
        for name in ("first", "second"):
            h = jax.nn.relu(layers.convolve(x[name]["weight"], h, stride=2) + x[name]["bias"])
        return layers.linear(x["output"], h.reshape(len(h), -1))

    def weights(rng):
        return {
            "first": {"weight": layers.kernel(rng, 1, 16), "bias": np.zeros(16)},
            "second": {"weight": layers.kernel(rng, 16, 32), "bias": np.zeros(32)},
            "output": layers.dense(rng, 2 * 2 * 32, 10),
        }

    X, _ = data.digits()
    return _classifier(logits, weights, X.reshape(-1, 8, 8, 1), accuracy=0.97, batch_size=32)


@problem(
    "resnet-digits", title="Training: residual network with batch norm on digits of 16 x 16", source=_DIGITS
)
def resnet_digits() -> Case:
    """Three residual blocks of two convolutions, each normalised over its batch, so of any scale.

    Held-out pictures are normalised over all of them together.
    """

    def normal(layer, h):
        mean = jnp.mean(h, axis=(0, 1, 2))
        variance = jnp.mean(jnp.square(h - mean), axis=(0, 1, 2))
        return layer["scale"] * (h - mean) / jnp.sqrt(variance + 1e-5) + layer["shift"]

    def unit(layer, h, stride=1):
        return normal(layer, layers.convolve(layer["weight"], h, stride))

    def block(x, h):
        widens = "skip" in x
        inner = jax.nn.relu(unit(x["first"], h, stride=2 if widens else 1))
        return jax.nn.relu(unit(x["second"], inner) + (unit(x["skip"], h, stride=2) if widens else h))

    def logits(x, pictures):
        h = jax.nn.relu(unit(x["stem"], pictures, stride=2))
        for name in ("block1", "block2", "block3"):
            h = block(x[name], h)
        return layers.linear(x["output"], jnp.mean(h, axis=(1, 2)))

    def weights(rng):
        def unit(inputs, outputs, size=3):
            w = layers.kernel(rng, inputs, outputs, size)
            return {"weight": w, "scale": np.ones(outputs), "shift": np.zeros(outputs)}

        def block(inputs, outputs):
            made = {"first": unit(inputs, outputs), "second": unit(outputs, outputs)}
            return made if inputs == outputs else made | {"skip": unit(inputs, outputs, size=1)}

        return {
            "stem": unit(1, 8),
            "block1": block(8, 8),
            "block2": block(8, 16),
            "block3": block(16, 16),
            "output": layers.dense(rng, 16, 10),
        }

    X, _ = data.digits()
    large = np.kron(X.reshape(-1, 8, 8), np.ones((1, 2, 2)))[..., None]
    return _classifier(logits, weights, large, accuracy=0.97, batch_size=32)


@problem("lstm-digits", title="Training: LSTM with 48 units that reads digits row by row", source=_DIGITS)
def lstm_digits() -> Case:
    """Eight steps of eight pixels; the last state names the digit; the forget gate starts open."""
    units = 48

    def logits(x, pictures):
        def step(state, row):
            h, c = state
            gates = layers.linear(x["cell"], jnp.concatenate([row, h], axis=-1))
            keep, write, show, new = jnp.split(gates, 4, axis=-1)
            c = jax.nn.sigmoid(keep + 1) * c + jax.nn.sigmoid(write) * jnp.tanh(new)
            return (jax.nn.sigmoid(show) * jnp.tanh(c), c), None

        zero = jnp.zeros((len(pictures), units), pictures.dtype)
        (h, _), _ = jax.lax.scan(step, (zero, zero), jnp.swapaxes(pictures, 0, 1))
        return layers.linear(x["output"], h)

    def weights(rng):
        return {
            "cell": layers.dense(rng, 8 + units, 4 * units),
            "output": layers.dense(rng, units, 10),
        }

    X, _ = data.digits()
    return _classifier(logits, weights, X.reshape(-1, 8, 8), accuracy=0.93, batch_size=32)
