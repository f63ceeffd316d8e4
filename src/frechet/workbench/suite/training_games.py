"""Trainings of two players: what one minimises the other maximises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Scalar

from frechet.metrics import sample_frechet_distance
from frechet.problems import Training
from frechet.problems.training import Target
from frechet.workbench import data
from frechet.workbench.suite import layers
from frechet.workbench.suite.registry import Case, problem


def ellipse(which: Int[Array, " n"], noise: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """Points of a mixture of eight Gaussians on an ellipse: which of them, and standard normal noise."""
    angle = which * (2 * jnp.pi / 8)
    return jnp.stack([2 * jnp.cos(angle), jnp.sin(angle)], axis=-1) + 0.2 * noise


def network(x: layers.Weights, h: Float[Array, "n inputs"]) -> Float[Array, "n outputs"]:
    """Dense layers with leaky rectifiers: what both players are."""
    for name in ("first", "second"):
        h = jax.nn.leaky_relu(layers.linear(x[name], h))
    return layers.linear(x["output"], h)


def players(rng: np.random.Generator) -> layers.Weights:
    """A generator 2-64-64-2, the minimiser, and a discriminator 2-64-64-1, the maximiser."""

    def weights(outputs: int) -> layers.Weights:
        sizes = {"first": (2, 64), "second": (64, 64), "output": (64, outputs)}
        return {name: layers.dense(rng, *size, gain=2.0) for name, size in sizes.items()}

    return {"minimiser": weights(2), "maximiser": weights(1)}


def value(x: layers.Weights, batch: tuple[Float[Array, "n 2"], Float[Array, "n 2"]]) -> Scalar:
    r"""$\mathrm{mean} \log D(s) + \mathrm{mean} \log(1 - D(G(z)))$ for samples $s$ and latents $z$."""
    real, latent = batch
    of_real, of_made = (network(x["maximiser"], s) for s in (real, network(x["minimiser"], latent)))
    return jnp.mean(jax.nn.log_sigmoid(of_real)) + jnp.mean(jax.nn.log_sigmoid(-of_made))


def frechet_distance(x: layers.Weights, batch: Any) -> Scalar:
    """Between samples and what the generator makes of the latents."""
    real, latent = batch
    return sample_frechet_distance(network(x["minimiser"], latent), real)


@problem(
    "gan-mixture",
    title="Training: generative adversarial network on a mixture of eight Gaussians in the plane",
    source="Goodfellow et al. 2014, Generative adversarial networks, arXiv 1406.2661; data drawn",
)
def gan_mixture() -> Case:
    """The value of the game is no loss to be made small, so the target is a Fréchet distance.

    A batch is of samples and of latents, each from a pool of 8,192; 4,000 others of either are held out.
    """
    pool, held = 8192, 4000
    rng = np.random.default_rng(0)
    which = rng.integers(8, size=pool + held)
    noise, latent = rng.normal(size=(2, pool + held, 2))
    drawn = ellipse(jnp.asarray(which), jnp.asarray(noise)), jnp.asarray(latent)
    initial = layers.drawn(players)
    game = Training(
        value,
        jax.tree.map(lambda v: v[:pool], drawn),
        batch_size=128,
        objective_size=1024,
        held_out=jax.tree.map(lambda v: v[pool:], drawn),
        measure=lambda x, held_out: {"frechet_distance": frechet_distance(x, held_out)},
        target=Target("frechet_distance", 0.05),
        initial=initial,
        players=True,
    )
    return Case(game, initial(jax.random.key(0)))


def digit_players(rng: np.random.Generator) -> layers.Weights:
    """A generator 16-128-128-64, the minimiser, and a discriminator 64-128-128-1, the maximiser."""

    def weights(inputs: int, outputs: int) -> layers.Weights:
        sizes = {"first": (inputs, 128), "second": (128, 128), "output": (128, outputs)}
        return {name: layers.dense(rng, *size, gain=2.0) for name, size in sizes.items()}

    return {"minimiser": weights(16, 64), "maximiser": weights(64, 1)}


@problem(
    "gan-digits",
    title="Training: generative adversarial network on handwritten digits of 8 x 8 pixels",
    source="Goodfellow et al. 2014, Generative adversarial networks, arXiv 1406.2661; data of scikit-learn",
)
def gan_digits() -> Case:
    """Judged by a Fréchet distance over the ten directions in which held-out digits vary most.

    Grey values are from -1 to 1, as what the generator puts out. 1,300 digits are trained on.
    """
    X, _ = data.digits()
    rng = np.random.default_rng(0)
    X = 2 * X[rng.permutation(len(X))] - 1
    train, held = X[:1300], X[1300:]
    axes = np.linalg.svd(held - held.mean(axis=0), full_matrices=False)[2][:10].T
    latent = rng.normal(size=(len(X), 16))
    directions = jnp.asarray(axes)

    def made(x: layers.Weights, latent: Any) -> Any:
        return jnp.tanh(network(x["minimiser"], latent))

    def loss(x: layers.Weights, batch: Any) -> Scalar:
        real, latent = batch
        of_real, of_made = (network(x["maximiser"], s) for s in (real, made(x, latent)))
        return jnp.mean(jax.nn.log_sigmoid(of_real)) + jnp.mean(jax.nn.log_sigmoid(-of_made))

    def distance(x: layers.Weights, batch: Any) -> dict[str, Scalar]:
        real, latent = batch
        return {"frechet_distance": sample_frechet_distance(made(x, latent) @ directions, real @ directions)}

    initial = layers.drawn(digit_players)
    game = Training(
        loss,
        (jnp.asarray(train), jnp.asarray(latent[:1300])),
        batch_size=64,
        held_out=(jnp.asarray(held), jnp.asarray(latent[1300:])),
        measure=distance,
        target=Target("frechet_distance", 1.0),
        initial=initial,
        players=True,
    )
    return Case(game, initial(jax.random.key(0)))
