"""Frechet against the solvers of benchopt's bilevel benchmark, on two of its problems, at equal wall time.

Run: ``python benchmarks/bilevel.py [SECONDS]``; float64. The problems are the quadratics (100 and 100
unknowns, 1024 terms a level) and the cleaning of labels (digits in place of MNIST). The benchmark's solvers
are written anew here in its manner: scans over minibatches of 64 (50 of the digits) that are slices of the
data, 10 inner steps; each runs with several step sizes, the best of which counts. Ours run with their
defaults, or, where the benchmark has the method too, with its best steps. Printed are, at the upper variable
where each stopped, the length of the hypergradient and the hyperobjective, by closed form or with the lower
level solved accurately, and steps a second.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from timing import report  # noqa: E402

import frechet as fr  # noqa: E402
from frechet.core.solve import prepare  # noqa: E402
from frechet.solvers.bilevel.approximate_implicit import ApproximateImplicit  # noqa: E402
from frechet.solvers.bilevel.saba import SABA  # noqa: E402
from frechet.solvers.bilevel.soba import SOBA  # noqa: E402
from frechet.solvers.bilevel.stocbio import StocBiO  # noqa: E402
from frechet.workbench import data, suite  # noqa: E402

INNER, CHUNK, ROUNDING = 10, 64, 1e-12
Step = Callable[[Any, Any], Any]


class Oracles(NamedTuple):
    """Means over batch ``i`` of each level, of plain functions."""

    f: Callable
    g: Callable
    outer: int
    inner: int


def oracles(problem: fr.Bilevel, size: int) -> Oracles:
    """The two levels' losses over slices of so many terms, which divide theirs."""

    def sliced(part: Any) -> tuple[Callable, int]:
        count = part.count // size
        batches = jax.tree.map(lambda v: v.reshape(count, size, *v.shape[1:]), part.data)

        def mean(x: Any, y: Any, i: Any) -> Any:
            batch = jax.tree.map(lambda v: v[i], batches)
            return jnp.mean(jax.vmap(lambda d: part.loss(x, y, d))(batch))

        return mean, count

    (f, outer), (g, inner) = (sliced(part) for part in (problem.outer, problem.inner))
    return Oracles(f, g, outer, inner)


def parts(o: Oracles, x: Any, y: Any, v: Any, i: Any) -> tuple:
    """The lower gradient, and the two products of ``v`` with second derivatives."""
    slope, pull = jax.vjp(lambda x, y: jax.grad(o.g, 1)(x, y, i), x, y)
    return slope, *pull(v)


def soba(o: Oracles, r: Any, q: Any, decay: float = 0.5) -> tuple[Callable, Step]:
    def step(state: Any, key: Any) -> Any:
        x, y, v, t = state
        i, j = jax.random.randint(key, (2,), 0, jnp.array([o.inner, o.outer]))
        slope, cross, hvp = parts(o, x, y, v, i)
        fx, fy = jax.grad(o.f, (0, 1))(x, y, j)
        s = (t + 1.0) ** -decay
        return x - q * s * (cross + fx), y - r * s * slope, v - r * s * (hvp + fy), t + 1

    return lambda x, y: (x, y, jnp.zeros_like(y), 0), step


def saba(o: Oracles, r: Any, q: Any) -> tuple[Callable, Step]:
    def begin(x: Any, y: Any) -> Any:
        table = lambda n, *parts: tuple(jnp.zeros((n, *p.shape)) for p in parts)  # noqa: E731
        tables = table(o.inner, y, x, y), table(o.outer, x, y)
        return x, y, jnp.zeros_like(y), tables, jax.tree.map(lambda m: m[0], tables)

    def corrected(new: tuple, table: tuple, mean: tuple, i: Any, n: int) -> tuple:
        change = tuple(a - m[i] for a, m in zip(new, table, strict=True))
        direction = tuple(c + a for c, a in zip(change, mean, strict=True))
        table = tuple(m.at[i].set(a) for m, a in zip(table, new, strict=True))
        return direction, table, tuple(a + c / n for a, c in zip(mean, change, strict=True))

    def step(state: Any, key: Any) -> Any:
        x, y, v, (lower, upper), (low, up) = state
        i, j = jax.random.randint(key, (2,), 0, jnp.array([o.inner, o.outer]))
        (slope, cross, hvp), lower, low = corrected(parts(o, x, y, v, i), lower, low, i, o.inner)
        (fx, fy), upper, up = corrected(jax.grad(o.f, (0, 1))(x, y, j), upper, up, j, o.outer)
        x, y, v = x - q * (cross + fx), y - r * slope, v - r * (hvp + fy)
        return x, y, v, (lower, upper), (low, up)

    return begin, step


def trained(o: Oracles, x: Any, y: Any, r: Any, key: Any) -> Any:
    """Ten steps of stochastic gradients at the lower level."""
    batches = jax.random.randint(key, (INNER,), 0, o.inner)
    return jax.lax.scan(lambda y, i: (y - r * jax.grad(o.g, 1)(x, y, i), None), y, batches)[0]


def hvp(o: Oracles, x: Any, y: Any, v: Any, i: Any) -> Any:
    return jax.jvp(lambda y: jax.grad(o.g, 1)(x, y, i), (y,), (v,))[1]


def implicit(o: Oracles, r: Any, q: Any, *, warm: bool) -> tuple[Callable, Step]:
    """AmIGO where the adjoint variable is kept and improved by ten steps, else stocBiO's Neumann series."""

    def step(state: Any, key: Any) -> Any:
        x, y, v = state
        a, b, c, d = jax.random.split(key, 4)
        y = trained(o, x, y, r, a)
        fx, fy = jax.grad(o.f, (0, 1))(x, y, jax.random.randint(b, (), 0, o.outer))

        def improve(v: Any, i: Any) -> Any:
            return v - r * (hvp(o, x, y, v, i) - fy), None

        def longer(pair: Any, i: Any) -> Any:
            term = pair[0] - r * hvp(o, x, y, pair[0], i)
            return (term, pair[1] + term), None

        batches = jax.random.randint(c, (INNER,), 0, o.inner)
        if warm:
            v = jax.lax.scan(improve, v, batches)[0]
        else:
            v = r * jax.lax.scan(longer, (fy, fy), batches)[0][1]
        cross = parts(o, x, y, v, jax.random.randint(d, (), 0, o.inner))[1]
        return x - q * (fx - cross), y, v

    return lambda x, y: (x, y, jnp.zeros_like(y)), step


def f2sa(o: Oracles, r: Any, q: Any) -> tuple[Callable, Step]:
    def step(state: Any, key: Any) -> Any:
        x, y, z, weight, t = state
        a, b = (r * (t + 1.0) ** -e for e in (5 / 7, 4 / 7))
        key, inner_key = jax.random.split(key)
        bounds = jnp.array([o.inner, o.inner, o.outer])

        def track(pair: Any, which: Any) -> Any:
            y, z = pair
            i, k, j = which
            pull = jax.grad(o.f, 1)(x, y, j) + weight * jax.grad(o.g, 1)(x, y, i)
            return (y - a * pull, z - b * jax.grad(o.g, 1)(x, z, k)), None

        y, z = jax.lax.scan(track, (y, z), jax.random.randint(inner_key, (INNER, 3), 0, bounds))[0]
        i, k, j = jax.random.randint(key, (3,), 0, bounds)
        change = jax.grad(o.g, 0)(x, y, i) - jax.grad(o.g, 0)(x, z, k)
        x = x - q * (t + 1.0) ** (-4 / 7) * (jax.grad(o.f, 0)(x, y, j) + weight * change)
        return x, y, z, weight + 0.1 * (t + 1.0) ** (-1 / 7), t + 1

    return lambda x, y: (x, y, y, 1.0, 0), step


PEERS: dict[str, Callable] = {
    "SOBA": soba,
    "SABA": saba,
    "AmIGO": lambda *a: implicit(*a, warm=True),
    "stocBiO": lambda *a: implicit(*a, warm=False),
    "F2SA": f2sa,
}


def peer(make: Callable, o: Oracles, z: fr.BilevelPoint, seconds: float, steps: list) -> tuple:
    """For each pair of step sizes the point reached; and the steps a second of the last pair."""

    @jax.jit
    def chunk(state: Any, key: Any, r: Any, q: Any) -> Any:
        keys = jax.random.split(key, CHUNK)
        return jax.lax.scan(lambda s, k: (make(o, r, q)[1](s, k), None), state, keys)[0]

    reached, rate = {}, 0.0
    for r, q in steps:
        state = jax.tree.map(jnp.asarray, make(o, r, q)[0](z.upper, z.lower))
        jax.block_until_ready(chunk(state, jax.random.key(0), r, q))
        key, done, start = jax.random.key(1), 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            state = jax.block_until_ready(chunk(state, jax.random.fold_in(key, done), r, q))
            done += CHUNK
        rate = done / (time.perf_counter() - start)
        reached[r, q] = state[0]
    return reached, rate


def ours(steps: dict[str, tuple[float, float]], size: int) -> dict[str, Any]:
    """Solvers by name; those that the benchmark has too with its best steps."""
    of: Any = lambda name: {"lower_step": steps[name][0], "outer_step": steps[name][1]}  # noqa: E731
    return {
        "ApproximateImplicit": ApproximateImplicit(),
        "ApproximateImplicit, Adam": ApproximateImplicit(outer=optax.adam(0.2)),
        "SOBA": SOBA(**of("SOBA"), lower_decay=0.5, outer_decay=0.5, batch_size=size),
        "SABA": SABA(**of("SABA"), batch_size=size),
        "StocBiO": StocBiO(**of("stocBiO"), batch_size=size),
    }


Judge = Callable[[Any], tuple[float, float]]


def quadratics() -> tuple[fr.Bilevel, fr.BilevelPoint, Judge]:
    levels = data.bilevel_quadratics(1024, upper=100, lower=100)
    outer, inner = jax.tree.map(jnp.asarray, (levels.outer, levels.inner))
    made: Any = fr.FiniteSumBilevel(data.quadratic_term, data.quadratic_term, outer, inner)
    (H, h), best = levels.quadratic(), levels.hyperobjective(levels.solution())

    def judge(x: Any) -> tuple[float, float]:
        return float(np.linalg.norm(H @ x + h)), levels.hyperobjective(np.asarray(x)) - best

    return made, made.start((jnp.full(100, -2.0), jnp.zeros(100))), judge


def cleaning() -> tuple[fr.Bilevel, fr.BilevelPoint, Judge]:
    case: Any = suite.load("hyper-cleaning")
    lifted: Any = prepare(case.problem, case.x0, ApproximateImplicit())[0]
    measures = jax.jit(lambda x: lifted.measures(case.x0._replace(upper=x)))

    def judge(x: Any) -> tuple[float, float]:
        found = measures(x)
        return float(found["hypergradient"]), float(found["hyperobjective"])

    return case.problem, case.x0, judge


def compared(
    name: str, problem: fr.Bilevel, z: fr.BilevelPoint, judge: Judge, seconds: float, size: int, steps: list
) -> None:
    def judged(x: Any) -> tuple[float, float]:
        length, value = judge(x)
        return (length, value) if np.isfinite(length) else (float("inf"), float("inf"))

    o, rates, best = oracles(problem, size), {}, {}
    least = least_value = float("inf")
    length, value = judged(z.upper)
    print(f"{name}, hypergradient {length:.2e} and hyperobjective {value:9.2e} at the start")
    for label, make in PEERS.items():
        reached, rates[label] = peer(make, o, z, seconds, steps)
        marks = {pair: judged(x) for pair, x in reached.items()}
        best[label] = min(marks, key=lambda pair: marks[pair])
        length, value = marks[best[label]]
        least, least_value = min(least, length), min(least_value, value)
        at = "steps {:g}, {:g}".format(*best[label])
        print(f"  {'its ' + label:32} {length:.2e} {value:9.2e} {rates[label]:8.0f} steps/s  {at}")
    lowest = lowest_value = float("inf")
    for label, solver in ours(best, size).items():
        result = fr.run(problem, z, solver, budget=fr.Budget(seconds=seconds, tol=0.0))
        row = result.trace.rows[-1]
        rate = row["step"] / row["seconds"]
        length, value = judged(result.solution.x.upper)
        lowest, lowest_value = min(lowest, length), min(lowest_value, value)
        same = {"StocBiO": "stocBiO"}.get(label, label)
        ratio = f"  {rate / rates[same]:.2f} of its rate" if same in rates else ""
        print(f"  {label:32} {length:.2e} {value:9.2e} {rate:8.0f} steps/s{ratio}")
    ratio, values = (
        max(a, ROUNDING) / max(b, ROUNDING) for a, b in ((lowest, least), (lowest_value, least_value))
    )
    report(f"{name}: our least hyperobjective over theirs", values, 1.01)
    report(f"{name}: our least hypergradient over theirs", ratio, 1.0)


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    compared("quadratics", *quadratics(), seconds, 64, [(0.1, 0.1), (0.1, 0.01), (0.3, 0.1), (0.01, 0.1)])
    compared("cleaning", *cleaning(), seconds, 50, [(0.1, 0.1), (0.3, 10.0), (1.0, 100.0), (1.0, 1000.0)])
