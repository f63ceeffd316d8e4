"""Claims of "Single-Call Stochastic Extra-Gradient Methods" (Hsieh et al. 2019, arXiv 1908.08465)."""

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.solvers.saddle.extragradient import Extragradient
from frechet.solvers.saddle.gradient_descent_ascent import GradientDescentAscent
from frechet.solvers.saddle.optimistic_gradient import OptimisticGradient
from frechet.solvers.saddle.past_extragradient import PastExtragradient
from frechet.solvers.saddle.reflected_gradient import ReflectedGradient
from frechet.solvers.saddle.step_size import Harmonic
from frechet.workbench.claims import Evidence, claim
from frechet.workbench.claims.iterates import states

SYSTEM = "single-call-eg"
METHODS = (PastExtragradient, ReflectedGradient, OptimisticGradient)


def _monotone(d: int, mu: float, seed: int = 0) -> np.ndarray:
    """A matrix with symmetric part ``mu`` times the identity and a skew part of norm 1."""
    A = np.random.default_rng(seed).normal(size=(d, d))
    return (A - A.T) / np.linalg.norm(A - A.T, 2) + mu * np.eye(d)


@claim(SYSTEM, "without constraints the three methods are one: OGDA's recursion, to rounding over 50 steps")
def coincidence() -> Evidence:
    M, s, start = _monotone(10, 0.1), 0.3, np.linspace(-1.0, 1.0, 10)
    # The first step only leads; the second base and its leading point are a step further each.
    h = [start, start - 2 * s * M @ start]
    for _ in range(48):
        h.append(h[-1] - 2 * s * M @ h[-1] + s * M @ h[-2])
    rows = []
    for kind in METHODS:
        problem = fr.Inclusion(lambda z: jnp.asarray(M) @ z)
        leads = np.asarray(states(problem, kind(step_size=s), jnp.asarray(start), 50).lead)
        error = float(np.max(np.abs(leads - np.array(h))))
        # Each of 50 steps rounds numbers below one a few times.
        rows.append({"method": kind.__name__, "largest difference": error, "holds": error < 1e-14})
    return Evidence.table(rows, note="leading points against OGDA in NumPy")


@claim(SYSTEM, "on f = xy a step of 0.3 takes |z|² times 0.9181 (extragradient) or 1.09 (descent-ascent)")
def bilinear() -> Evidence:
    problem, s = fr.Saddle(lambda x, y: x * y), 0.3
    # In the complex plane F is a quarter turn, and OGDA's recursion has these eigenvalues.
    past = ((1 + (1 - 4 * s**2) ** 0.5) ** 2 + 4 * s**2) / 4
    cases = {
        "Extragradient": (Extragradient(step_size=s), 1 - s**2 + s**4),
        "GradientDescentAscent": (GradientDescentAscent(step_size=s), 1 + s**2),
        "PastExtragradient": (PastExtragradient(step_size=s), past),
    }
    rows = []
    for name, (solver, exact) in cases.items():
        z = states(problem, solver, (jnp.array(1.0), jnp.array(0.5)), 200).x
        size = np.asarray(z.minimiser) ** 2 + np.asarray(z.maximiser) ** 2
        factor = float((size[-1] / size[-101]) ** 0.01)
        rows.append({"method": name, "exact": exact, "factor": factor, "holds": abs(factor - exact) < 1e-9})
    return Evidence.table(rows, note="geometric mean over steps 100 to 200; exact from the eigenvalues")


@claim(
    SYSTEM,
    "on rock, paper, scissors the gap of the average falls as 1.9e-2, 1.8e-3, 1.8e-4 at 1e2, 1e3, 1e4 calls",
    fast=False,
)
def matrix_game() -> Evidence:
    A = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    simplex = fr.convex.Simplex()
    problem = fr.Saddle(lambda x, y: x @ A @ y, simplex, simplex)
    start, s = jnp.array([0.6, 0.2, 0.2]), 0.25 / 3**0.5
    calls = np.array([100, 1000, 10_000])
    rows = []
    for kind in METHODS:
        averages = states(problem, kind(step_size=s, average=True), (start, start), 10_000).x
        x, y = np.asarray(averages.minimiser)[calls - 1], np.asarray(averages.maximiser)[calls - 1]
        gaps = np.max(x @ np.asarray(A), axis=1) - np.min(y @ np.asarray(A).T, axis=1)
        last = states(problem, kind(step_size=s), (start, start), 1000).x.minimiser[-1]
        slope = np.polyfit(np.log(calls), np.log(gaps), 1)[0]
        row = {"method": kind.__name__} | {f"gap at {n}": g for n, g in zip(calls, gaps, strict=True)}
        error = float(jnp.max(jnp.abs(last - 1 / 3)))
        row |= {"slope": slope, "last iterate's error at 1000": error}
        holds = abs(slope + 1) < 0.05 and error < 1e-13
        near = np.all(np.abs(np.log(gaps / [1.9e-2, 1.8e-3, 1.8e-4])) < 0.2)
        rows.append(row | {"holds": holds and near})
    return Evidence.table(rows, note="steps of 0.25/L, from (0.6, 0.2, 0.2)")


@claim(
    SYSTEM,
    "with noise and steps 2/(mu (t + 20)) the mean squared distance falls as 1/t: slope -0.99 (Theorem 5)",
    fast=False,
)
def noise() -> Evidence:
    d, mu, sigma, n = 20, 0.5, 0.1, 30_000
    M = jnp.asarray(_monotone(d, mu))
    noises = np.random.default_rng(1).normal(size=(2000, d))
    noises = jnp.asarray(sigma / d**0.5 * (noises - noises.mean(0)))
    problem = fr.FiniteSumInclusion(lambda z, e: M @ z + e, noises)
    solver = PastExtragradient(step_size=Harmonic(2 / mu, 20.0), batch_size=1)
    start = jnp.full(d, d**-0.5)
    times = np.unique(np.geomspace(1000, n, 20).astype(int))

    def turn(carry, key):
        state, t = carry
        return (solver.step(problem, state, key=key), t + 1), None

    @jax.jit
    @jax.vmap
    def squares(key):
        state, out = solver.init(problem, start, key=key), []
        for i, (a, b) in enumerate(zip([0, *times[:-1]], times, strict=True)):
            keys = jax.random.split(jax.random.fold_in(key, i), int(b - a))
            (state, _), _ = jax.lax.scan(turn, (state, 0), keys)
            out.append(jnp.sum(state.iterate**2))
        return jnp.stack(out)

    mean = np.asarray(squares(jax.random.split(jax.random.key(0), 200))).mean(0)
    slope = float(np.polyfit(np.log(times), np.log(mean), 1)[0])
    rows = [{"t": int(t), "mean squared distance": m} for t, m in zip(times, mean, strict=True)]
    return Evidence.equal(-1.0, slope, tolerance=0.05, note="200 runs, t = 1e3 to 3e4", rows=rows)
