"""Trainings that are hard in one known way: grokking, a differential equation, heavy tails."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from frechet.losses import stablemax_cross_entropy
from frechet.problems import Training
from frechet.problems.training import Target
from frechet.workbench import data
from frechet.workbench.suite import layers
from frechet.workbench.suite.registry import Case, problem


def _modular_addition(entropy: Callable[[Any, Any], Any], share: float) -> Case:
    """Trained on a share of the table, with the mean over its pairs that ``entropy`` takes."""
    p, width = 59, 128

    def logits(x, pairs):
        h = jax.nn.one_hot(pairs, p, dtype=x["first"]["weight"].dtype).reshape(len(pairs), 2 * p)
        for name in ("first", "second"):
            h = jax.nn.relu(layers.linear(x[name], h))
        return layers.linear(x["output"], h)

    def weights(rng):
        def uniform(inputs, outputs):
            bound = 1 / np.sqrt(inputs)
            shapes = {"weight": (inputs, outputs), "bias": (outputs,)}
            return {k: rng.uniform(-bound, bound, size) for k, size in shapes.items()}

        return {
            "first": uniform(2 * p, width),
            "second": uniform(width, width),
            "output": uniform(width, p),
        }

    loss, measure = layers.classification(logits, entropy)
    pairs = np.stack(np.divmod(np.random.default_rng(0).permutation(p * p), p), axis=1)
    table = jnp.asarray(pairs), jnp.asarray(pairs.sum(axis=1) % p)
    kept = int(share * len(pairs))
    initial = layers.drawn(weights)
    trained = Training(
        loss,
        jax.tree.map(lambda v: v[:kept], table),
        held_out=jax.tree.map(lambda v: v[kept:], table),
        measure=measure,
        target=Target("accuracy", 0.95, at_least=True),
        initial=initial,
    )
    return Case(trained, initial(jax.random.key(0)))


@problem(
    "modular-addition",
    title="Training: addition modulo 59 from half of its table, which is learnt late or never (grokking)",
    source="Power, Burda, Edwards, Babuschkin and Misra 2022, Grokking, arXiv 2201.02177",
)
def modular_addition() -> Case:
    """A rectified dense network 118-128-128-59 on the two summands, all of the data in every step."""
    return _modular_addition(layers.cross_entropy, share=0.5)


@problem(
    "modular-addition-stablemax",
    title="Training: addition modulo 59 from 80 % of its table, with StableMax in the place of softmax",
    source="Prieto et al. 2025, Grokking at the edge of numerical stability, arXiv 2501.04697",
)
def modular_addition_stablemax() -> Case:
    """The network of ``modular-addition`` with a loss that does not collapse in finite precision."""
    return _modular_addition(lambda z, y: jnp.mean(stablemax_cross_entropy(z, y)), share=0.8)


@problem(
    "poisson-pinn",
    title="Training: physics-informed network for Poisson's equation on the unit square",
    source="Raissi, Perdikaris and Karniadakis 2019, Physics-informed neural networks",
)
def poisson_pinn() -> Case:
    r"""$-\Delta u = f$ where $u = \sin(\pi s)\sin(\pi t) + \frac12 \sin(2\pi s)\sin(2\pi t)$, 0 around.

    A tanh network 2-32-32-1; the loss is the mean squared residual inside, over that of $u = 0$, and ten
    times the mean square on the boundary. Measured by the relative $L_2$ error on a grid.
    """

    def solution(z):
        s, t = jnp.pi * z[..., 0], jnp.pi * z[..., 1]
        return jnp.sin(s) * jnp.sin(t) + 0.5 * jnp.sin(2 * s) * jnp.sin(2 * t)

    def source(z):
        s, t = jnp.pi * z[..., 0], jnp.pi * z[..., 1]
        return jnp.pi**2 * (2 * jnp.sin(s) * jnp.sin(t) + 4 * jnp.sin(2 * s) * jnp.sin(2 * t))

    def network(x, z):
        h = z
        for name in ("first", "second"):
            h = jnp.tanh(layers.linear(x[name], h))
        return layers.linear(x["output"], h)[..., 0]

    def second_derivative(x, z, direction):
        along = lambda z: jax.jvp(lambda z: network(x, z), (z,), (direction,))[1]  # noqa: E731
        return jax.jvp(along, (z,), (direction,))[1]

    def loss(x, batch):
        inside, boundary = batch
        axes = [jnp.broadcast_to(e, inside.shape) for e in jnp.eye(2, dtype=inside.dtype)]
        laplacian = sum(second_derivative(x, inside, e) for e in axes)
        f = source(inside)
        equation = jnp.mean(jnp.square(laplacian + f)) / (5 * jnp.pi**4)
        return equation + 10 * jnp.mean(jnp.square(network(x, boundary)))

    def measure(x, grid):
        exact = solution(grid)
        return {"error": jnp.linalg.norm(network(x, grid) - exact) / jnp.linalg.norm(exact)}

    def weights(rng):
        return {
            "first": {"weight": 2 * rng.normal(size=(2, 32)), "bias": rng.uniform(-2, 2, 32)},
            "second": layers.dense(rng, 32, 32),
            "output": layers.dense(rng, 32, 1),
        }

    rng = np.random.default_rng(0)
    count = 2048
    inside, along = rng.uniform(size=(count, 2)), rng.uniform(size=count)
    side = np.arange(count) % 4
    fixed = (side % 2).astype(float)
    boundary = np.where((side < 2)[:, None], np.stack([along, fixed], 1), np.stack([fixed, along], 1))
    ticks = np.linspace(0, 1, 33)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    initial = layers.drawn(weights)
    trained = Training(
        loss,
        (jnp.asarray(inside), jnp.asarray(boundary)),
        batch_size=128,
        held_out=jnp.asarray(grid),
        measure=measure,
        target=Target("error", 0.1),
        initial=initial,
    )
    return Case(trained, initial(jax.random.key(0)))


@problem(
    "heavy-tailed-logistic",
    title="Training: logistic regression with a ridge, its gradients with noise of infinite variance, 30",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def heavy_tailed_logistic() -> Case:
    r"""The problem ``l2-logistic``, with a term $\langle \xi_i, w\rangle$ in the loss of every datum.

    The entries of $\xi$ are Student's of 1.5 degrees of freedom, and sum to zero over the eight noises that
    each of the data has, so the objective and its minimum are those of ``l2-logistic``.
    """
    copies, scale = 8, 0.1
    X, y = data.breast_cancer()
    n, d = X.shape

    def clean(w, data):
        x, sign = data
        return jnp.mean(jax.nn.softplus(-sign * (x @ w))) + 0.005 * (w @ w)

    def loss(w, batch):
        *data, noise = batch
        return clean(w, data) + jnp.mean(noise @ w)

    def measure(w, held_out):
        x, sign = held_out
        return {"accuracy": jnp.mean((sign * (x @ w) > 0).astype(w.dtype)), "clean_loss": clean(w, held_out)}

    rng = np.random.default_rng(0)
    noise = scale * rng.standard_t(1.5, size=(copies, n, d))
    noise -= noise.mean(axis=0)
    order = rng.permutation(copies * n)
    sign = 2.0 * y - 1
    repeated = np.tile(X, (copies, 1)), np.tile(sign, copies), noise.reshape(-1, d)
    trained = Training(
        loss,
        tuple(jnp.asarray(v[order]) for v in repeated),
        batch_size=8,
        held_out=(jnp.asarray(X), jnp.asarray(sign)),
        measure=measure,
        target=Target("objective", 0.13),
    )
    return Case(trained, jnp.zeros(d))
