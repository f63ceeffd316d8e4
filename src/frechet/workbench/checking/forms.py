"""Forms of the unknown, and matrices of known spectrum, that canonical problems are made of."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from frechet.core.problem import Problem
from frechet.workbench.checking.canonical import Case, Parameters


class Form(NamedTuple):
    """A role, how many unknowns it has and the way to it from a NumPy vector."""

    role: str
    size: int
    of: Callable[[np.ndarray], PyTree[np.ndarray]]


def _vector(v: np.ndarray) -> np.ndarray:
    return v


def _tree(v: np.ndarray) -> PyTree[np.ndarray]:
    return {"a": v[0], "b": (v[1:3], [v[3:].reshape(1, 2)])}


ARRAY, TREE = Form("array", 4, _vector), Form("tree", 5, _tree)
ONE, MANY = Form("one", 1, _vector), Form("many", 30, _vector)
FORMS = (ARRAY, TREE, ONE, MANY)


def cases(
    name: str,
    make: Callable[[Parameters], Problem],
    parameters: Callable[[int], Parameters],
    solve: Callable[[Parameters], np.ndarray],
    bound: float,
    start: Callable[[int], np.ndarray] = lambda p: np.full(p, 0.3),
) -> Iterator[Case]:
    """The problem in every form; parameters and start are given the number of unknowns."""
    for form in FORMS:
        yield Case(
            f"{name}, {form.role}",
            make,
            parameters(form.size),
            form.of(start(form.size)),
            lambda t, form=form: form.of(solve(t)),
            bound,
            form.role,
        )


def design(n: int, p: int, seed: int) -> np.ndarray:
    """A design with singular values of X / sqrt(n) between 0.6 and 1.4, rows of similar length."""
    rng = np.random.default_rng(seed)
    U, _, Vt = np.linalg.svd(rng.normal(size=(n, p)), full_matrices=False)
    return math.sqrt(n) * U @ np.diag(np.linspace(1.4, 0.6, p)) @ Vt


def matrix(p: int, seed: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues between 0.7 and 1.8."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0]
    H = Q @ np.diag(np.linspace(0.7, 1.8, p)) @ Q.T
    return (H + H.T) / 2


def forward_backward_bound(lowest: float, highest: float) -> float:
    """For strong convexity ``lowest`` and smoothness ``highest`` of f (sum the ridge into both)."""
    return 1 + (1 + highest) / lowest
