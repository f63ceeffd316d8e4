"""Newton-CG on l2-logistic regression against scikit-learn's solvers, to the same objective gap.

Breast cancer data (569 x 30, standardised), scikit-learn's default penalty C = 1 without intercept,
float64, zero start. Each side stops by its own test, at the loosest tolerance (a grid of two a
decade) that leaves a gap of at most 1e-8 in the mean loss with penalty. Every call is what a user
makes, `fr.solve` and `fit`, Python overhead included, compiled before and timed in turns.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.datasets import load_breast_cancer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from timing import first_call, interleaved, report  # noqa: E402

import frechet as fr  # noqa: E402

GAP = 1e-8
TOLERANCES = 10.0 ** -np.arange(1, 12, 0.5)
SKLEARN = ("lbfgs", "newton-cholesky", "newton-cg", "liblinear", "sag", "saga")

features, labels = load_breast_cancer(return_X_y=True)
features = np.ascontiguousarray((features - features.mean(0)) / features.std(0))
weight = 1.0 / len(labels)
x0 = jnp.zeros(features.shape[1])
loss = fr.losses.Logistic(features, labels)
newton = fr.solvers.NewtonCG()


def penalised(w: Any) -> Any:
    return loss(w) + 0.5 * weight * jnp.sum(w**2)


def ours(tol: float) -> Callable[[], Any]:
    problem = fr.Composite(penalised)
    return lambda: fr.solve(problem, x0, newton, tol=tol).x


def theirs(tol: float, solver: str) -> Callable[[], Any]:
    model = LogisticRegression(C=1.0, solver=solver, fit_intercept=False, tol=tol, max_iter=20_000)
    return lambda: model.fit(features, labels).coef_[0]


def loosest(make: Callable[[float], Callable[[], Any]], gap: Callable[[Any], float]) -> float:
    """The loosest tolerance that leaves the gap, infinite if none does."""
    return next((float(tol) for tol in TOLERANCES if gap(make(float(tol))()) <= GAP), np.inf)


def main() -> None:
    objective = jax.jit(penalised)
    solution = fr.solve(fr.Composite(penalised), x0, newton, tol=1e-13)
    best = float(objective(solution.x))
    gap = lambda w: float(objective(jnp.asarray(w))) - best  # noqa: E731
    kinds: dict[str, Callable] = {"frechet": ours}
    kinds |= {name: lambda tol, name=name: theirs(tol, name) for name in SKLEARN}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tols = {name: loosest(make, gap) for name, make in kinds.items()}
        calls = {name: kinds[name](tol) for name, tol in tols.items() if np.isfinite(tol)}
        for name, call in calls.items():
            print(f"{name}: tol {tols[name]:.1e}, gap {gap(call()):.1e}")
        fr_calls = fr.solve(fr.Composite(penalised), x0, newton, tol=tols["frechet"]).calls
        print(f"frechet: {int(fr_calls.gradient)} steps, {int(fr_calls.hvp)} Hessian products")
        quick = interleaved(calls, repeats=5)
        fastest = [name for name in sorted(quick, key=lambda n: quick[n]) if name != "frechet"][:3]
        seconds = interleaved({name: calls[name] for name in ["frechet", *fastest]}, repeats=61)
    peer = min(fastest, key=lambda name: seconds[name])
    detail = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in (quick | seconds).items())
    report(f"Newton-CG to {GAP:g}: time / {peer}", seconds["frechet"] / seconds[peer], 1.0, detail)
    print(f"first call, compile included: {first_call(lambda: ours(tols['frechet'])):.2f} s")


if __name__ == "__main__":
    main()
