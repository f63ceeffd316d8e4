"""Claims of "Two-Timescale Extragradient for Finding Local Minimax Points" (Chae et al. 2024)."""

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.core.solver import Solver
from frechet.solvers.saddle.extragradient import Extragradient
from frechet.solvers.saddle.gradient_descent_ascent import GradientDescentAscent
from frechet.solvers.saddle.two_timescale_extragradient import TwoTimescaleExtragradient
from frechet.workbench.claims import Evidence, claim
from frechet.workbench.claims.iterates import states

SYSTEM = "two-timescale-eg"


def degenerate(x: jax.Array, y: jax.Array) -> jax.Array:
    """The origin is a local minimax point of it, where its curvature in y is singular."""
    return -(x[0] ** 2) + 2 * x[0] * y[0] - y[0] ** 2 / 2 + x[1] * y[1]


def _radius(solver: Solver) -> float:
    """The spectral radius of a step, which is linear here: its images of the unit vectors say all."""
    step = lambda unit: states(fr.Saddle(degenerate), solver, (unit[:2], unit[2:]), 1).x  # noqa: E731
    x = jax.vmap(step)(jnp.eye(4))
    images = np.concatenate([x.minimiser[:, 0], x.maximiser[:, 0]], axis=1)
    return float(np.max(np.abs(np.linalg.eigvals(images.T))))


def _by_hand(ratio: float, s: float, extra: bool) -> float:
    """The same from the operator's matrix."""
    M = np.array([[-2.0, 0, 2, 0], [0, 0, 0, 1], [-2, 0, 1, 0], [0, -1, 0, 0]])
    G = s * np.diag([1 / ratio, 1 / ratio, 1, 1]) @ M
    return float(np.max(np.abs(np.linalg.eigvals(np.eye(4) - G + (G @ G if extra else 0)))))


@claim(
    SYSTEM,
    "linearised at a degenerate minimax point, extragradient contracts for a ratio of 2.1 and more, "
    "descent-ascent for none",
)
def spectral_radii() -> Evidence:
    s, rows = 0.1, []
    claimed = {1.0: (1.058, 1.045), 2.1: (1.0024, 0.9976), 5.0: (1.0010, 0.9990), 10.0: (1.0005, 0.9995)}
    for ratio, said in claimed.items():
        for kind, radius in zip((GradientDescentAscent, TwoTimescaleExtragradient), said, strict=True):
            measured = _radius(kind(step_size=s, ratio=ratio))
            exact = _by_hand(ratio, s, kind is TwoTimescaleExtragradient)
            holds = abs(measured - exact) < 1e-12 and abs(measured - radius) < 6e-4
            row = {"ratio": ratio, "method": kind.__name__}
            row |= {"radius less 1, claimed": radius - 1, "measured": measured - 1}
            rows.append(row | {"holds": holds})
    return Evidence.table(rows, note="step 0.1; also against the eigenvalues of the operator's matrix")


@claim(
    SYSTEM,
    "on the degenerate example two-timescale extragradient converges from 20 starts, where extragradient and "
    "descent-ascent (at one time scale or two) diverge and alternating descent-ascent goes round in circles",
    fast=False,
)
def converges() -> Evidence:
    starts = np.random.default_rng(0).normal(size=(20, 4))
    s, n = 0.1, 40_000
    methods = {
        "two-timescale extragradient, ratio 10": (TwoTimescaleExtragradient(step_size=s), True),
        "extragradient": (Extragradient(step_size=s), False),
        "descent-ascent": (GradientDescentAscent(step_size=s), False),
        "descent-ascent, ratio 10": (GradientDescentAscent(step_size=s, ratio=10.0), False),
        "alternating descent-ascent, ratio 10": (
            GradientDescentAscent(step_size=s, ratio=10.0, alternating=True),
            False,
        ),
    }
    rows = []
    for name, (solver, converges) in methods.items():
        solve = lambda x, y, solver=solver: fr.solve(  # noqa: E731
            fr.Saddle(degenerate), (x, y), solver, tol=1e-6, max_steps=n
        )
        solution = jax.vmap(solve)(jnp.asarray(starts[:, :2]), jnp.asarray(starts[:, 2:]))
        with np.errstate(over="ignore"):
            size = np.linalg.norm(np.hstack([solution.x.minimiser, solution.x.maximiser]), axis=1)
        grown = size / np.linalg.norm(starts, axis=1)
        calls = float(np.median(np.asarray(solution.calls.gradient)))
        row = {"method": name, "converged": int(np.sum(np.asarray(solution.status.converged)))}
        row |= {"least |z| over its start": grown.min(), "largest": grown.max(), "median calls": calls}
        holds = row["converged"] == 20 and grown.max() < 1e-5 if converges else row["converged"] == 0
        rows.append(row | {"holds": holds})
    return Evidence.table(rows, note=f"step 0.1, at most {n:,} steps, tolerance 1e-6")


@claim(SYSTEM, "on f = xy the norm weighted by the ratio falls by 1 - s² + s⁴, s = eta / sqrt(ratio)")
def bilinear() -> Evidence:
    eta, ratio, n = 0.8, 4.0, 50
    solver = TwoTimescaleExtragradient(step_size=eta, ratio=ratio)
    z = states(fr.Saddle(lambda x, y: x * y), solver, (jnp.array(1.0), jnp.array(-0.7)), n).x
    size = ratio * np.asarray(z.minimiser) ** 2 + np.asarray(z.maximiser) ** 2
    s = eta / ratio**0.5
    error = np.max(np.abs(size[1:] / size[:-1] - (1 - s**2 + s**4)))
    return Evidence.at_most(1e-13, float(error), note="largest error of the factor over 50 steps")


@claim(SYSTEM, "a stationary point that is no minimax point repels: |z| grows from each of 20 starts nearby")
def repels() -> Evidence:
    f = lambda x, y: -(x**2) + x * y - y**2 / 2  # noqa: E731
    starts = 1e-3 * np.random.default_rng(0).normal(size=(20, 2))
    solver = TwoTimescaleExtragradient(step_size=0.1)
    solve = lambda x, y: fr.solve(fr.Saddle(f), (x, y), solver, tol=0.0, max_steps=2000).x  # noqa: E731
    z = jax.vmap(solve)(*jnp.asarray(starts).T)
    grown = np.hypot(z.minimiser, z.maximiser) / np.linalg.norm(starts, axis=1)
    return Evidence.at_least(10.0, float(grown.min()), unit="-fold", note="the least of 20, 2,000 steps")
