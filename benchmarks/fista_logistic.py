"""FISTA on l1-logistic regression against jitted JAXopt, to the same objective gap.

Breast cancer data (569 x 30, standardised), penalty 0.01 on the mean loss, float64, zero start.
Each side stops by its own test, at the loosest tolerance (a grid of four a decade) that leaves a
gap of at most 1e-8; JAXopt is given the best of its settings: line search or the constant step 1/L.
Both are compiled once and called in turns; the first calls, compilation included, are timed apart
with caches cleared.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.datasets import load_breast_cancer  # noqa: E402
from timing import first_call, interleaved, report  # noqa: E402

import frechet as fr  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jaxopt

GAP, WEIGHT = 1e-8, 0.01
TOLERANCES = 10.0 ** -np.arange(2, 10, 0.25)

X, y = load_breast_cancer(return_X_y=True)
X = jnp.asarray((X - X.mean(0)) / X.std(0))
y = jnp.asarray(2.0 * y - 1)
x0 = jnp.zeros(X.shape[1])
fista = fr.solvers.FISTA()


def problem() -> fr.Composite:
    return fr.Composite(fr.losses.Logistic(X, y), fr.convex.L1(WEIGHT))


def loss(w: Any, data: Any) -> Any:
    return jnp.mean(jax.nn.softplus(-data[1] * (data[0] @ w)))


def ours(tol: float) -> Callable[[], Any]:
    p = problem()
    return lambda: fr.solve(p, x0, fista, tol=tol).x


def theirs(tol: float, step: float) -> Callable[[], Any]:
    solver = jaxopt.ProximalGradient(
        loss, jaxopt.prox.prox_lasso, stepsize=step, maxiter=100_000, tol=tol, acceleration=True
    )
    run = jax.jit(solver.run)
    return lambda: run(x0, WEIGHT, (X, y)).params


def loosest(make: Callable[[float], Callable[[], Any]], objective: Callable, best: float) -> float:
    """The loosest tolerance from which on every tighter one leaves the gap as well."""
    kept = TOLERANCES[-1]
    for tol in TOLERANCES[::-1]:
        if float(objective(make(tol)())) - best > GAP:
            return float(kept)
        kept = tol
    return float(kept)


def main() -> None:
    p = problem()
    objective = jax.jit(lambda x: p.objective(x))
    solution = fr.solve(p, x0, fr.solvers.ProximalNewton(), tol=1e-13)
    best = float(objective(solution.x))
    inverse_L = float(1 / fr.losses.Logistic(X, y).lipschitz())
    kinds = {"frechet": ours, "jaxopt, line search": lambda t: theirs(t, 0.0)}
    kinds["jaxopt, 1/L"] = lambda t: theirs(t, inverse_L)
    tols = {name: loosest(make, objective, best) for name, make in kinds.items()}
    calls = {name: make(tols[name]) for name, make in kinds.items()}
    for name, call in calls.items():
        print(f"{name}: tol {tols[name]:.1e}, gap {float(objective(call())) - best:.1e}")
    steps = fr.solve(p, x0, fista, tol=tols["frechet"])
    print(f"frechet: {int(steps.steps)} steps, {int(steps.calls.gradient)} gradients")

    seconds = interleaved(calls, repeats=31)
    peer = min((s, name) for name, s in seconds.items() if name != "frechet")[1]
    detail = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in seconds.items())
    report(f"FISTA to {GAP:g}: time / {peer}", seconds["frechet"] / seconds[peer], 0.8, detail)

    firsts: dict[str, list[float]] = {"frechet": [], peer: []}
    for _ in range(5):
        for name in firsts:
            firsts[name].append(first_call(lambda name=name: kinds[name](tols[name])))
    first = {name: float(np.median(s)) for name, s in firsts.items()}
    detail = ", ".join(f"{name} {s:.2f} s" for name, s in first.items())
    report(f"first call, compile included / {peer}", first["frechet"] / first[peer], 1.0, detail)


if __name__ == "__main__":
    main()
