"""User functions that canonical problems of several kinds have."""

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.workbench.checking.canonical import Parameters, UserFunction


class Quadratic(UserFunction):
    r"""$\tfrac12 (x-c)^\top H (x-c)$."""

    H: Array
    c: Array

    def evaluate(self, x: PyTree[Array]) -> Scalar:
        d = ravel_pytree(x)[0] - self.c
        return 0.5 * d @ self.H @ d


class Curve(UserFunction):
    r"""$A\varphi(x) - b$ with $\varphi(x) = x + 0.1\tanh x$ entrywise, in the form of ``x``."""

    A: Array
    b: Array

    def evaluate(self, x: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(x)
        return unravel(self.A @ (v + 0.1 * jnp.tanh(v)) - self.b)


class AffineMap(UserFunction):
    """$Mx + q$, in the form of ``x``."""

    M: Array
    q: Array

    def evaluate(self, x: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(x)
        return unravel(self.M @ v + self.q)


def solution_of_curve(t: Parameters) -> np.ndarray:
    """Where `Curve` is zero, by Newton's method in NumPy."""
    target = np.linalg.solve(t["A"], t["b"])
    x = target.copy()
    for _ in range(50):
        x = x - (x + 0.1 * np.tanh(x) - target) / (1 + 0.1 / np.cosh(x) ** 2)
    return x
