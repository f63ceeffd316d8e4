"""Claims of "Optimizing Millions of Hyperparameters by Implicit Differentiation" (arXiv 1911.02590)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import frechet as fr
from frechet.core.solve import prepare
from frechet.solvers.bilevel.implicit_hypergradient import ImplicitHypergradient
from frechet.solvers.bilevel.inverse import Exact, Inverse, Neumann
from frechet.workbench import suite
from frechet.workbench.claims import Evidence, claim

SYSTEM = "ift-hyper"


def _random(seed: int, p: int = 4, q: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A lower Hessian of condition 10, the mixed derivative and a target."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(q, q)))[0]
    return Q @ np.diag(np.linspace(0.2, 2.0, q)) @ Q.T, rng.normal(size=(q, p)), rng.normal(size=q)


def _quadratic(A: np.ndarray, B: np.ndarray, t: np.ndarray) -> fr.Bilevel:
    return fr.Bilevel(
        lambda x, y: 0.5 * jnp.sum((y - t) ** 2) + 0.1 * jnp.sum(x**2),
        lambda x, y: 0.5 * y @ A @ y - y @ (B @ x),
    )


def _hypergradient(
    problem: fr.Bilevel, x: Array, y: Array, inverse: Inverse, lower_step: float
) -> PyTree[Array]:
    """What a step of the solver moves the upper variable by, at a lower solution."""
    solver = ImplicitHypergradient(
        inner_steps=1, inverse=inverse, outer=optax.sgd(1.0), lower_step=lower_step
    )
    lifted, z, prepared = prepare(problem, (x, y), solver)
    key = jax.random.key(0)

    @jax.jit
    def moved(z: fr.BilevelPoint) -> Array:
        state = prepared.init(lifted, z, key=key)
        return z.upper - prepared.step(lifted, state, key=key).x.upper

    return moved(z)


@claim(
    SYSTEM, "K Neumann terms are the derivative through the last K + 1 gradient steps, to 1e-14 (Theorem 2)"
)
def unrolled() -> Evidence:
    A, B, t = _random(0)
    problem, a = _quadratic(A, B, t), 0.5
    x = jnp.asarray(np.random.default_rng(1).normal(size=4))
    solution = jnp.asarray(np.linalg.solve(A, B @ np.asarray(x)))

    def after(x: Array, steps: int) -> Any:
        # By the formulas, not by the problem: gradients and reverse mode through all of them.
        descend = lambda y, _: (y - a * (A @ y - B @ x), None)  # noqa: E731
        y = jax.lax.scan(descend, solution, None, length=steps)[0]
        return 0.5 * jnp.sum((y - t) ** 2) + 0.1 * jnp.sum(x**2)

    rows = []
    for K in (1, 5, 20):
        want = jax.grad(after)(x, K + 1)
        got = _hypergradient(problem, x, solution, Neumann(K), a)
        rows.append({"K": K, "relative difference": float(jnp.max(jnp.abs(got / want - 1)))})
    largest = max(r["relative difference"] for r in rows)
    return Evidence.at_most(1e-14, largest, note="against reverse mode through the steps", rows=rows)


@claim(
    SYSTEM,
    "the Neumann series errs by at most (1 - 1/kappa)^(K+1): .81, .53, .11 for K = 1, 5, 20 at kappa 10",
)
def neumann_error() -> Evidence:
    terms, kappa = (1, 5, 20), 10
    A, _, b = (np.stack(v) for v in zip(*map(_random, range(20)), strict=True))
    exact = np.linalg.solve(A, b[:, :, None])[:, :, 0]
    errors = []
    for K in terms:
        series = jax.vmap(lambda A, b, K=K: Neumann(K).apply(lambda v: A @ v, b, jnp.asarray(0.5))[0])
        off = np.asarray(series(jnp.asarray(A), jnp.asarray(b))) - exact
        errors.append(np.linalg.norm(off, axis=1) / np.linalg.norm(exact, axis=1))
    rows = [
        {
            "K": K,
            "bound": (bound := (1 - 1 / kappa) ** (K + 1)),
            "median error": float(np.median(found)),
            "largest error": float(np.max(found)),
            "holds": np.max(found) <= bound,
        }
        for K, found in zip(terms, errors, strict=True)
    ]
    rows.append({"K": "falls with K", "holds": np.all(np.diff(errors, axis=0) < 0)})
    return Evidence.table(rows, note="20 random systems of 10 unknowns")


@claim(
    SYSTEM,
    "on breast_cancer with a ridge a feature, the hypergradient is that of finite differences: to 1e-6 with "
    "the exact inverse; by K = 20 terms to (1 - 1/kappa)^(K+1) with s = 1/L, to 1e-3 with s = 2/(L + mu)",
    fast=False,
)
def finite_differences() -> Evidence:
    case = suite.load("ridge-per-feature")
    problem: Any = case.problem
    x = np.asarray(case.x0.upper)
    (Z, t), (V, r) = ([np.asarray(v) for v in part.data] for part in (problem.inner, problem.outer))
    falling = lambda m: 1 / (1 + np.exp(m))  # noqa: E731

    def lower(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lower solution and its Hessian, by Newton's method in NumPy."""
        y = np.zeros(len(x))
        for _ in range(30):
            p = falling(t * (Z @ y))
            H = (Z * (p * (1 - p))[:, None]).T @ Z / len(t) + np.diag(np.exp(x))
            y = y - np.linalg.solve(H, np.exp(x) * y - Z.T @ (t * p) / len(t))
        return y, H

    of = lambda x: float(np.mean(np.logaddexp(0, -r * (V @ lower(x)[0]))))  # noqa: E731
    d, h = np.random.default_rng(0).normal(size=len(x)), 1e-4
    want = (8 * (of(x + h * d) - of(x - h * d)) - of(x + 2 * h * d) + of(x - 2 * h * d)) / (12 * h)
    y, H = lower(x)
    mu, *_, L = np.linalg.eigvalsh(H)
    trials = (
        ("exact", Exact(), 1 / L, 1e-6),
        ("Neumann, s = 1/L", Neumann(20), 1 / L, (1 - mu / L) ** 21),
        ("Neumann, s = 2/(L + mu)", Neumann(20), 2 / (L + mu), 1e-3),
    )
    rows = []
    for name, inverse, s, allowed in trials:
        got = float(_hypergradient(problem, jnp.asarray(x), jnp.asarray(y), inverse, float(s)) @ d)
        error = abs(got / want - 1)
        rows.append({"inverse": name, "relative error": error, "allowed": allowed, "holds": error <= allowed})
    note = f"Phi {of(x):.5f}, condition {L / mu:.1f}, along a random direction"
    return Evidence.table(rows, note=note)


@claim(SYSTEM, "memory does not grow with the number of inner steps nor with the terms of the series")
def memory() -> Evidence:
    n = 10_000
    loss = lambda x, y: jnp.mean((y - 1.0) ** 2)  # noqa: E731
    ridge = lambda x, y: jnp.mean((y - 2.0) ** 2 + jnp.exp(x) * y**2)  # noqa: E731

    def bytes_of(inner_steps: int, terms: int) -> int:
        solver = ImplicitHypergradient(
            optax.adam(1e-2),
            inner_steps=inner_steps,
            inverse=Neumann(terms, step=1.0),
            outer=optax.adam(1e-2),
        )
        problem, z, solver = prepare(fr.Bilevel(loss, ridge), (jnp.zeros(n), jnp.zeros(n)), solver)
        key = jax.random.key(0)
        state = solver.init(problem, z, key=key)
        step = jax.jit(lambda s: solver.step(problem, s, key=key))
        return step.lower(state).compile().memory_analysis().temp_size_in_bytes  # pyright: ignore

    few, many = bytes_of(10, 10), bytes_of(1000, 1000)
    vector = n * jnp.zeros(()).dtype.itemsize
    note = (
        f"{n} hyperparameters, as many weights: {few / vector:.1f} vectors of temporaries with 10 of either"
    )
    # Keys of the inner steps are two words each.
    return Evidence.at_most(few + 8 * 1000, many, unit="bytes", note=note + "; now 1000")


STEPS = 300


@claim(
    SYSTEM,
    "as many hyperparameters as weights: a decay for each of 640, on 300 digits, brings the validation loss "
    "below the best of a grid of 20 single decays",
    fast=False,
)
def overfitting() -> Evidence:
    case = suite.load("ridge-per-weight")
    problem: Any = prepare(case.problem, case.x0, ImplicitHypergradient())[0]
    z = case.x0

    @jax.jit
    def validated(x: Array, y: Array) -> Array:
        solved, worked = problem.solve_lower(fr.BilevelPoint(x, y))
        return jnp.where(worked, problem.outer_value(x, solved.lower), jnp.nan)

    zero, ones = jnp.zeros_like(z.lower), jnp.ones_like(z.upper)
    grid = np.linspace(-12.0, 2.0, 20)
    losses = [float(validated(c * ones, zero)) for c in grid]
    best = int(np.nanargmin(losses))
    solver = ImplicitHypergradient(inner_steps=20, inverse=Neumann(20), outer=optax.adam(0.1))
    start = (float(grid[best]) * ones, zero)
    found = fr.solve(problem, start, solver, tol=0.0, max_steps=STEPS, differentiate="none")
    reached = float(validated(found.x.upper, zero))
    note = (
        f"the best of the grid is exp({grid[best]:.2f}), where Adam starts; {STEPS} steps of it on 640 "
        f"logarithms; both losses at accurate lower solutions"
    )
    return Evidence.at_most(0.95 * losses[best], reached, note=note)
