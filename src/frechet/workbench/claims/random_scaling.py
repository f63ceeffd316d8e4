"""Claims of "Random Scaling and Momentum for Non-smooth Non-convex Optimization" (arXiv 2405.09742)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.random_scaling import discounted_descent, online_to_nonconvex, scale_by_exponential
from frechet.workbench import data
from frechet.workbench.claims import Evidence, claim

SYSTEM = "random-scaling"


@claim(
    SYSTEM,
    "E[F(x + sD) - F(x)] = E<grad F(x + sD), D>; where s is not random it is 0.546 against 0.378",
    fast=False,
)
def identity() -> Evidence:
    n, x, D = 2_000_000, 0.3, 0.7
    tx: Any = scale_by_exponential()
    draw = lambda key: tx.update(jnp.asarray(D), tx.init(None)._replace(key=key))[0]  # noqa: E731
    steps: Any = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), n))
    rows = []
    for scale, moved in (("Exp(1)", np.asarray(steps)), ("1", np.asarray(D))):
        decrease, linear = np.sin(x + moved) - np.sin(x), np.cos(x + moved) * D
        # Four standard errors; for sin the common value is in closed form, as E exp(i s D) = 1 / (1 - iD).
        error = 4 * np.std(decrease - linear) / np.sqrt(n)
        exact = np.imag(np.exp(1j * x) / (1 - 1j * D)) - np.sin(x)
        near = max(abs(np.mean(decrease) - exact), abs(np.mean(linear) - exact))
        agree = abs(np.mean(decrease - linear)) <= error and near < 4 * np.std(decrease) / np.sqrt(n)
        row = {"s": scale, "E[F(x + sD) - F(x)]": np.mean(decrease), "E<grad F(x + sD), D>": np.mean(linear)}
        rows.append({**row, "exact": exact, "equal": agree, "holds": agree == (scale == "Exp(1)")})
    return Evidence.table(rows, note="F = sin, x = 0.3, D = 0.7, 2 million draws")


@claim(
    SYSTEM,
    "with any learner E[F(x_T) - F(x_0)] is the sum of its linear losses E<g_t, D_t>, F neither smooth nor "
    "convex",
)
def telescope() -> Evidence:
    runs, length = 50_000, 20
    F = lambda x: jnp.sum(jnp.abs(jnp.sin(3 * x)) + 0.1 * jnp.abs(x))  # noqa: E731
    start = jnp.array([0.7, -0.3])

    def path(learner, key):
        tx = optax.chain(learner, *([] if key is None else [scale_by_exponential(key)]))

        def step(carry, _):
            x, g, state = carry
            before = jax.tree.map(jnp.asarray, state)
            delta: Any = learner.update(g, before[0], x)[0]
            moved, state = tx.update(g, state, x)
            x = x + moved
            g = jax.grad(F)(x)
            return (x, g, state), jnp.vdot(g, delta)

        (x, _, _), losses = jax.lax.scan(
            step, (start, jax.grad(F)(start), tx.init(start)), None, length=length
        )
        return F(x) - F(start), jnp.sum(losses)

    keys = jax.random.split(jax.random.key(0), runs)
    learners = {
        "momentum": optax.with_extra_args_support(discounted_descent(0.05, 0.9, 0.1)),
        "AdamW": optax.adamw(0.05, b1=0.8, b2=0.9, weight_decay=0.1),
    }
    rows = []
    for name, learner in learners.items():
        decrease, losses = map(np.asarray, jax.jit(jax.vmap(functools.partial(path, learner)))(keys))
        error = 4 * np.std(decrease - losses) / np.sqrt(runs)
        fixed = jax.jit(lambda learner=learner: jnp.subtract(*path(learner, None)))()
        off = abs(np.mean(decrease - losses))
        rows.append(
            {
                "learner": name,
                "E[F(x_T) - F(x_0)]": np.mean(decrease),
                "sum E<g_t, D_t>": np.mean(losses),
                "difference": off,
                "4 standard errors": error,
                "difference with s = 1": abs(float(fixed)),
                "holds": off <= error < abs(float(fixed)) / 4,
            }
        )
    return Evidence.table(
        rows, note=f"{runs:,} runs of {length} steps on |sin 3x| + |x| / 10 in two variables"
    )


@claim(
    SYSTEM,
    "on digits a two-layer ReLU network trains to SGDM's loss, within 20 %, at the same rate",
    fast=False,
)
def digits() -> Evidence:
    X, y = map(jnp.asarray, data.digits())
    epochs, batch = 20, 64

    def loss(params, X, y):
        logits = jax.nn.relu(X @ params["W"] + params["b"]) @ params["V"] + params["c"]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, y))

    def train(randomised, seed):
        learner = discounted_descent(0.05, 0.9)
        tx = online_to_nonconvex(learner, seed) if randomised else learner
        w, v, order = jax.random.split(jax.random.key(seed), 3)
        params = {
            "W": jax.random.normal(w, (64, 64)) * np.sqrt(2 / 64),
            "b": jnp.zeros(64),
            "V": jax.random.normal(v, (64, 10)) * np.sqrt(2 / 64),
            "c": jnp.zeros(10),
        }

        def step(carry, key):
            params, state = carry
            i = jax.random.choice(key, len(y), (batch,))
            updates, state = tx.update(jax.grad(loss)(params, X[i], y[i]), state, params)
            return (optax.apply_updates(params, updates), state), None

        steps = jax.random.split(order, epochs * len(y) // batch)
        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), steps)
        return loss(params, X, y)

    plain, randomised = (
        np.asarray(jax.jit(jax.vmap(functools.partial(train, randomised)))(jnp.arange(5)))
        for randomised in (False, True)
    )
    rows = [
        {"seed": i, "SGDM": a, "randomised": b}
        for i, (a, b) in enumerate(zip(plain, randomised, strict=True))
    ]
    ratio = float(np.mean(randomised) / np.mean(plain))
    return Evidence.equal(
        1.0, ratio, tolerance=0.2, note="ratio of mean final losses over 5 seeds", rows=rows
    )
