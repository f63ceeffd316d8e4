"""A language model of a real text."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.problems import Training
from frechet.problems.training import Target
from frechet.workbench import data
from frechet.workbench.suite import layers
from frechet.workbench.suite.registry import Case, problem

_WIDTH, _HEADS, _CONTEXT = 48, 4, 32


@problem(
    "transformer-text",
    title="Training: decoder-only transformer on Python's language reference, by character",
    source="Python Software Foundation, The Python Language Reference, as bundled with Python",
)
def transformer_text() -> Case:
    """Two blocks of width 48 with four heads, normalised before each part; 32 characters of context.

    The first 135,000 characters are cut into stretches, of which every 16th is held out.
    """

    def normal(layer, h):
        centred = h - jnp.mean(h, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return layer["scale"] * centred / jnp.sqrt(variance + 1e-5) + layer["shift"]

    def attention(x, h):
        n, length, _ = h.shape
        split = layers.linear(x["in"], h).reshape(n, length, 3, _HEADS, -1)
        q, k, v = (split[:, :, i] for i in range(3))
        scores = jnp.einsum("nihd,njhd->nhij", q, k) / np.sqrt(_WIDTH // _HEADS)
        past = jnp.tril(jnp.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(past, scores, -jnp.inf))
        return layers.linear(x["out"], jnp.einsum("nhij,njhd->nihd", weights, v).reshape(h.shape))

    def logits(x, text):
        h = x["characters"][text] + x["places"][: text.shape[1]]
        for name in ("block1", "block2"):
            block = x[name]
            h = h + attention(block["attention"], normal(block["before_attention"], h))
            wide = jax.nn.gelu(layers.linear(block["wide"], normal(block["before_wide"], h)))
            h = h + layers.linear(block["narrow"], wide)
        return layers.linear(x["output"], normal(x["before_output"], h))

    loss, measure = layers.classification(logits)
    stretches = lambda text: (text[:, :-1], text[:, 1:])  # noqa: E731

    def weights(rng):
        def norm():
            return {"scale": np.ones(_WIDTH), "shift": np.zeros(_WIDTH)}

        def block():
            return {
                "before_attention": norm(),
                "attention": {
                    "in": layers.dense(rng, _WIDTH, 3 * _WIDTH),
                    "out": layers.dense(rng, _WIDTH, _WIDTH, gain=0.5),
                },
                "before_wide": norm(),
                "wide": layers.dense(rng, _WIDTH, 4 * _WIDTH),
                "narrow": layers.dense(rng, 4 * _WIDTH, _WIDTH, gain=0.5),
            }

        size = len(data.ALPHABET)
        return {
            "characters": rng.normal(size=(size, _WIDTH)) * 0.1,
            "places": rng.normal(size=(_CONTEXT, _WIDTH)) * 0.1,
            "block1": block(),
            "block2": block(),
            "before_output": norm(),
            "output": layers.dense(rng, _WIDTH, size, gain=0.1),
        }

    stretch, count = _CONTEXT + 1, 4096
    text = data.python_reference()[: count * stretch].reshape(count // 16, 16, stretch)
    rows, held_out = text[:, :15].reshape(-1, stretch), text[:, 15]
    initial = layers.drawn(weights)
    trained = Training(
        lambda x, text: loss(x, stretches(text)),
        jnp.asarray(rows),
        batch_size=16,
        objective_size=256,
        held_out=jnp.asarray(held_out),
        measure=lambda x, text: measure(x, stretches(text)),
        target=Target("loss", 2.4),
        initial=initial,
    )
    return Case(trained, initial(jax.random.key(0)))
