"""Equations and fixed points."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.problems.equations import FixedPoint, Root
from frechet.workbench.checking.canonical import Case, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import AffineMap, Curve, solution_of_curve
from frechet.workbench.checking.forms import cases, matrix


@canonical
def root() -> Iterable[Case]:
    r"""$A\varphi(x) = b$, with the solution of `curve`."""
    yield from cases(
        "root",
        lambda t: Root(Curve(t["A"], t["b"])),
        lambda p: {"A": matrix(p, seed=30 + p), "b": np.linspace(-1.0, 1.5, p)},
        solution_of_curve,
        1 / 0.7,
    )


class Bent(UserFunction):
    r"""$x + 0.1\tanh x - c$ entrywise, in the form of ``x``."""

    c: Array

    def evaluate(self, x: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(x)
        return unravel(v + 0.1 * jnp.tanh(v) - self.c)


@canonical
def bracketed_root() -> Iterable[Case]:
    """As many equations of one unknown as entries, with a bracket."""
    yield from cases(
        "bracketed root",
        lambda t: Root(Bent(t["c"]), bracket=(t["lower"], t["upper"])),
        lambda p: {"c": np.linspace(-1.0, 1.5, p), "lower": np.array(-4.0), "upper": np.array(3.0)},
        lambda t: solution_of_curve({"A": np.eye(len(t["c"])), "b": t["c"]}),
        1.0,
    )


@canonical
def fixed_point() -> Iterable[Case]:
    r"""$x = Mx + c$ with eigenvalues of $M$ between 0.2 and 0.6."""
    yield from cases(
        "fixed point",
        lambda t: FixedPoint(AffineMap(t["M"], t["c"])),
        lambda p: {
            "M": (matrix(p, seed=40 + p) - 0.2 * np.eye(p)) * 0.375,
            "c": np.linspace(-0.5, 0.8, p),
        },
        lambda t: np.linalg.solve(np.eye(len(t["c"])) - t["M"], t["c"]),
        1 / 0.4,
    )
