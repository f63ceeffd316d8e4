"""Claims of "Convergence Guarantees for RMSProp and Adam ..." (Zhang, Zhou, Zou 2025, arXiv 2404.01436)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.affine_noise import (
    affine_noise_adam,
    affine_noise_hyperparameters,
    affine_noise_rmsprop,
)
from frechet.workbench.claims import Evidence, claim
from frechet.workbench.claims.adaptive_moments import updates_of

SYSTEM = "rmsprop-adam"


@claim(SYSTEM, "a horizon 16 times as long divides learning rate, 1 - b1 and 1 - b2 by 4")
def horizon() -> Evidence:
    short, long = (affine_noise_hyperparameters(steps) for steps in (1000, 16_000))
    rows = [
        {"quantity": name, "ratio": ratio, "holds": abs(ratio - 0.25) < 1e-12}
        for name, ratio in (
            ("learning rate", long.learning_rate / short.learning_rate),
            ("1 - b1", (1 - long.b1) / (1 - short.b1)),
            ("1 - b2", (1 - long.b2) / (1 - short.b2)),
        )
    ]
    return Evidence.table(rows, note="order T^-1/2 each")


@claim(SYSTEM, "they are RMSProp, and Adam less its bias corrections, to 1e-12")
def contains() -> Evidence:
    grads = np.random.default_rng(0).normal(size=(200, 20))
    lr, b1, b2 = 0.01, 0.9, 0.99
    rmsprop = optax.rmsprop(lr, decay=b2, eps=1e-3, initial_scale=1.0, eps_in_sqrt=False)
    t = np.arange(1, 201)[:, None]
    corrections = (1 - b1**t) / np.sqrt(1 - b2**t)
    adam = updates_of(optax.adam(lr, b1, b2, eps=0.0), grads) * corrections
    rows = [
        {"method": "RMSProp", "difference": updates_of(affine_noise_rmsprop(lr, b2), grads)},
        {"method": "Adam", "difference": updates_of(affine_noise_adam(lr, b1, b2, 0.0, 0.0), grads)},
    ]
    for row, reference in zip(rows, (updates_of(rmsprop, grads), adam), strict=True):
        row["difference"] = float(np.max(np.abs(row["difference"] - reference)))
        row["holds"] = row["difference"] < 1e-12
    return Evidence.table(rows, note="200 random steps, against optax; Adam with eps = 0")


@claim(
    SYSTEM,
    "on Reddi's example Adam goes to the wrong end with b2 = 0.99, to the right one with b2 = 0.9999",
    fast=False,
)
def rare_large_gradients() -> Evidence:
    steps, runs = 200_000, 512

    def mean_of_last_half(b2):
        tx = affine_noise_adam(5e-3, 0.9, b2)

        def step(carry, key):
            x, state = carry
            grad = jnp.where(jax.random.uniform(key, x.shape) < 0.01, 1010.0, -10.0)
            u, state = tx.update(grad, state, x)
            x = jnp.clip(x + u, -1, 1)
            return (x, state), jnp.mean(x)

        x = jnp.zeros(runs)
        _, means = jax.lax.scan(step, (x, tx.init(x)), jax.random.split(jax.random.key(0), steps))
        return jnp.mean(means[steps // 2 :])

    wrong, right = jax.jit(mean_of_last_half)(0.99), jax.jit(mean_of_last_half)(0.9999)
    rows = [
        {"b2": 0.99, "mean x": float(wrong), "bound": "at least 0.5", "holds": wrong >= 0.5},
        {"b2": 0.9999, "mean x": float(right), "bound": "at most -0.1", "holds": right <= -0.1},
    ]
    note = (
        "gradient 1010 once in a hundred, else -10, so that f(x) = 0.2 x is minimal at -1; 512 runs from 0; "
        "learning rate 0.005, at which the exact drift keeps a diffusion around -0.25"
    )
    return Evidence.table(rows, note=note)


@claim(
    SYSTEM,
    "the mean gradient of sum x^4 falls as T^-0.2 or faster with the horizon's rates; fixed ones stop it",
    fast=False,
)
def quartic() -> Evidence:
    horizons = np.array([1_000, 10_000, 100_000])
    d0, d1 = 1.0, 4.0

    def mean_gradient(tx, steps):
        def step(carry, key):
            x, state, total = carry
            exact = 4 * x**3
            scale, shift = jax.random.normal(key, (2, *x.shape))
            u, state = tx.update((1 + np.sqrt(d1) * scale) * exact + np.sqrt(d0) * shift, state, x)
            return (x + u, state, total + jnp.mean(jnp.linalg.norm(exact, axis=1))), None

        x = jnp.ones((8, 10))  # 8 runs in 10 dimensions
        keys = jax.random.split(jax.random.key(0), steps)
        (_, _, total), _ = jax.lax.scan(step, (x, tx.init(x), 0.0), keys)
        return float(total) / steps

    rows = []
    for name, make in (
        ("RMSProp", lambda h: affine_noise_rmsprop(h.learning_rate, h.b2)),
        ("Adam", lambda h: affine_noise_adam(**h._asdict())),
    ):
        law = [mean_gradient(make(affine_noise_hyperparameters(T)), T) for T in horizons]
        fixed = [law[0], *(mean_gradient(make(affine_noise_hyperparameters(1000)), T) for T in horizons[1:])]
        slope = np.polyfit(np.log(horizons), np.log(law), 1)[0]
        last = np.log10(fixed[2] / fixed[1])
        for rates, values, exponent, holds in (
            ("of T", law, slope, slope <= -0.2),
            ("fixed", fixed, last, last > -0.1),
        ):
            columns = {f"T = {T}": v for T, v in zip(horizons, values, strict=True)}
            rows.append({"method": name, "rates": rates, **columns, "slope": exponent, "holds": holds})
    note = "log-log slopes, over two decades with the horizon's rates, over the last with those of T = 1000"
    return Evidence.table(rows, note=note)
