"""Claims on cleaning labels by hypergradients, the data of which no paper's is: digits with wrong labels."""

from typing import Any

import numpy as np
import optax

import frechet as fr
from frechet.solvers.bilevel.implicit_hypergradient import ImplicitHypergradient
from frechet.solvers.bilevel.inverse import ConjugateGradient
from frechet.workbench import suite
from frechet.workbench.claims import Evidence, claim
from frechet.workbench.suite.bilevel_learning import digit_parts

STEPS = 60


def peer_accuracy(problem: Any, chosen: np.ndarray, test: tuple[np.ndarray, np.ndarray]) -> float:
    """scikit-learn's, trained on some of the pictures by the same loss, as a mean over all of them."""
    from sklearn.linear_model import LogisticRegression

    X, labels, _ = (np.asarray(v) for v in problem.inner.data)
    peer = LogisticRegression(C=1 / (1e-3 * len(X)), fit_intercept=False, tol=1e-8, max_iter=3000)
    return float(peer.fit(X, labels, sample_weight=chosen).score(*test))


@claim(
    "ift-hyper",
    "800 digits, half of their labels random: with a weight each, tuned by hypergradients, the test accuracy "
    "is within a point of training on the right labels alone",
    fast=False,
)
def within_a_point_of_clean_labels() -> Evidence:
    case = suite.load("hyper-cleaning")
    problem: Any = case.problem
    (_, right), _, test = digit_parts((800, 400), seed=32)
    kept = np.asarray(problem.inner.data[1]) == right
    clean, everything = (peer_accuracy(problem, 1.0 * k, test) for k in (kept, np.ones_like(kept)))
    solver = ImplicitHypergradient(inner_steps=20, inverse=ConjugateGradient(20), outer=optax.adam(0.2))
    row = fr.run(problem, case.x0, solver, budget=fr.Budget(steps=STEPS, tol=0.0)).trace.rows[-1]
    reached, above = row["measure_test_accuracy"], row["measure_right_above_wrong"]
    rows = [
        {"training": "all labels alike", "test accuracy": everything, "holds": everything < clean - 0.1},
        {"training": "the right labels", "test accuracy": clean, "holds": clean > 0.92},
        {"training": f"weights, {STEPS} steps", "test accuracy": reached, "holds": reached >= clean - 0.01},
    ]
    note = f"a right label has more weight than a wrong one in {above:.1%} of the pairs"
    return Evidence.table(rows, note=note)
