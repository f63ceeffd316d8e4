"""Claims of "Learning Rates as a Function of Batch Size" (Granziol and others 2022, arXiv 2006.09092)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.sparse.linalg import eigsh

from frechet.derivatives import hessian, stochastic_lanczos
from frechet.optimizers.slq_lr import hessian_noise, slq_lr, spiked_eigenvalue, stable_learning_rate
from frechet.workbench import data
from frechet.workbench.claims import Evidence, claim

SYSTEM = "slq-lr"


def _largest(H: np.ndarray) -> float:
    """The largest eigenvalue of a symmetric matrix, to rounding."""
    return float(eigsh(H, k=1, which="LA", v0=np.ones(len(H)), return_eigenvectors=False)[0])


@claim(
    SYSTEM,
    "an eigenvalue of 1 in semicircular noise of s = 0.5 shows at 1.25, in s = 1.5 at the bulk's edge 3",
)
def outlier() -> Evidence:
    n, rows = 600, []
    for s in (0.25, 0.5, 1.5):
        tops = []
        for seed in range(2):
            G = np.random.default_rng(seed).normal(size=(n, n))
            spike = np.zeros((n, n))
            spike[0, 0] = 1.0
            tops.append(_largest(spike + s * (G + G.T) / np.sqrt(2 * n)))
        theory, mean = float(spiked_eigenvalue(1.0, s)), float(np.mean(tops))
        # An outlier fluctuates by s * sqrt(2 / n) or so, the edge by s * n ** (-2 / 3).
        row = {"s": s, "theory": theory, "measured": mean}
        rows.append({**row, "holds": abs(mean - theory) < 3 * s * np.sqrt(2 / n)})
    return Evidence.table(rows, note="600 x 600, mean of two seeds, by ARPACK")


@claim(
    SYSTEM,
    "40 Lanczos steps find the extreme eigenvalues to 1e-6; ten probes find the first two moments to 5 % on "
    "a diagonal, and to three standard deviations in any basis",
)
def quadrature() -> Evidence:
    n, probes, rng = 200, 10, np.random.default_rng(0)
    spectra = {
        "evenly from 1 to 50": np.linspace(1, 50, n),
        "bulk and outliers": np.concatenate([[-2, -1.5], np.linspace(0, 1, n - 5), [3, 5, 10]]),
        "exponential bulk": np.concatenate([[-0.5], rng.exponential(0.1, n - 5), [2, 4, 8, 16]]),
    }
    spectra["evenly from 1 to 50"][[0, -1]] = 0, 51  # extremes that stand apart a little
    rotation = np.linalg.qr(rng.normal(size=(n, n)))[0]
    estimate = jax.jit(
        lambda A: stochastic_lanczos(
            lambda v: A @ v, jnp.zeros(n), jax.random.key(0), steps=40, probes=probes
        )
    )
    rows = []
    for name, d in spectra.items():
        for form, H in (("diagonal", np.diag(d)), ("rotated", (rotation * d) @ rotation.T)):
            nodes, weights = (np.asarray(v) for v in estimate(jnp.asarray(H)))
            extreme = max(abs(nodes.min() - d.min()), abs(nodes.max() - d.max())) / np.abs(d).max()
            row = {"spectrum": f"{name}, {form}", "extremes' error": extreme}
            holds = extreme < 1e-6
            for p in (1, 2):
                error = abs(np.sum(nodes**p * weights) / probes / np.mean(d**p) - 1)
                # Of random signs the variance of z'Az is twice the square of what is off the diagonal.
                deviation = np.sqrt(2 / probes) * np.linalg.norm(d**p) / np.sum(d**p)
                row |= {f"moment {p}'s error": error}
                holds = holds and error < (0.05 if form == "diagonal" else 3 * deviation)
            rows.append({**row, "holds": holds})
    return Evidence.table(rows, note="relative to the largest modulus and to the moment")


@claim(SYSTEM, "gradient descent on a batch of a quadratic diverges above 2 / lambda_1(batch), to 2 %")
def threshold() -> Evidence:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1024, 30)) * np.linspace(0.2, 2, 30)

    def grows(H: jax.Array, rate: Any) -> jax.Array:
        step = lambda _, x: x - rate * H @ x  # noqa: E731
        size = jnp.linalg.norm(jax.lax.fori_loop(0, 2000, step, jnp.ones(30)))
        return ~(size <= jnp.sqrt(30.0))  # an overflow has grown

    @jax.jit
    def measured(H: jax.Array) -> jax.Array:
        def halve(_: Any, bounds: tuple) -> tuple:
            middle = (bounds[0] + bounds[1]) / 2
            up = grows(H, middle)
            return jnp.where(up, bounds[0], middle), jnp.where(up, middle, bounds[1])

        return jnp.mean(jnp.asarray(jax.lax.fori_loop(0, 12, halve, (jnp.zeros(()), jnp.ones(())))))

    product = lambda v, H: H @ v  # noqa: E731
    top = jax.jit(
        lambda H: jnp.max(
            stochastic_lanczos(lambda v: product(v, H), jnp.zeros(30), jax.random.key(0), steps=30).nodes
        )
    )
    rows = []
    for B in (8, 32, 128, 1024):
        batch = X[rng.choice(1024, B, replace=False)]
        H = jnp.asarray(batch.T @ batch / B)
        promised, found = 2 / float(top(H)), float(measured(H))
        row = {"batch": B, "2 / lambda_1": promised, "measured": found, "ratio": found / promised}
        rows.append({**row, "holds": abs(found / promised - 1) < 0.02})
    return Evidence.table(rows, note="bisection on whether 2000 steps end further away than they began")


@claim(SYSTEM, "calibrated at one batch size, the largest stable rate is predicted at others to 5 %")
def calibration() -> Evidence:
    n, full, sigma = 500, 1.0, 4.0
    rng = np.random.default_rng(0)

    def top(B: float) -> float:
        G = rng.normal(size=(n, n))
        H = sigma / np.sqrt(B) * (G + G.T) / np.sqrt(2 * n)
        H[0, 0] += full
        return _largest(H)

    noise = hessian_noise(64.0, top(64.0), full)
    rows = []
    for B in (2.0, 8.0, 32.0, 256.0, 4096.0):
        predicted, found = float(stable_learning_rate(B, full, noise)), 2 / top(B)
        row = {"batch": B, "predicted": predicted, "measured": found}
        rows.append({**row, "holds": abs(predicted / found - 1) < 0.05})
    return Evidence.table(rows, note="semicircular noise of variance 16 / B on a matrix of 500, by ARPACK")


@claim(
    SYSTEM, "on quadratics the learner contracts by (sqrt(k) - 1) / (sqrt(k) + 1) a step, to 5 %", fast=False
)
def rate() -> Evidence:
    rows = []
    for k in (25.0, 400.0):
        d = jnp.asarray(np.linspace(1, k, 100))
        f = lambda x, d=d: 0.5 * jnp.sum(d * x**2)  # noqa: E731
        tx = slq_lr(every=50, steps=80, max_step=4.0, min_weight=1e-8)

        def step(carry: tuple, _: None, tx: Any = tx, f: Any = f) -> tuple:
            x, state = carry
            updates, state = tx.update(jax.grad(f)(x), state, x, value_fn=f)
            x = optax.apply_updates(x, updates)
            return (x, state), jnp.linalg.norm(x)

        x0 = jnp.ones(100)
        run = jax.jit(lambda c, step=step: jax.lax.scan(step, c, length=250)[1])
        sizes = np.asarray(run((x0, tx.init(x0))))
        promised = (np.sqrt(k) - 1) / (np.sqrt(k) + 1)
        # At the optimum two roots meet, which multiplies the power by t: from 100 on below 1 % a step.
        found = float((sizes[200] / sizes[100]) ** (1 / 100))
        row = {"condition number": k, "promised": promised, "measured": found}
        rows.append({**row, "holds": abs(found / promised - 1) < 0.05})
    return Evidence.table(rows, note="curvatures evenly spaced, the first estimate at the start")


def _digits() -> tuple[jax.Array, jax.Array]:
    X, y = data.digits()
    return jnp.asarray(X, jnp.float32), jnp.asarray(y)


def _network(key: jax.Array) -> list:
    first, second = jax.random.split(key)
    W = jax.random.normal(first, (64, 32), jnp.float32) * np.float32(np.sqrt(2 / 64))
    V = jax.random.normal(second, (32, 10), jnp.float32) * np.float32(np.sqrt(2 / 32))
    return [(W, jnp.zeros(32, jnp.float32)), (V, jnp.zeros(10, jnp.float32))]


def _cross_entropy(params: list, X: jax.Array, y: jax.Array) -> jax.Array:
    (W, b), (V, c) = params
    logits = jnp.tanh(X @ W + b) @ V + c
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, y))


def _trained(tx: Any, steps: int, batch: int) -> list:
    """The network after some updates on batches drawn with replacement."""
    X, y = _digits()
    params = _network(jax.random.key(0))

    def step(carry: tuple, key: jax.Array) -> tuple:
        params, state = carry
        chosen = jax.random.randint(key, (batch,), 0, len(X))
        f = lambda p: _cross_entropy(p, X[chosen], y[chosen])  # noqa: E731
        updates, state = tx.update(jax.grad(f)(params), state, params, value_fn=f)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(1), steps)
    return jax.lax.scan(step, (params, tx.init(params)), keys)[0][0]


@claim(
    SYSTEM,
    "an untrained digits network's lambda_1(batch) falls with B and fits lambda + c / B with R^2 above 0.9",
    fast=False,
)
def batches() -> Evidence:
    X, y = _digits()
    sizes = np.array([4, 8, 16, 64, 256])
    params = _network(jax.random.key(0))

    def top(key: jax.Array, B: int) -> jax.Array:
        chosen = jax.random.choice(key, len(X), (B,), replace=False)
        product = hessian(lambda p: _cross_entropy(p, X[chosen], y[chosen]), params)
        return jnp.max(stochastic_lanczos(product, params, key, steps=15).nodes)

    keys = jax.random.split(jax.random.key(2), 60)
    run = jax.jit(lambda keys, B: jax.lax.map(lambda k: top(k, B), keys), static_argnums=1)
    means = np.array([float(jnp.mean(run(keys, B))) for B in sizes.tolist()])
    design = np.stack([np.ones(len(sizes)), 1 / sizes], axis=1)
    fitted = design @ np.linalg.lstsq(design, means, rcond=None)[0]
    r2 = 1 - np.sum((fitted - means) ** 2) / np.sum((means - means.mean()) ** 2)
    rows = [
        {"batch": B, "lambda_1": m, "fitted": f}
        for B, m, f in zip(sizes.tolist(), means, fitted, strict=True)
    ]
    falls = bool(np.all(np.diff(means) < 0))
    note = f"before training, mean of 60 batches each; {'falls' if falls else 'does not fall'} throughout"
    return Evidence.at_least(0.9, float(r2) if falls else np.nan, note=note, rows=rows)


@claim(
    SYSTEM,
    "on digits the learner ends within 1.1 times the loss that SGD reaches at the best of ten learning rates",
    fast=False,
)
def learner() -> Evidence:
    X, y = _digits()
    steps, batch = 300, 64
    rates = jnp.asarray(np.logspace(-2, 1, 10), jnp.float32)

    def best(momentum: float) -> float:
        def end(rate: jax.Array) -> jax.Array:
            tx = optax.with_extra_args_support(optax.sgd(rate, momentum))
            return _cross_entropy(_trained(tx, steps, batch), X, y)

        return float(np.nanmin(jax.jit(lambda rates: jax.lax.map(end, rates))(rates)))

    own = float(jax.jit(lambda: _cross_entropy(_trained(slq_lr(every=20), steps, batch), X, y))())
    plain = best(0.0)
    rows = [
        {"method": "slq-lr", "final loss": own},
        {"method": "SGD, best of ten rates", "final loss": plain},
        {"method": "SGD with momentum 0.9, best of ten rates", "final loss": best(0.9)},
    ]
    note = "300 batches of 64; untuned, it does not reach SGD with momentum at its best rate"
    return Evidence.at_most(1.1, own / plain, unit="-fold", note=note, rows=rows)
