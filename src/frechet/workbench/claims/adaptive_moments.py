"""Claims of training methods that change what Adam averages or what it makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.adam_epsilon_hat import scale_by_adam_epsilon_hat
from frechet.optimizers.adamomentum import scale_by_adamomentum
from frechet.optimizers.adan import adan, scale_by_adan
from frechet.optimizers.diffgrad import scale_by_diffgrad
from frechet.optimizers.grams import with_gradient_sign
from frechet.workbench.claims import Evidence, claim


def updates_of(tx: optax.GradientTransformation, grads) -> np.ndarray:
    """What a transformation makes of a sequence of gradients, a row a step."""
    grads = jnp.asarray(grads, float)

    def step(state, g):
        u, state = tx.update(g, state, jnp.zeros_like(g))
        return state, u

    return np.asarray(jax.lax.scan(step, tx.init(grads[0]), grads)[1])


def _gradients(steps: int = 200, size: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, size))


def _largest(difference: np.ndarray) -> float:
    return float(np.max(np.abs(difference)))


@claim("adan", "steps on (1, -2, 0.5), (1, 1, -0.5) are (1, -1, 1), (1, 0.31590, -0.45398), to 1e-5")
def adan_trace() -> Evidence:
    got = updates_of(scale_by_adan(), [[1, -2, 0.5], [1, 1, -0.5]])
    error = _largest(got - np.array([[1, -1, 1], [1, 0.31590, -0.45398]]))
    return Evidence.at_most(1e-5, error, note="optax 0.2.8 returns -0.2165 where 0.3159 is right")


@claim("adan", "without gradient differences (b2 = 0) it is Adam with decay rates b1 and b3, to 1e-12")
def adan_contains_adam() -> Evidence:
    grads = _gradients(50)
    difference = updates_of(scale_by_adan(0.9, 0.0, 0.99), grads) - updates_of(
        optax.scale_by_adam(0.9, 0.99), grads
    )
    return Evidence.at_most(1e-12, _largest(difference), note="50 random steps, against optax.scale_by_adam")


@claim("adan", "weights without gradients decay by 1 / (1 + lr wd) a step; the AdamW form by 1 - lr wd")
def adan_decay() -> Evidence:
    steps, lr, wd = 100, 0.1, 0.5
    rows = []
    for form, proximal, factor in (("proximal", True, 1 / (1 + lr * wd)), ("decoupled", False, 1 - lr * wd)):
        tx = adan(lr, weight_decay=wd, proximal=proximal)

        def step(carry, _, tx=tx):
            theta, state = carry
            u, state = tx.update(jnp.zeros_like(theta), state, theta)
            return (theta + u, state), None

        theta = jnp.array([1.0, -3.0])
        (theta, _), _ = jax.lax.scan(step, (theta, tx.init(theta)), length=steps)
        error = _largest(np.asarray(theta) / (np.array([1.0, -3.0]) * factor**steps) - 1)
        rows.append({"form": form, "relative error": error, "holds": error < steps * 1e-15})
    return Evidence.table(rows, note="after 100 steps; rounding is one part in 1e15 a step")


@claim("adan", "lags c (b1 / (1 - b1) - b2) behind gradients that drift by c a step, momentum b2 c more")
def adan_drift() -> Evidence:
    b1, b2, b3, c, steps = 0.98, 0.92, 0.99, 1e-3, 3000
    grads = 1.0 + c * jnp.arange(1.0, steps + 1)
    tx = scale_by_adan(b1, b2, b3)
    state, _ = jax.lax.scan(lambda s, g: (tx.update(g, s)[1], None), tx.init(grads[0]), grads)
    _, m, v, _, _ = jax.tree.leaves(state)
    numerator = m / (1 - b1**steps) + b2 * v / (1 - b2**steps)
    lag = float(grads[-1] - numerator) / c
    return Evidence.equal(b1 / (1 - b1) - b2, lag, tolerance=1e-6, unit="steps", note="after 3000 steps")


@claim("diffgrad", "on a constant gradient c the first step is sigmoid(|c|) times Adam's, all others half")
def diffgrad_constant() -> Evidence:
    c = np.array([0.3, -2.0, 5.0])
    grads = np.tile(c, (50, 1))
    ratio = updates_of(scale_by_diffgrad(eps=0.0), grads) / updates_of(optax.scale_by_adam(eps=0.0), grads)
    expected = np.full_like(ratio, 0.5)
    expected[0] = 1 / (1 + np.exp(-np.abs(c)))
    return Evidence.at_most(1e-12, _largest(ratio - expected), note="50 steps, against optax.scale_by_adam")


@claim("diffgrad", "on gradients that alternate between 10 and -10 it is Adam, to 1e-8 from the second step")
def diffgrad_alternating() -> Evidence:
    grads = 10.0 * (-1.0) ** np.arange(50)[:, None]
    ratio = updates_of(scale_by_diffgrad(eps=0.0), grads) / updates_of(optax.scale_by_adam(eps=0.0), grads)
    return Evidence.at_most(1e-8, _largest(ratio[1:] - 1), note="1 - sigmoid(20) = 2e-9")


@claim("diffgrad", "each entry of a step is between half of Adam's and Adam's")
def diffgrad_ratio() -> Evidence:
    grads = _gradients()
    ratio = updates_of(scale_by_diffgrad(eps=0.0), grads) / updates_of(optax.scale_by_adam(eps=0.0), grads)
    rows = [
        {"ratio": "smallest", "bound": 0.5, "measured": ratio.min(), "holds": ratio.min() >= 0.5 - 1e-12},
        {"ratio": "largest", "bound": 1.0, "measured": ratio.max(), "holds": ratio.max() <= 1 + 1e-12},
    ]
    return Evidence.table(rows, note="10,000 random entries")


@claim("diffgrad", "depends on the scale of the loss: at a thousandth of it friction is 0.5 within 2.5e-4")
def diffgrad_scale() -> Evidence:
    grads = 1e-3 * np.random.default_rng(0).uniform(-0.5, 0.5, size=(100, 20))
    ratio = updates_of(scale_by_diffgrad(eps=0.0), grads) / updates_of(optax.scale_by_adam(eps=0.0), grads)
    return Evidence.at_most(2.5e-4, _largest(ratio - 0.5), note="gradients in [-0.5, 0.5] times 1e-3")


@claim(
    "grams",
    "three steps are (1, -1, 1), (0.99998, 0.26633, -0.05263) and (0.99998, 0, 0.17472), to 1e-4 and 1e-5",
)
def grams_trace() -> Evidence:
    got = updates_of(
        with_gradient_sign(scale_by_adam_epsilon_hat(eps=1e-6)), [[1, -2, 0.5], [1, 1, -0.5], [1, 0, 0.25]]
    )
    expected = np.array([[1, -1, 1], [0.99998, 0.26633, -0.05263], [0.99998, 0, 0.17472]])
    errors = np.max(np.abs(got - expected), axis=1)
    # At the first step eps = 1e-6 stands beside a root of 0.001^(1/2) / 2 at the least: 6e-5.
    rows = [
        {"step": t + 1, "largest error": e, "holds": e < tol}
        for t, (e, tol) in enumerate(zip(errors, (1e-4, 1e-5, 1e-5), strict=True))
    ]
    return Evidence.table(rows, note="gradients (1, -2, 0.5), (1, 1, -0.5) and (1, 0, 0.25)")


@claim("grams", "without momentum (b1 = 0) it is Adam without momentum, to 1e-9")
def grams_without_momentum() -> Evidence:
    grads = _gradients()
    ours = updates_of(with_gradient_sign(scale_by_adam_epsilon_hat(0.0, 0.999, 1e-12)), grads)
    rms = optax.scale_by_rms(0.999, eps=1e-12, eps_in_sqrt=False, bias_correction=True)
    return Evidence.at_most(1e-9, _largest(ours - updates_of(rms, grads)), note="against optax.scale_by_rms")


@claim("grams", "every entry descends and has the size of Adam's, to 1e-6")
def grams_sign_and_size() -> Evidence:
    grads = _gradients()
    ours = updates_of(with_gradient_sign(scale_by_adam_epsilon_hat(eps=0.0)), grads)
    adam = updates_of(optax.scale_by_adam(eps=0.0), grads)
    size = _largest(np.abs(ours) / np.abs(adam) - 1)
    rows = [
        {"part": "smallest product with the gradient", "measured": (ours * grads).min(), "bound": 0.0},
        {"part": "relative difference of sizes", "measured": size, "bound": 1e-6},
    ]
    rows[0]["holds"], rows[1]["holds"] = (ours * grads).min() >= 0, size <= 1e-6
    return Evidence.table(rows, note="10,000 random entries, against optax.scale_by_adam")


@claim(
    "grams",
    "to first order each step descends no less than the base's or its cautious mask's",
)
def grams_descends_most() -> Evidence:
    grads = _gradients()
    rows = []
    bases = {
        "Adam": optax.scale_by_adam(),
        "Lion": optax.scale_by_lion(),
        "momentum": optax.trace(0.9),
        "Adan": scale_by_adan(),
    }
    for name, base in bases.items():
        u = updates_of(base, grads)
        descent = np.sum(updates_of(with_gradient_sign(base), grads) * grads, axis=1)
        of_base, of_mask = np.sum(u * grads, axis=1), np.sum(np.where(u * grads > 0, u, 0) * grads, axis=1)
        margin = float(np.min(descent - np.maximum(of_base, of_mask)))
        rows.append({"base": name, "smallest margin in 200 steps": margin, "holds": margin >= -1e-12})
    return Evidence.table(rows, note="random gradients of 50 entries; the mask without rescaling")


@claim(
    "adamomentum",
    "on a constant gradient steps 1, 10 and 5000 are 10, 2.2222 and 1.00005 times Adam's",
)
def adamomentum_constant() -> Evidence:
    u = updates_of(scale_by_adamomentum(eps=1e-16), np.ones(5000))
    rows = [
        {"step": t, "claimed": v, "measured": u[t - 1], "holds": abs(u[t - 1] - v) < 5 * 10.0**-digits}
        for t, v, digits in ((1, 10.0, 4), (10, 2.2222, 5), (5000, 1.00005, 6))
    ]
    return Evidence.table(rows, note="gradient 1, where Adam's step is 1; eps = 1e-16; to the digits given")


@claim("adamomentum", "alternating gradients do not slow it: steps tend to 1, Adam's to (1 - b1) / (1 + b1)")
def adamomentum_alternating() -> Evidence:
    grads = (-1.0) ** np.arange(20_000)
    rows = []
    for name, tx, limit in (
        ("AdaMomentum", scale_by_adamomentum(eps=1e-16), 1.0),
        ("Adam", optax.scale_by_adam(), 0.1 / 1.9),
    ):
        last = abs(updates_of(tx, grads)[-1])
        rows.append({"method": name, "limit": limit, "measured": last, "holds": abs(last - limit) < 1e-6})
    return Evidence.table(rows, note="after 20,000 steps; b2^20000 = 2e-9")


@claim("adamomentum", "without momentum (b1 = 0) it is Adam with eps / (1 - b2) inside the root, to 1e-12")
def adamomentum_without_momentum() -> Evidence:
    grads, b2, eps = _gradients(), 0.99, 1e-4
    adam = optax.scale_by_adam(0.0, b2, eps=0.0, eps_root=eps / (1 - b2))
    difference = updates_of(scale_by_adamomentum(0.0, b2, eps), grads) - updates_of(adam, grads)
    return Evidence.at_most(1e-12, _largest(difference), note="200 random steps, against optax.scale_by_adam")


@claim("adamomentum", "without eps the scale of the gradients does not matter, to 1e-12")
def adamomentum_scale() -> Evidence:
    grads, tx = _gradients(), scale_by_adamomentum(eps=0.0)
    error = _largest(updates_of(tx, 1000 * grads) - updates_of(tx, grads))
    return Evidence.at_most(1e-12, error, note="a thousandfold, on steps of order one")
