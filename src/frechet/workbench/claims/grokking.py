"""Claims of "Grokking at the Edge of Numerical Stability" (Prieto et al. 2025, arXiv 2501.04697)."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import frechet as fr
from frechet.losses.multinomial import cross_entropy
from frechet.optimizers.perpgrad import perpendicular_gradient, perpgrad, weight_alignment
from frechet.workbench.claims import Evidence, claim

SYSTEM = "perpgrad"
MODULUS, WIDTH, RATE = 59, 128, 0.01
Rows = list[dict[str, Any]]


def _pairs(share: float, seed: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Addition modulo 59: one-hot pairs and sums for training and for testing."""
    a, b = np.divmod(np.random.default_rng(seed).permutation(MODULUS**2), MODULUS)
    x = np.concatenate([np.eye(MODULUS)[a], np.eye(MODULUS)[b]], axis=1).astype(np.float32)
    y, n = ((a + b) % MODULUS).astype(np.int32), int(share * MODULUS**2)
    return jnp.asarray(x[:n]), jnp.asarray(y[:n]), jnp.asarray(x[n:]), jnp.asarray(y[n:])


def _initial(seed: int) -> list[tuple[jax.Array, jax.Array]]:
    rng = np.random.default_rng(seed)
    sizes = (2 * MODULUS, WIDTH, WIDTH, MODULUS)
    shapes = [((m, n), (n,)) for m, n in itertools.pairwise(sizes)]
    draw = lambda shape, m: jnp.asarray(rng.uniform(-(m**-0.5), m**-0.5, shape), jnp.float32)  # noqa: E731
    return [(draw(w, w[0]), draw(b, w[0])) for w, b in shapes]


def _logits(layers: Any, x: jax.Array) -> jax.Array:
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


def _train(
    tx: Any, loss: Callable[..., jax.Array], *, share: float, steps: int, seed: int, every: int = 50
) -> Rows:
    """Trains on all of the training pairs in every step, in float32; a row every ``every`` steps."""
    x, y, x_test, y_test = _pairs(share, seed)
    objective = lambda layers: jnp.mean(loss(_logits(layers, x), y))  # noqa: E731

    def step(carry, _):
        layers, state = carry
        updates, state = tx.update(jax.grad(objective)(layers), state, layers)
        return (optax.apply_updates(layers, updates), state), None

    def measured(carry, _):
        carry = layers, _ = jax.lax.scan(step, carry, None, length=every)[0]
        z = _logits(layers, x)
        return carry, {
            "train accuracy": jnp.mean(jnp.argmax(z, axis=1) == y),
            "test accuracy": jnp.mean(jnp.argmax(_logits(layers, x_test), axis=1) == y_test),
            "collapsed": fr.losses.softmax_collapse_rate(z, y),
            "alignment": weight_alignment(layers, jax.grad(objective)(layers))[-1][0],
        }

    run = jax.jit(lambda c: jax.lax.scan(measured, c, None, length=steps // every)[1])
    found = run((layers := _initial(seed), tx.init(layers)))
    columns = {k: np.asarray(v, float) for k, v in found.items()}
    return [
        {"steps": every * (i + 1)} | {k: float(v[i]) for k, v in columns.items()}
        for i in range(steps // every)
    ]


def _adamw() -> optax.GradientTransformation:
    return optax.adamw(RATE, b1=0.9, b2=0.99, eps=1e-25, weight_decay=0.0)


def _compared(methods: dict[str, tuple[Any, Callable, bool]], seeds: range, **settings: Any) -> Rows:
    """A row a method and seed: when the test accuracy first is 95 %, and whether that is as claimed."""
    rows = []
    for name, (tx, loss, groks) in methods.items():
        for seed in seeds:
            run = _train(tx, loss, seed=seed, **settings)
            reached = [r["steps"] for r in run if r["test accuracy"] >= 0.95]
            fitted = [r["steps"] for r in run if r["train accuracy"] >= 0.99]
            rows.append(
                {
                    "method": name,
                    "seed": seed,
                    "training 99 %": fitted[0] if fitted else "never",
                    "test 95 %": reached[0] if reached else "never",
                    "best test accuracy": max(r["test accuracy"] for r in run),
                    "collapsed": run[-1]["collapsed"],
                    "alignment": run[-1]["alignment"],
                    "holds": bool(fitted) and bool(reached) == groks,
                }
            )
    return rows


@claim(
    SYSTEM, "StableMax is the softmax of sign(x) log(1 + |x|) to 1e-15; its slope is right, at 0 too, to 1e-6"
)
def stablemax() -> Evidence:
    rng = np.random.default_rng(0)
    x = 10 ** rng.uniform(-3, 4, (200, 8)) * rng.choice([-1, 1], (200, 8))
    x[0] = 0.0
    s = np.where(x >= 0, x + 1, 1 / (1 + np.abs(x)))
    ratio = np.abs(fr.losses.stablemax(jnp.asarray(x)) - s / s.sum(1, keepdims=True)).max()
    z, y, h = jnp.asarray(rng.normal(size=(4, 5))).at[0].set(0.0), jnp.array([0, 1, 2, 3]), 1e-6
    loss = jax.jit(lambda z: jnp.sum(fr.losses.stablemax_cross_entropy(z, y)))
    directions = h * jnp.eye(20).reshape(20, 4, 5)
    differences = jax.vmap(lambda d: (loss(z + d) - loss(z - d)) / (2 * h))(directions).reshape(4, 5)
    slope = np.abs(differences - jax.jit(jax.grad(loss))(z)).max()
    return Evidence.table(
        [
            {"what": "probabilities", "bound": 1e-15, "error": ratio, "holds": ratio <= 1e-15},
            {"what": "gradient", "bound": 1e-6, "error": slope, "holds": slope <= 1e-6},
        ],
        note="against the definition as a ratio, and central differences",
    )


@claim(
    SYSTEM,
    "softmax cross entropy is exactly zero from a lead of 8, 17, 37 on (16, 32, 64 bits); StableMax's not",
)
def collapse() -> Evidence:
    leads, label = np.arange(1, 50), jnp.array(0)

    @jax.jit
    def of_two(z):
        collapsed = jax.vmap(lambda z: fr.losses.softmax_collapse_rate(z, label))(z) == 1
        stable = jax.vmap(lambda z: fr.losses.stablemax_cross_entropy(z, label))(z)
        return -jax.nn.log_softmax(z)[:, 0] == 0, collapsed, stable

    rows = []
    for dtype, claimed in (("float16", 8), ("float32", 17), ("float64", 37)):
        z = jnp.asarray(np.stack([leads, 0 * leads], axis=1), dtype)
        zero, collapsed, stable = map(np.asarray, of_two(z))
        first = int(leads[np.argmax(zero)])
        holds = first == claimed and np.all(zero == collapsed) and np.all(zero == (leads >= first))
        row = {"dtype": dtype, "claimed": claimed, "first": first, "least StableMax": stable.min()}
        rows.append(row | {"holds": holds and stable.min() > 0})
    million = jax.jit(jax.value_and_grad(lambda z: fr.losses.stablemax_cross_entropy(z, label)))
    value, slope = million(jnp.array([1e6, 0.0, 0.0], jnp.float32))
    far = {"dtype": "float32", "claimed": 2e-6, "first": "lead of 1e6", "least StableMax": value}
    rows.append(far | {"holds": abs(value / 2e-6 - 1) < 1e-3 and bool(jnp.all(slope != 0))})
    return Evidence.table(rows, note="whole leads of one class over the other")


@claim(SYSTEM, "projected gradients are orthogonal to the weights to 1e-12 and keep their norm to 1e-15")
def orthogonal() -> Evidence:
    rng = np.random.default_rng(0)
    tx = perpendicular_gradient()
    project = jax.jit(lambda g, w: tx.update(g, tx.init(w), w)[0])
    w, g = jnp.asarray(rng.normal(size=(2, 50, 20)))
    u = project(g, w)
    target = jnp.asarray(rng.normal(size=w.shape))
    spherical = jax.jit(jax.grad(lambda w: jnp.sum((w / jnp.linalg.norm(w) - target) ** 2)))(w)
    errors = {
        "<u, w>": (1e-12, abs(jnp.vdot(u, w))),
        "| |u| / |g| - 1 |": (1e-15, abs(jnp.linalg.norm(u) / jnp.linalg.norm(g) - 1)),
        "u - g where w = 0": (1e-15, jnp.abs(project(g, 0 * w) - g).max()),
        "u - g for a loss without scale": (
            1e-6,
            jnp.linalg.norm(project(spherical, w) - spherical) / jnp.linalg.norm(spherical),
        ),
    }
    rows = [{"what": k, "bound": b, "error": float(e), "holds": e <= b} for k, (b, e) in errors.items()]
    return Evidence.table(rows)


@claim(
    SYSTEM,
    "without weight decay, perpendicular gradients learn addition mod 59 from half of the pairs in 300 "
    "steps, AdamW not in 1,000",
    fast=False,
)
def perpgrad_groks() -> Evidence:
    rows = _compared({"PerpGrad": (perpgrad(RATE), cross_entropy, True)}, range(3), share=0.5, steps=300)
    rows += _compared({"AdamW": (_adamw(), cross_entropy, False)}, range(2), share=0.5, steps=1000)
    return Evidence.table(
        rows, note="an MLP of two layers of 128, full batch, float32; to 95 % of the test pairs"
    )


@claim(
    SYSTEM,
    "without weight decay, AdamW on StableMax learns addition mod 59 from 80 % of the pairs in 1,800 steps, "
    "on softmax not",
    fast=False,
)
def stablemax_groks() -> Evidence:
    methods = {
        "StableMax": (_adamw(), fr.losses.stablemax_cross_entropy, True),
        "softmax": (_adamw(), cross_entropy, False),
    }
    rows = _compared(methods, range(1), share=0.8, steps=1800)
    return Evidence.table(
        rows, note="an MLP of two layers of 128, full batch, float32; to 95 % of the test pairs"
    )
