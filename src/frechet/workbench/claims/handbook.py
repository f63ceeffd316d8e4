"""The convergence theorems of gradient methods, each bound measured (Garrigos, Gower 2023, arXiv 2301.11235).

In the bounds D_t is the squared distance of x_t to the solution, s the step size, L the smoothness of f and
Lmax that of its terms, mu a modulus of strong convexity (or the Polyak-Łojasiewicz constant), G bounds
subgradients, sigma* is the variance of the terms' gradients at x* and Delta* is f* less the mean infimum of
the terms.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.core.solver import Solver
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.proximal.gradient_descent import GradientDescent
from frechet.solvers.proximal.proximal_gradient import ProximalGradient
from frechet.solvers.stochastic.momentum import StochasticMomentum
from frechet.solvers.stochastic.proximal_sgd import Constant, ProximalSGD, StronglyConvex
from frechet.workbench.claims import Evidence, claim

SYSTEM = "handbook"
INSTANCES, SEEDS = 20, 100


class Instance(NamedTuple):
    """A random problem with everything the theorems speak of."""

    problem: fr.Composite
    x0: jax.Array
    x_star: jax.Array
    L: Any
    L_max: Any
    mu: Any
    sigma: Any = 0.0
    delta: Any = 0.0
    G: Any = 0.0

    @property
    def D0(self) -> jax.Array:
        """The squared distance of the start."""
        return jnp.sum((self.x0 - self.x_star) ** 2)

    def gap(self, x: jax.Array) -> jax.Array:
        """The objective above its minimum."""
        return self.problem.objective(x) - self.problem.objective(self.x_star)

    def distance(self, x: jax.Array) -> jax.Array:
        """The squared distance to the solution."""
        return jnp.sum((x - self.x_star) ** 2)


def trajectory(solver: Solver, instance: Instance, steps: int, key: jax.Array) -> jax.Array:
    """The iterates of a solver, the start included."""
    state = solver.init(instance.problem, instance.x0, key=key)

    def step(state: Any, k: jax.Array) -> tuple:
        state = solver.step(instance.problem, state, key=k)
        return state, state.x

    return jnp.concatenate([instance.x0[None], jax.lax.scan(step, state, jax.random.split(key, steps))[1]])


# ------------------------------------------------------------------ problems that meet the assumptions


def least_squares(seed: jax.Array, n: int = 20, p: int = 4, noise: float = 1.0, g: Any = None) -> Instance:
    """Squared loss; full rank where n > p, Polyak-Łojasiewicz where not. With ``g``, the start of a lasso."""
    keys = jax.random.split(jax.random.key(seed), 4)
    X = jax.random.normal(keys[0], (n, p)) * jnp.linspace(0.3, 1.5, p)
    y = X @ jax.random.normal(keys[1], (p,)) + noise * jax.random.normal(keys[2], (n,))
    x0 = jax.random.normal(keys[3], (p,)) * 3
    eigenvalues = jnp.linalg.eigvalsh(X.T @ X / n if n >= p else X @ X.T / n)
    # The solution nearest to the start, which the distances of the theorems are to.
    x_star = x0 + jnp.linalg.pinv(X) @ (y - X @ x0)
    residuals = X @ x_star - y
    rows = jnp.sum(X**2, axis=1)
    problem = fr.Composite(fr.losses.Squared(X, y)) if g is None else fr.Composite(fr.losses.Squared(X, y), g)
    return Instance(
        problem, x0, x_star, eigenvalues[-1], jnp.max(rows), eigenvalues[0],
        sigma=jnp.mean(rows * residuals**2), delta=jnp.mean(residuals**2) / 2,
    )  # fmt: skip


def lasso(seed: jax.Array) -> Instance:
    """Squared loss and an l1 penalty; its solution by coordinate minimisation, independent of the solvers."""
    lam = 0.3
    base = least_squares(seed, g=fr.convex.L1(lam))
    X, y = base.problem.f.X, base.problem.f.y  # pyright: ignore[reportFunctionMemberAccess]
    n, p = X.shape
    Q, q = X.T @ X / n, X.T @ y / n

    def sweep(w: jax.Array, j: jax.Array) -> tuple:
        z = q[j] - Q[j] @ w + Q[j, j] * w[j]
        return w.at[j].set(jnp.sign(z) * jnp.maximum(jnp.abs(z) - lam, 0) / Q[j, j]), None

    x_star = jax.lax.scan(sweep, jnp.zeros(p), jnp.tile(jnp.arange(p), 2000))[0]
    gradients = X * (X @ x_star - y)[:, None]
    variance = jnp.mean(jnp.sum((gradients - gradients.mean(0)) ** 2, axis=1))
    return base._replace(x_star=x_star, sigma=variance)


def absolute_deviations(seed: jax.Array, mu: float = 0.0, radius: float | None = None) -> Instance:
    """Least absolute deviations, nonsmooth, made so that its minimiser is known."""
    keys = jax.random.split(jax.random.key(seed), 3)
    n, p = 21, 3
    X = jax.random.normal(keys[0], (n, p))
    x_star = jax.random.normal(keys[1], (p,))
    x_star = x_star / jnp.linalg.norm(x_star)
    # All residuals vanish at x* but six, which come in pairs of equal rows and opposite signs: zero is a
    # subgradient there. The ridge is centred there too.
    X = X.at[14:17].set(X[17:20])
    y = (X @ x_star).at[14:17].add(1.0).at[17:20].add(-1.0)
    g = fr.convex.Zero() if radius is None else fr.convex.L2Ball(radius)
    x0 = x_star + jax.random.normal(keys[2], (p,))
    x0 = x0 if radius is None else g.prox(x0, 1.0)
    G = jnp.max(jnp.linalg.norm(X, axis=1)) + (0.0 if radius is None else mu * 2 * radius)
    return Instance(fr.FiniteSum(Deviation(x_star, mu), (X, y), g), x0, x_star, 0.0, 0.0, mu, G=G)


class Deviation(eqx.Module):
    """One absolute deviation, with a ridge about a centre."""

    centre: jax.Array
    mu: Any

    def __call__(self, w: jax.Array, d: tuple) -> jax.Array:
        return jnp.abs(d[0] @ w - d[1]) + 0.5 * self.mu * jnp.sum((w - self.centre) ** 2)


# ------------------------------------------------------------------ the table


class Row(NamedTuple):
    """A theorem: what is measured at update ``t`` and the bound there."""

    method: str
    assumption: str
    step: str
    rate: str
    instance: Callable[[jax.Array], Instance]
    solver: Callable[[Instance], Solver]
    measure: Callable[[Instance, jax.Array], jax.Array]
    bound: Callable[[Instance, Any], Any]
    steps: int
    updates: int = 1
    stochastic: bool = False


def sgd(size: Callable[[Instance], Any], **kwargs: Any) -> Callable[[Instance], Solver]:
    """Stochastic (sub)gradient descent with a constant step that depends on the instance."""
    return lambda i: ProximalSGD(Constant(size(i)), **kwargs)


def theorems() -> list[Row]:
    """The rows; a new theorem is a new row."""
    gap, distance = Instance.gap, Instance.distance
    full, flat = least_squares, functools.partial(least_squares, n=6, p=10)
    strong = functools.partial(absolute_deviations, mu=0.5, radius=2.0)
    batch = lambda i, b=4: i.L_max / b + (1 - 1 / b) * i.L  # noqa: E731
    horizon = 400
    return [
        Row("gradient descent", "convex, L-smooth", "1/L", "D0/(2sT)", flat,
            lambda i: GradientDescent(step_size=1 / i.L), gap, lambda i, t: i.D0 * i.L / (2 * t), 300),
        Row("gradient descent", "convex, L-smooth", "1/L", "L D0/(4T+2)", flat,
            lambda i: GradientDescent(step_size=1 / i.L), gap, lambda i, t: i.L * i.D0 / (4 * t + 2), 300),
        Row("gradient descent", "mu-strongly convex", "1/L", "D_T <= (1-s mu)^T D0", full,
            lambda i: GradientDescent(step_size=1 / i.L), distance,
            lambda i, t: (1 - i.mu / i.L) ** t * i.D0, 100),
        Row("gradient descent", "Polyak-Łojasiewicz", "1/L", "(1-s mu)^T (f0-f*)", flat,
            lambda i: GradientDescent(step_size=1 / i.L), gap,
            lambda i, t: (1 - i.mu / i.L) ** t * i.gap(i.x0), 100),
        Row("SGD, average", "convex terms", "1/(4Lmax)", "D0/(sT) + 2s sigma*", full,
            sgd(lambda i: 1 / (4 * i.L_max), average=True), gap,
            lambda i, t: 4 * i.L_max * i.D0 / t + i.sigma / (2 * i.L_max), 50, 20, True),
        Row("SGD", "mu-strongly convex", "1/(2Lmax)", "(1-s mu)^T D0 + 2s sigma*/mu", full,
            sgd(lambda i: 1 / (2 * i.L_max)), distance,
            lambda i, t: (1 - i.mu / (2 * i.L_max)) ** t * i.D0 + i.sigma / (i.L_max * i.mu), 50, 20, True),
        Row("SGD", "Polyak-Łojasiewicz", "mu/(L Lmax)", "(1-s mu)^T (f0-f*) + s L Lmax Delta*/mu", full,
            sgd(lambda i: i.mu / (i.L * i.L_max)), gap,
            lambda i, t: (1 - i.mu**2 / (i.L * i.L_max)) ** t * i.gap(i.x0) + i.delta, 50, 20, True),
        Row("minibatch SGD, b = 4", "mu-strongly convex", "1/(2L_b)", "(1-s mu)^T D0 + 2s sigma_b/mu", full,
            sgd(lambda i: 1 / (2 * batch(i)), batch_size=4), distance,
            lambda i, t: (1 - i.mu / (2 * batch(i))) ** t * i.D0 + i.sigma / 4 / (batch(i) * i.mu),
            50, 5, True),
        Row("momentum, last iterate", "convex terms", "1/(4Lmax)", "D0/(sT) + 2s sigma*", full,
            lambda i: StochasticMomentum(1 / (4 * i.L_max)), gap,
            lambda i, t: 4 * i.L_max * i.D0 / t + i.sigma / (2 * i.L_max), 50, 20, True),
        Row("stochastic subgradient, average", "convex, G-Lipschitz", "R/(G sqrt T)", "D0/(2sT) + s G^2/2",
            absolute_deviations, sgd(lambda i: jnp.sqrt(i.D0) / (i.G * np.sqrt(horizon)), average=True), gap,
            lambda i, t: i.G * jnp.sqrt(i.D0) / 2 * (np.sqrt(horizon) / t + 1 / np.sqrt(horizon)),
            20, 21, True),
        Row("projected stochastic subgradient, t-weighted average", "mu-strongly convex, G-Lipschitz",
            "2/(mu(t+1))", "2G^2/(mu(T+1))", strong,
            lambda i: ProximalSGD(StronglyConvex(i.mu), average=True), gap,
            lambda i, t: 2 * i.G**2 / (i.mu * (t + 1)), 50, 21, True),
        Row("proximal gradient", "convex, L-smooth", "1/L", "L D0/(2T)", lasso,
            lambda i: ProximalGradient(step_size=1 / i.L), gap, lambda i, t: i.L * i.D0 / (2 * t), 100),
        Row("proximal gradient", "mu-strongly convex", "1/L", "D_T <= (1-mu/L)^T D0", lasso,
            lambda i: ProximalGradient(step_size=1 / i.L), distance,
            lambda i, t: (1 - i.mu / i.L) ** t * i.D0, 100),
        Row("stochastic proximal gradient", "mu-strongly convex", "1/(2Lmax)",
            "(1-s mu)^T D0 + 2s sigma_F/mu", lasso, sgd(lambda i: 1 / (2 * i.L_max)), distance,
            lambda i, t: (1 - i.mu / (2 * i.L_max)) ** t * i.D0 + i.sigma / (i.L_max * i.mu), 50, 20, True),
        Row("FISTA", "convex, L-smooth", "1/L", "2 L D0/(T+1)^2", lasso,
            lambda i: FISTA(step_size=1 / i.L), gap, lambda i, t: 2 * i.L * i.D0 / (t + 1) ** 2, 100),
    ]  # fmt: skip


def worst_ratio(row: Row, instances: Instance) -> tuple[float, float]:
    """The largest measured/bound over updates and instances, and its Monte-Carlo standard error there."""
    times = row.updates * jnp.arange(1, row.steps + 1)

    def of(i: Instance, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(jax.random.key(seed + 1), SEEDS if row.stochastic else 1)
        xs = jax.vmap(lambda key: trajectory(row.solver(i), i, row.steps, key)[1:])(keys)
        values = jax.vmap(jax.vmap(functools.partial(row.measure, i)))(xs)
        bound = row.bound(i, times)
        # Rounding of an objective of order one is no violation where the bound has decayed below it.
        floor = 1e-13 * (1 + jnp.abs(i.problem.objective(i.x0)))
        return (values.mean(0) - floor) / bound, values.std(0) / np.sqrt(len(keys)) / bound

    ratios, errors = jax.jit(jax.vmap(of))(instances, jnp.arange(INSTANCES))
    at = np.unravel_index(np.argmax(ratios), ratios.shape)
    return float(ratios[at]), float(errors[at])


def drawn(maker: Callable[[jax.Array], Instance]) -> Instance:
    """Random instances, stacked."""
    return jax.jit(jax.vmap(maker))(jnp.arange(INSTANCES))


@claim(
    SYSTEM,
    "every theorem's bound holds along the run, on 20 random instances that meet its assumptions",
    fast=False,
)
def bounds() -> Evidence:
    rows, drawn_once = [], functools.cache(drawn)
    for row in theorems():
        ratio, error = worst_ratio(row, drawn_once(row.instance))
        rows.append(
            {
                "method": row.method,
                "assumption": row.assumption,
                "step": row.step,
                "bound": row.rate,
                "largest measured/bound": ratio,
                "holds": 0 < ratio <= 1 + 4 * error,
            }
        )
    note = f"{INSTANCES} instances; expectations over {SEEDS} seeds, allowed four standard errors"
    return Evidence.table(rows, note=note)


@claim(SYSTEM, "gradient descent with step 1/L attains its worst case L R^2/(4N + 2) exactly, to 1e-12")
def worst_case() -> Evidence:
    rows = []
    for N in (10, 100):
        s = 1 / (2 * N + 1)
        huber = lambda x, s=s: jnp.where(jnp.abs(x) <= s, x**2 / 2, s * jnp.abs(x) - s**2 / 2)  # noqa: E731
        problem, solver = fr.Composite(huber), GradientDescent(step_size=1.0)
        solution = fr.solve(problem, jnp.ones(()), solver, tol=0.0, max_steps=N)
        measured = float(huber(solution.x))
        rows.append({"N": N, "claimed": 1 / (4 * N + 2), "measured": measured})
    error = max(abs(r["measured"] / r["claimed"] - 1) for r in rows)
    return Evidence.at_most(
        1e-12, error, note="relative error on the Huber function that attains it", rows=rows
    )


@claim(SYSTEM, "sublinear rates, as slopes over two decades")
def rates() -> Evidence:
    horizons = np.array([10, 32, 100, 316, 1000])

    def final_gaps(
        instance: Instance, solver: Callable[[Any], Solver], steps: np.ndarray, seeds: int, best: bool
    ) -> list[float]:
        """The mean gap after each number of steps, of a solver that may depend on the horizon."""

        @jax.jit
        def along(horizon: Any) -> jax.Array:
            def of(key: jax.Array) -> jax.Array:
                xs = trajectory(solver(horizon), instance, int(steps[-1]), key)
                return jax.lax.map(instance.gap, xs)

            return jax.vmap(of)(jax.random.split(jax.random.key(0), seeds)).mean(0)

        gaps = [along(float(T))[: n + 1] for T, n in zip(horizons, steps, strict=True)]
        return [float(jnp.min(v) if best else v[-1]) for v in gaps]

    lad = absolute_deviations(jnp.asarray(3))
    strong = absolute_deviations(jnp.asarray(3), mu=0.5, radius=2.0)
    # A quadratic whose spectrum reaches zero: convex, not strongly, so that the rate cannot be linear.
    spectrum = jnp.linspace(0.0, 1.0, 2000) ** 4
    flat = Instance(
        fr.Composite(lambda x: 0.5 * jnp.sum(spectrum * x**2)), jnp.ones(2000), jnp.zeros(2000), 1.0, 1.0, 0.0
    )
    R, passes = jnp.sqrt(lad.D0), np.maximum(1, horizons // 21)
    cases = [
        ("gradient descent, convex", -1.0,
         final_gaps(flat, lambda T: GradientDescent(step_size=1.0), horizons, 1, False)),
        ("FISTA, convex", -2.0, final_gaps(flat, lambda T: FISTA(step_size=1.0), horizons, 1, False)),
        ("subgradient, best iterate", -0.5,
         final_gaps(lad, lambda T: GradientDescent(step_size=R / (lad.G * jnp.sqrt(T))), horizons, 1, True)),
        ("projected stochastic subgradient, t-weighted average", -1.0,
         final_gaps(strong, lambda T: ProximalSGD(StronglyConvex(0.5), average=True), passes, SEEDS, False)),
    ]  # fmt: skip
    rows = []
    for method, claimed, gaps in cases:
        slope = float(np.polyfit(np.log(horizons), np.log(gaps), 1)[0])
        # Upper bounds: a method may be faster. A tenth is what constants that settle do to a slope.
        rows.append(
            {"method": method, "slope at most": claimed, "measured": slope, "holds": slope <= claimed + 0.1}
        )
    return Evidence.table(rows, note="log-log slope of the gap against the number of updates, 10 to 1000")


@claim(
    SYSTEM,
    "the noise floor of constant-step SGD is proportional to the step: slope 1 over a decade and more",
    fast=False,
)
def noise_floor() -> Evidence:
    instance = least_squares(jnp.asarray(0), n=200, p=5)
    sizes = np.asarray(instance.L_max) ** -1 * np.array([0.01, 0.02, 0.05, 0.1, 0.2])

    @jax.jit
    def floor(size: jax.Array, passes: jax.Array) -> jax.Array:
        """The mean squared distance over one relaxation time, after three from the solution on."""
        solver = ProximalSGD(Constant(size))

        def of(key: jax.Array) -> jax.Array:
            def a_pass(t: jax.Array, carry: tuple) -> tuple:
                state, total = carry
                state = solver.step(instance.problem, state, key=jax.random.fold_in(key, t))
                return state, total + jnp.where(t >= 3 * passes, instance.distance(state.x), 0.0)

            start = solver.init(instance.problem, instance.x_star, key=key)
            return jax.lax.fori_loop(0, 4 * passes, a_pass, (start, jnp.zeros(())))[1] / passes

        return jnp.mean(jax.vmap(of)(jax.random.split(jax.random.key(0), SEEDS)))

    # An iterate relaxes in 1/(s mu) updates, 200 of them a pass; its squared distance in half of that.
    passes = np.ceil(1 / (sizes * float(instance.mu) * 200)).astype(int)
    floors = [float(floor(s, n)) for s, n in zip(sizes, passes, strict=True)]
    slope = float(np.polyfit(np.log(sizes), np.log(floors), 1)[0])
    rows = [{"step size": float(s), "E D": f} for s, f in zip(sizes, floors, strict=True)]
    return Evidence.equal(1.0, slope, tolerance=0.1, note="steps from 0.01 to 0.2 / Lmax", rows=rows)


@claim(SYSTEM, "the expected smoothness of a minibatch bounds its gradients' noise, by full enumeration")
def expected_smoothness() -> Evidence:
    n, b = 6, 3
    instance = least_squares(jnp.asarray(1), n=n, p=3)
    X, y = (np.asarray(v) for v in (instance.problem.f.X, instance.problem.f.y))  # pyright: ignore
    L, L_max, x_star = float(instance.L), float(instance.L_max), np.asarray(instance.x_star)
    terms = lambda x: X * (X @ x - y)[:, None]  # noqa: E731
    draws = {
        "without replacement": (
            list(itertools.combinations(range(n), b)),
            n * (b - 1) / (b * (n - 1)) * L + (n - b) / (b * (n - 1)) * L_max,
        ),
        "with replacement": (list(itertools.product(range(n), repeat=b)), (1 - 1 / b) * L + L_max / b),
    }
    points = np.random.default_rng(0).normal(size=(200, 3)) * 3
    rows = []
    for name, (batches, L_b) in draws.items():
        ratios = []
        for x in points:
            difference = terms(x) - terms(x_star)
            noise = np.mean([np.sum(difference[list(B)].mean(0) ** 2) for B in batches])
            ratios.append(noise / (2 * L_b * float(instance.gap(jnp.asarray(x)))))
        rows.append(
            {"sampling": name, "L_b": L_b, "largest ratio": float(max(ratios)), "holds": max(ratios) <= 1}
        )
    return Evidence.table(rows, note="E|grad f_B(x) - grad f_B(x*)|^2 over 2 L_b (f(x) - f*), 200 points")


@claim(SYSTEM, "the bound of gradient descent fails beyond the admissible step, at 2.1/L")
def too_long_a_step() -> Evidence:
    row = theorems()[0]._replace(solver=lambda i: GradientDescent(step_size=2.1 / i.L))
    ratio, _ = worst_ratio(row, drawn(row.instance))
    ratio = np.inf if np.isnan(ratio) else ratio
    return Evidence.at_least(1.0, ratio, note="measured/bound; the test of the bounds can fail")
