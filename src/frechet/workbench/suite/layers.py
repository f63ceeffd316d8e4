"""What the networks of the suite are made of: plain functions of nested dictionaries of arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

Weights = dict[str, Any]


def drawn(weights: Callable[[np.random.Generator], Weights]) -> Callable[[PRNGKeyArray], Weights]:
    """Random weights for a key, by NumPy's generator, as JAX's gives other numbers in other precisions."""

    def initial(key: PRNGKeyArray) -> Weights:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return jax.tree.map(jnp.asarray, weights(rng))

    return initial


def dense(rng: np.random.Generator, inputs: int, outputs: int, gain: float = 1.0) -> Weights:
    """A weight of shape (inputs, outputs), of variance gain / inputs, and a bias of zeros."""
    weight = rng.normal(size=(inputs, outputs)) * np.sqrt(gain / inputs)
    return {"weight": weight, "bias": np.zeros(outputs)}


def kernel(rng: np.random.Generator, inputs: int, outputs: int, size: int = 3) -> np.ndarray:
    """Of a convolution, shape (size, size, inputs, outputs), of variance 2 / fan-in."""
    return rng.normal(size=(size, size, inputs, outputs)) * np.sqrt(2 / (size * size * inputs))


def linear(layer: Weights, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
    """$x W + b$."""
    return x @ layer["weight"] + layer["bias"]


def convolve(
    weight: Float[Array, "size size inputs outputs"], x: Float[Array, "n h w inputs"], stride: int = 1
) -> Float[Array, "n h2 w2 outputs"]:
    """A convolution over pictures, padded with zeros to keep their size over the stride."""
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weight, (stride, stride), "SAME", dimension_numbers=axes)


def cross_entropy(logits: Float[Array, "... classes"], labels: Int[Array, "..."]) -> Scalar:
    """Mean over all labels."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    return -jnp.mean(chosen)


def classification(
    logits: Callable[[Weights, Array], Array],
    entropy: Callable[[Array, Array], Scalar] = cross_entropy,
) -> tuple[Callable[[Weights, Any], Scalar], Callable[[Weights, Any], dict[str, Scalar]]]:
    """A classifier's loss on inputs and labels, and what it is measured by: that, and the accuracy.

    The loss is ``entropy(logits, labels)``, a mean over the labels.
    """

    def loss(x: Weights, batch: Any) -> Scalar:
        inputs, labels = batch
        return entropy(logits(x, inputs), labels)

    def measure(x: Weights, held_out: Any) -> dict[str, Scalar]:
        inputs, labels = held_out
        out = logits(x, inputs)
        hits = (jnp.argmax(out, axis=-1) == labels).astype(out.dtype)
        return {"loss": entropy(out, labels), "accuracy": jnp.mean(hits)}

    return loss, measure
