"""Claims of "Generalized-Smooth Nonconvex Optimization is As Efficient As Smooth" (arXiv 2303.02854)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.normalized_gd import normalized_gd
from frechet.workbench.claims import Evidence, claim

SYSTEM = "normalized-gd"


@functools.partial(jax.jit, static_argnames=("f", "steps"))
def _run(f, x0, learning_rate, beta, steps):
    """The last iterate, and value and gradient norm at each before it."""
    tx = normalized_gd(learning_rate, beta)

    def step(carry, _):
        x, state = carry
        value, gradient = jax.value_and_grad(f)(x)
        updates, state = tx.update(gradient, state)
        return (x + updates, state), (value, optax.tree.norm(gradient))

    (x, _), trace = jax.lax.scan(step, (x0, tx.init(x0)), None, length=steps)
    return x, *trace


def _phase_retrieval(m, d):
    """Noisy squared measurements of d unknowns as in the paper, the start displaced by 5."""
    rng = np.random.default_rng(0)
    A, truth, shift = rng.normal(size=(m, d)) / 2, rng.normal(size=d) / 2, rng.normal(size=d)
    y = (A @ truth) ** 2 + 4 * rng.normal(size=m)
    A, y, start = (jnp.asarray(v) for v in (A, y, 5 + shift))
    return lambda x: jnp.mean((y - (A @ x) ** 2) ** 2) / 2, start


def _quartic(x):
    return jnp.sum(x**4)


@claim(
    SYSTEM, "on x^4 gradient descent diverges from 10 and 100; over |g|^(2/3) it converges from 1, 10 and 100"
)
def quartic() -> Evidence:
    cases = [
        (0.0, 0.01, 1.0, "0.156", lambda x: abs(x - 0.156) < 5e-4),
        (0.0, 0.01, 10.0, "diverges", lambda x: not np.isfinite(x)),
        (0.0, 0.01, 100.0, "diverges", lambda x: not np.isfinite(x)),
        *((2 / 3, 0.1, x0, "below 1e-35", lambda x: abs(x) < 1e-35) for x0 in (1.0, 10.0, 100.0)),
        (1.0, 0.05, 100.0, "75, to rounding", lambda x: abs(x - 75) < 500 * 75 * np.finfo(float).eps),
    ]
    rows = []
    for beta, gamma, x0, expected, holds in cases:
        x = float(_run(_quartic, jnp.asarray(x0), gamma, beta, 500)[0])
        rows.append({"beta": beta, "gamma": gamma, "x0": x0, "claimed": expected, "x": x, "holds": holds(x)})
    return Evidence.table(rows, note="500 steps")


@claim(
    SYSTEM,
    "phase retrieval: the gap after 500 steps is under a hundredth of tuned gradient descent's",
    fast=False,
)
def phase_retrieval() -> Evidence:
    f, start = _phase_retrieval(3000, 100)
    grid = np.logspace(-4, 0, 13)  # three to a decade, for each method; the best of each counts
    all_rates = jax.jit(jax.vmap(lambda rate, beta: _run(f, start, rate, beta, 500)[1], (0, None)))
    values = {beta: np.asarray(all_rates(grid, beta)) for beta in (0.0, 1 / 3, 2 / 3, 1.0)}
    least = min(np.nanmin(v) for v in values.values())
    gaps = {beta: np.nanmin(v[:, -1]) - least for beta, v in values.items()}
    rows = [
        {"beta": beta, "best rate": grid[np.nanargmin(v[:, -1])], "gap": gaps[beta]}
        for beta, v in values.items()
    ]
    ratio = max(gaps[beta] for beta in (1 / 3, 2 / 3)) / gaps[0.0]
    return Evidence.at_most(0.01, ratio, note="ratio of gaps, beta of 1/3 and 2/3 against 0", rows=rows)


@claim(SYSTEM, "with gamma of order eps^beta a gradient of norm eps is found in O(eps^-2) steps")
def rate() -> Evidence:
    f, start = _phase_retrieval(1000, 50)
    rows = []
    for beta in (2 / 3, 1.0):
        tolerances = np.logspace(1, -1, 7)
        norms_of = lambda eps, beta=beta: _run(f, start, 0.3 * eps**beta, beta, 5000)[2]  # noqa: E731
        runs = jax.jit(jax.vmap(norms_of))(jnp.asarray(tolerances))
        reached = np.asarray(runs) <= tolerances[:, None]
        steps = np.where(reached.any(1), reached.argmax(1), np.nan)
        slope = -np.polyfit(np.log(tolerances), np.log(steps), 1)[0]
        rows.append(
            {
                "beta": beta,
                "steps for eps = 10": steps[0],
                "steps for eps = 0.1": steps[-1],
                "slope": slope,
                "holds": slope <= 2,
            }
        )
    return Evidence.table(rows, note="slope of log(steps) in log(1 / eps) over two decades")
