"""Claims of "TrAct: Making First-layer Pre-Activations Trainable" (2024, arXiv 2410.23970)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.tract import scale_by_tract, tract_linear
from frechet.workbench import data
from frechet.workbench.claims import Evidence, claim

SYSTEM = "tract"


def _drawn(rows: int, fan_in: int = 12, channels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, fan_in)), rng.normal(size=(rows, channels)) / rows


def _kernel_gradient(a: np.ndarray, G: np.ndarray, damping: float) -> np.ndarray:
    """The layer's gradient of a kernel of shape (fan-in, channels), G being that of the pre-activations."""
    value = lambda W: jnp.sum(jnp.asarray(G) * tract_linear(jnp.asarray(a), W, damping=damping))  # noqa: E731
    return np.asarray(jax.grad(value)(jnp.zeros((a.shape[1], G.shape[1]))))


def _relative(got, want) -> float:
    return float(np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want))


@claim(SYSTEM, "the matrix of the smaller size gives the same gradient, to 1e-12")
def branches() -> Evidence:
    rows = []
    for b in (7, 40):
        a, G = _drawn(b)
        want = np.linalg.inv(a.T @ a / b + 0.1 * np.eye(12)) @ (a.T @ G)
        gradient = jnp.asarray(a.T @ G)
        tx = scale_by_tract(0.1)
        scaled = tx.update(gradient, tx.init(gradient), layer_input=jnp.asarray(a))[0]
        errors = {
            "transformation": _relative(scaled, want),
            "layer": _relative(_kernel_gradient(a, G, 0.1), want),
        }
        rows.append({"rows": b, "fan-in": 12, **errors, "holds": max(errors.values()) < 1e-12})
    return Evidence.table(rows, note="relative errors against an explicit inverse of the size of the fan-in")


@claim(SYSTEM, "the change of weights closest to the step on pre-activations, with a ridge: to 1e-8")
def ridge() -> Evidence:
    a, G = _drawn(30)
    # sum_i |b G_i - D a_i|^2 + lambda b |D|^2 as one least-squares problem
    stacked = np.concatenate([a, np.sqrt(0.1 * 30) * np.eye(12)])
    minimiser = np.linalg.lstsq(stacked, np.concatenate([30 * G, np.zeros((12, 5))]), rcond=None)[0]
    return Evidence.at_most(1e-8, _relative(_kernel_gradient(a, G, 0.1), minimiser), note="relative")


@claim(SYSTEM, "as the damping grows, damping times the gradient tends to the ordinary one: 1e-7 at 1e8")
def large_damping() -> Evidence:
    a, G = _drawn(30)
    return Evidence.at_most(1e-7, _relative(1e8 * _kernel_gradient(a, G, 1e8), a.T @ G), note="relative")


@claim(SYSTEM, "without damping, mixing the inputs leaves the change of pre-activations as it is, to 1e-6")
def invariance() -> Evidence:
    a, G = _drawn(30)
    M = np.eye(12) + 0.3 * np.random.default_rng(1).normal(size=(12, 12))
    change = lambda a: a @ _kernel_gradient(a, G, 1e-12)  # noqa: E731
    plain = _relative(a @ M @ (a @ M).T @ G, a @ a.T @ G)
    ours = _relative(change(a @ M), change(a))
    if plain < 0.1:
        ours = np.nan  # nothing is shown where the ordinary gradient is invariant too
    return Evidence.at_most(1e-6, ours, note=f"relative; an ordinary gradient step's changes by {plain:.2g}")


@claim(SYSTEM, "gradients of the inputs and the bias are an ordinary layer's, to rounding")
def others() -> Evidence:
    a, G = map(jnp.asarray, _drawn(30))
    W, bias = jnp.ones((12, 5)), jnp.ones(5)
    loss = lambda layer: jax.grad(lambda a, b: jnp.sum(jnp.tanh(layer(a, W, b)) * G), (0, 1))(a, bias)  # noqa: E731
    pairs = zip(loss(tract_linear), loss(lambda a, W, b: a @ W + b), strict=True)
    return Evidence.at_most(1e-14, max(_relative(ours, np.asarray(plain)) for ours, plain in pairs))


def _epochs_to(accuracy: float, base: optax.GradientTransformation, first, seeds: int = 3) -> list[int]:
    """Epochs a digits' MLP with that first layer needs to that test accuracy, for each seed."""
    X, y = (jnp.asarray(a) for a in data.digits())
    X = X.astype(jnp.float32)

    def layer(key, n, k):
        kernel = jax.random.normal(key, (n, k), jnp.float32) * np.sqrt(2 / n)
        return {"kernel": kernel.astype(jnp.float32), "bias": jnp.zeros(k, jnp.float32)}

    def logits(p, x):
        h = jax.nn.relu(first(x, p["first"]["kernel"], p["first"]["bias"]))
        return h @ p["second"]["kernel"] + p["second"]["bias"]

    def loss(p, i):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(p, X[i]), y[i]))

    def step(carry, i):
        p, state = carry
        updates, state = base.update(jax.grad(loss)(p, i), state, p)
        return (optax.apply_updates(p, updates), state), None

    def run(key):
        split, order, *layers = jax.random.split(key, 4)
        train, test = jnp.split(jax.random.permutation(split, len(y)), [1408])

        def epoch(carry, k):
            batches = jax.random.permutation(k, train).reshape(-1, 64)
            carry = jax.lax.scan(step, carry, batches)[0]
            return carry, jnp.mean(logits(carry[0], X[test]).argmax(1) == y[test])

        p = {"first": layer(layers[0], 64, 64), "second": layer(layers[1], 64, 10)}
        reached = jax.lax.scan(epoch, (p, base.init(p)), jax.random.split(order, 40))[1] >= accuracy
        return jnp.where(reached.any(), jnp.argmax(reached) + 1, len(reached) + 1)

    return jax.jit(jax.vmap(run))(jax.vmap(jax.random.key)(jnp.arange(seeds))).tolist()


@claim(SYSTEM, "a digits' MLP is at 95 % in no more epochs than without, same learning rate", fast=False)
def digits() -> Evidence:
    plain = lambda x, W, b: x @ W + b  # noqa: E731
    rows = []
    for name, base in (("SGD with momentum", optax.sgd(0.03, 0.9)), ("Adam", optax.adam(1e-3))):
        pairs = zip(*(_epochs_to(0.95, base, layer) for layer in (tract_linear, plain)), strict=True)
        for seed, (ours, without) in enumerate(pairs):
            row = {"optimizer": name, "seed": seed, "epochs with TrAct": ours, "without": without}
            rows.append(row | {"holds": ours <= without})
    return Evidence.table(rows, note="64 hidden units, batches of 64, damping 0.1, grey values in [0, 1]")
