"""What a call costs beyond the arithmetic: repeated solves, fresh lambdas, gradients, imports.

Run: ``python benchmarks/overhead.py``. Prints each figure beside its bar.
"""

import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved, report

import frechet as fr
from frechet.core import lift
from frechet.solvers.proximal.fista import FISTA

jax.config.update("jax_enable_x64", True)


def repeated() -> None:
    """`fr.solve` called again on a 3-variable problem."""
    A, b, x0, solver = jnp.eye(3) + 1.0, jnp.ones(3), jnp.zeros(3), FISTA()
    closure = fr.Composite(lambda x: jnp.sum((A @ x - b) ** 2))
    module = fr.Composite(fr.losses.Squared(A, b), fr.convex.L1(0.1))
    compiled = jax.jit(lambda p, x0: fr.solve(p, x0, solver, tol=1e-3).x)
    times = interleaved(
        {
            "one lambda": lambda: fr.solve(closure, x0, solver, tol=1e-3).x,
            "a loss and a penalty": lambda: fr.solve(module, x0, solver, tol=1e-3).x,
            "a new problem each time": lambda: (
                fr.solve(fr.Composite(fr.losses.Squared(A, b), fr.convex.L1(0.1)), x0, solver, tol=1e-3).x
            ),
            "inside jit": lambda: compiled(module, x0),
        },
        inner=100,
    )
    for name, seconds in times.items():
        report(f"again on 3 variables, {name}, microseconds", seconds * 1e6, 300)


def fresh() -> None:
    """The same objective as a fresh lambda over fresh arrays."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: compiled.append(event) if "backend_compile" in event else None
    )
    rng = np.random.default_rng(0)
    draws = [jnp.asarray(rng.normal(size=(20, 3))) for _ in range(51)]

    def solve(X: jax.Array) -> jax.Array:
        loss = lambda w: jnp.mean(jnp.logaddexp(0.0, X @ w)) + 0.1 * w @ w  # noqa: E731
        return fr.solve(fr.Composite(loss), jnp.zeros(3), FISTA(), tol=1e-3).x

    jax.block_until_ready(solve(draws[0]))
    compiled.clear()
    traces, times = lift.traces(), []
    for X in draws[1:]:
        start = time.perf_counter()
        jax.block_until_ready(solve(X))
        times.append(time.perf_counter() - start)
    report("fresh lambda over fresh arrays, compilations", len(compiled), 0)
    report("fresh lambda over fresh arrays, traces a call", (lift.traces() - traces) / 50, 1)
    print(f"        fresh lambda over fresh arrays: {statistics.median(times) * 1e3:.2f} ms a call")


def gradients() -> None:
    """Value and gradient of the solution beside the solve alone."""
    for p in (10, 100, 900):
        rng = np.random.default_rng(0)
        X = jnp.asarray(rng.normal(size=(2 * p, p)))
        y = jnp.asarray((rng.normal(size=2 * p) > 0).astype(float))
        x0, solver = jnp.zeros(p), FISTA()

        def total(lam: jax.Array, X=X, y=y, x0=x0, solver=solver) -> jax.Array:
            problem = fr.Composite(fr.losses.Logistic(X, y), fr.convex.L1(lam))
            return jnp.sum(fr.solve(problem, x0, solver, tol=1e-8).x)

        value, both = jax.jit(total), jax.jit(jax.value_and_grad(total))
        lam = jnp.asarray(0.1 / np.sqrt(p))
        times = interleaved({"solve": lambda: value(lam), "both": lambda: both(lam)}, repeats=9)  # noqa: B023
        detail = f"solve {times['solve'] * 1e3:.2f} ms, with its gradient {times['both'] * 1e3:.2f} ms"
        report(f"solve and gradient over solve, {p} variables", times["both"] / times["solve"], 2.2, detail)


def imports() -> None:
    """Seconds that frechet adds to ``import jax``, and the command line's answer."""

    def seconds(code: str) -> float:
        script = f"import time, jax; s = time.perf_counter(); {code}; print(time.perf_counter() - s)"
        runs = [
            subprocess.run([sys.executable, "-c", script], capture_output=True, text=True) for _ in range(5)
        ]
        return statistics.median(float(r.stdout) for r in runs)

    report("import frechet over import jax, seconds", seconds("import frechet"), 0.5)
    report("frechet.solve named, over import jax, seconds", seconds("import frechet; frechet.solve"), 0.5)
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "frechet.workbench.cli", "--help"], capture_output=True, check=True
        )
        runs.append(time.perf_counter() - start)
    report("frechet --help, seconds", statistics.median(runs), 0.5)


if __name__ == "__main__":
    repeated()
    fresh()
    gradients()
    imports()
