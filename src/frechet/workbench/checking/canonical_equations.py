"""Equations and fixed points."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.problems.equations import FixedPoint, Root
from frechet.workbench.checking.canonical import Case, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import Curve, solution_of_curve
from frechet.workbench.checking.forms import FORMS, matrix


class Contraction(UserFunction):
    r"""$M x + c$ with $\|M\| < 1$, in the form of ``x``."""

    M: Array
    c: Array

    def evaluate(self, x: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(x)
        return unravel(self.M @ v + self.c)


@canonical
def root() -> Iterable[Case]:
    r"""$A\varphi(x) = b$, with the solution of `curve`."""
    for form in FORMS:
        p = form.size
        yield Case(
            f"root, {form.role}",
            lambda t: Root(Curve(t["A"], t["b"])),
            {"A": matrix(p, seed=30 + p), "b": np.linspace(-1.0, 1.5, p)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(solution_of_curve(t)),
            1 / 0.7,
            form.role,
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
    for form in FORMS:
        p = form.size
        yield Case(
            f"bracketed root, {form.role}",
            lambda t: Root(Bent(t["c"]), bracket=(t["lower"], t["upper"])),
            {"c": np.linspace(-1.0, 1.5, p), "lower": np.array(-4.0), "upper": np.array(3.0)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(solution_of_curve({"A": np.eye(len(t["c"])), "b": t["c"]})),
            1.0,
            form.role,
        )


@canonical
def fixed_point() -> Iterable[Case]:
    r"""$x = Mx + c$ with eigenvalues of $M$ between 0.2 and 0.6."""
    for form in FORMS:
        p = form.size
        yield Case(
            f"fixed point, {form.role}",
            lambda t: FixedPoint(Contraction(t["M"], t["c"])),
            {"M": (matrix(p, seed=40 + p) - 0.2 * np.eye(p)) * 0.375, "c": np.linspace(-0.5, 0.8, p)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(np.linalg.solve(np.eye(len(t["c"])) - t["M"], t["c"])),
            1 / 0.4,
            form.role,
        )
