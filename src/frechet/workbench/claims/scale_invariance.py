"""Claims of "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights" (2021)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.adamp import adamp, sgdp
from frechet.workbench.claims import Evidence, claim

SYSTEM = "adamp"
MU, RATE, STEPS, SIZE = 0.9, 0.05, 500, 20


def _run(tx: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights and steps on <b, w / |w|>, which does not depend on |w|; b is drawn anew in every step."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(SIZE, 1))
    w = jnp.asarray(w / np.linalg.norm(w))
    b = jnp.asarray(rng.normal(size=(STEPS, SIZE, 1)) / np.sqrt(SIZE))

    def step(carry, b):
        w, state = carry
        gradient = jax.grad(lambda w: jnp.vdot(b, w) / jnp.linalg.norm(w))(w)
        updates, state = tx.update(gradient, state, w)
        return (optax.apply_updates(w, updates), state), (w, updates / -RATE)

    (last, _), (w, p) = jax.jit(lambda: jax.lax.scan(step, (w, tx.init(w)), b))()
    return np.concatenate([w, last[None]])[:, :, 0], np.asarray(p)[:, :, 0]


def _squares(x: np.ndarray) -> np.ndarray:
    return np.sum(x * x, axis=1)


@claim(SYSTEM, "SGDP: the squared norm of the weights grows by just the squared step, to 1e-14")
def pythagoras() -> Evidence:
    rows = []
    for eps, bound in ((0.0, 1e-14), (1e-8, 1e-7)):
        w, p = _run(sgdp(RATE, MU, eps=eps))
        error = np.abs(np.diff(_squares(w)) - RATE**2 * _squares(p)) / _squares(w)[1:]
        rows.append({"eps": eps, "bound": bound, "largest error": error.max(), "holds": error.max() <= bound})
    return Evidence.table(rows, note="relative, over 500 steps with momentum 0.9")


@claim(SYSTEM, "SGD with momentum: past steps add 2 Σ μ^(t-k) |p_k|² to that growth, to 1e-12 (Lemma)")
def momentum_growth() -> Evidence:
    w, p = _run(optax.sgd(RATE, MU))
    squares = _squares(p)
    t, k = np.indices((STEPS, STEPS))
    past = np.sum(np.where(k < t, MU ** np.maximum(t - k, 0), 0) @ squares)
    predicted = RATE**2 * (squares.sum() + 2 * past)
    growth = _squares(w)[-1] - _squares(w)[0]
    note = (
        f"relative; |w|² grew by {growth:.4g}, of which the squared steps are {RATE**2 * squares.sum():.4g}"
    )
    return Evidence.at_most(1e-12, abs(growth / predicted - 1), note=note)


@claim(SYSTEM, "the projection takes the excess growth away: 2μ/(1-μ) = 18 times the squared steps")
def excess() -> Evidence:
    (plain, p), (projected, q) = _run(optax.sgd(RATE, MU)), _run(sgdp(RATE, MU, nesterov=False))
    rows = [
        {
            "method": name,
            "|w|² after 500 steps": _squares(w)[-1],
            "growth / squared steps": (_squares(w)[-1] - 1) / (RATE**2 * _squares(p).sum()),
            "in theory": theory,
        }
        for name, w, p, theory in (("SGDM", plain, p, 19.0), ("SGDP", projected, q, 1.0))
    ]
    measured = rows[0]["growth / squared steps"] - rows[1]["growth / squared steps"]
    # The last 1 / (1 - μ) of 500 steps have not had their effect yet: a relative 10 / 500 of it.
    return Evidence.equal(18.0, measured, tolerance=18 * 10 / 500, rows=rows, note="μ = 0.9; 18 in the limit")


@claim(SYSTEM, "weights that are not scale-invariant see AdamW, and decay in full; the others a tenth of it")
def the_rest() -> Evidence:
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(50, 4)), jnp.asarray(rng.normal(size=(4, 3)))
    far = jnp.asarray(X.T @ (X @ np.asarray(w)))  # regression on zero: g = X'Xw, far from orthogonal
    near = far - jnp.sum(far * w, 0) / jnp.sum(w * w, 0) * w
    decayed, adamw = adamp(weight_decay=0.1), optax.adamw(1e-3, weight_decay=0.1)
    rows = []
    for name, g, share in (("regression", far, 1.0), ("scale-invariant", near, 0.1)):
        with_decay, without = (jax.jit(tx.update)(g, tx.init(w), w)[0] for tx in (decayed, adamp()))
        decay = np.asarray(with_decay - without) / np.asarray(-1e-3 * 0.1 * w)
        error = np.abs(decay - share).max()
        rows.append(
            {"weights": name, "what": f"decay is {share} lr wd", "error": error, "holds": error < 1e-9}
        )
    state, reference = decayed.init(w), adamw.init(w)
    error = 0.0
    for _ in range(10):
        u, state = jax.jit(decayed.update)(far, state, w)
        v, reference = jax.jit(adamw.update)(far, reference, w)
        error = max(error, float(jnp.abs(u - v).max()) / 1e-3)
    rows.append({"weights": name, "what": f"decay is {share} lr wd", "error": error, "holds": error < 1e-9})
    adamw = optax.adamw(1e-3, weight_decay=0.1)
    state, reference = (tx.init(w) for tx in (adamp(weight_decay=0.1), adamw))
    error = 0.0
    for _ in range(10):
        u, state = adamp(weight_decay=0.1).update(far, state, w)
        v, reference = adamw.update(far, reference, w)
        error = max(error, float(jnp.abs(u - v).max()) / 1e-3)
    rows.append(
        {"weights": "regression", "what": "steps of optax.adamw", "error": error, "holds": error < 1e-12}
    )
    return Evidence.table(rows, note="relative errors")
