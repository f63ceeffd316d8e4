"""Forms of the unknown, and matrices of known spectrum, that canonical problems are made of."""

import math
from typing import Any, ClassVar

import numpy as np
from jaxtyping import PyTree


class Form:
    """A role with a start and the way from a NumPy vector to it."""

    TREE: ClassVar[Any] = {"a": 0.0, "b": (np.zeros(2), [np.zeros((1, 2))])}

    def __init__(self, role: str, size: int):
        self.role, self.size = role, size

    def of(self, v: np.ndarray) -> PyTree[np.ndarray]:
        if self.role != "tree":
            return v
        return {"a": v[0], "b": (v[1:3], [v[3:5].reshape(1, 2)])}


ARRAY, TREE, ONE = Form("array", 4), Form("tree", 5), Form("one", 1)
MANY = Form("many", 30)
FORMS = (ARRAY, TREE, ONE, MANY)


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
