"""Minimisation: smooth functions, sums, least squares, and proximal maps of the rest."""

import itertools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.box import Box
from frechet.convex.l1 import L1
from frechet.convex.simplex import Simplex
from frechet.convex.squared_l2 import SquaredL2
from frechet.core.problem import Problem
from frechet.losses.squared import Squared
from frechet.problems.composite import Composite
from frechet.problems.finite_sum import FiniteSum
from frechet.problems.least_squares import LeastSquares
from frechet.workbench.checking.canonical import Case, Parameters, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import Curve, Quadratic, solution_of_curve
from frechet.workbench.checking.forms import (
    ARRAY,
    MANY,
    ONE,
    TREE,
    Form,
    cases,
    design,
    forward_backward_bound,
    matrix,
)


class LogisticTerm(UserFunction):
    r"""$\log(1+e^{-\langle a, x\rangle}) + \tfrac12\rho\|x\|^2$ of one row $a$ (label times features)."""

    ridge: Scalar

    def evaluate(self, x: PyTree[Array], row: Array) -> Scalar:
        return _logistic_term(x, row, self.ridge)


class LogisticTerms(UserFunction):
    """The mean of `LogisticTerm` over rows, which offers samples and knows how smooth its terms are."""

    rows: Array
    ridge: Scalar

    def evaluate(self, x: PyTree[Array]) -> Scalar:
        return jnp.mean(jax.vmap(lambda row: _logistic_term(x, row, self.ridge))(self.rows))

    @property
    def count(self) -> int:
        """How many terms there are."""
        return self.rows.shape[0]

    def sampled(self, indices: Array) -> "LogisticTerms":
        """The mean over the terms at ``indices``."""
        return LogisticTerms(self.rows[indices], self.ridge, tag=self.tag)

    def lipschitz_terms(self) -> Array:
        """Lipschitz constants of the terms' gradients."""
        return jnp.sum(self.rows**2, axis=1) / 4 + self.ridge

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"sample": "gradients of single terms"}


def _logistic_term(x: PyTree[Array], row: Array, ridge: Scalar) -> Scalar:
    w = ravel_pytree(x)[0]
    return jnp.logaddexp(0, -row @ w) + 0.5 * ridge * w @ w


@canonical
def lasso() -> Iterable[Case]:
    r"""$\frac1{2n}\|Xw-y\|^2 + \lambda\|w\|_1$, solved by enumerating the signs of the solution."""
    yield _lasso_case("array", n=8, p=4)


@canonical
def box() -> Iterable[Case]:
    """A quadratic over a box, solved by enumerating which bounds are active; x is a pytree."""
    form = TREE
    yield Case(
        "quadratic over a box, tree",
        lambda t: Composite(Quadratic(t["H"], t["c"]), Box(t["lower"], t["upper"])),
        {
            "H": matrix(5, seed=3),
            "c": np.array([0.9, -1.0, 0.2, 1.2, 0.1]),
            "lower": np.array(-0.5),
            "upper": np.array(0.6),
        },
        form.of(np.array([-0.4, 0.3, -0.3, 0.0, 0.4])),
        lambda t: form.of(_box(t)),
        forward_backward_bound(0.7, 1.8),
        form.role,
    )


@canonical
def finite_sum() -> Iterable[Case]:
    """A smooth `FiniteSum`, solved by Newton's method in NumPy."""
    yield _logistic_case(MANY, "finite sum", lambda t: FiniteSum(LogisticTerm(t["ridge"]), t["rows"]))


@canonical
def logistic_terms() -> Iterable[Case]:
    """The same as a `Composite` whose terms are of known smoothness."""
    yield _logistic_terms(ARRAY)
    yield _logistic_terms(TREE)


@canonical
def curve() -> Iterable[Case]:
    r"""$\tfrac12\|A\varphi(x) - b\|^2$, whose only stationary point is $\varphi^{-1}(A^{-1}b)$."""
    yield from cases(
        "nonlinear least squares",
        lambda t: LeastSquares(Curve(t["A"], t["b"])),
        lambda p: {"A": matrix(p, seed=20 + p), "b": np.linspace(-1.0, 1.5, p)},
        solution_of_curve,
        # the gradient is (D phi)' A' times the residual, both factors at least their least singular value
        2 / 0.7**2,
    )


@canonical
def logistic_terms_of_other_sizes() -> Iterable[Case]:
    """The same with one unknown and with many."""
    yield _logistic_terms(ONE)
    yield _logistic_terms(MANY)


def _logistic_terms(form: Form) -> Case:
    return _logistic_case(form, "logistic terms", lambda t: Composite(LogisticTerms(t["rows"], t["ridge"])))


def _logistic_case(form: Form, name: str, make: Callable[[Parameters], Problem]) -> Case:
    p = form.size
    return Case(
        f"{name}, {form.role}",
        make,
        {"rows": design(max(8, p + 10), p, seed=10 + p), "ridge": np.array(0.5)},
        form.of(np.linspace(0.7, -0.7, p)),
        lambda t: form.of(_logistic(t)),
        1 / 0.5,
        form.role,
    )


@canonical
def ridge() -> Iterable[Case]:
    r"""$\frac1{2n}\|Xw-y\|^2 + \tfrac\rho2\|w\|^2$ with 30 unknowns, in closed form."""
    X = design(40, 30, seed=5)
    yield Case(
        "ridge, 30 unknowns",
        lambda t: Composite(Squared(t["X"], t["y"]), SquaredL2(t["weight"])),
        {"X": X, "y": X @ np.cos(np.arange(30.0)), "weight": np.array(0.3)},
        np.zeros(30),
        lambda t: np.linalg.solve(t["X"].T @ t["X"] / 40 + t["weight"] * np.eye(30), t["X"].T @ t["y"] / 40),
        forward_backward_bound(0.66, 2.26),
        "many",
    )


@canonical
def lasso_of_one() -> Iterable[Case]:
    """The lasso with one unknown."""
    yield _lasso_case("one", n=4, p=1)


def _lasso_case(role: str, n: int, p: int) -> Case:
    X = design(n, p, seed=p)
    truth = np.array([1.0, -0.8, 0.0, 0.5])[:p]
    return Case(
        f"lasso, {role}",
        lambda t: Composite(Squared(t["X"], t["y"]), L1(t["weight"])),
        {"X": X, "y": X @ truth + 0.1 * np.cos(np.arange(n)), "weight": np.array(0.1)},
        np.full(p, 0.2),
        _lasso,
        forward_backward_bound(0.36, 1.96),
        role,
    )


@canonical
def simplex() -> Iterable[Case]:
    """A quadratic over a simplex, some entries of its solution zero."""
    yield from cases(
        "quadratic over a simplex",
        lambda t: Composite(Quadratic(t["H"], t["c"]), Simplex(t["scale"])),
        lambda p: {"H": matrix(p, seed=90 + p), "c": np.linspace(1.5, -1.0, p), "scale": np.array(1.2)},
        _simplex,
        forward_backward_bound(0.7, 1.8),
        lambda p: np.linspace(0.1, 0.9, p),
    )


def _lasso(t: Parameters) -> np.ndarray:
    n, p = t["X"].shape
    H, c = t["X"].T @ t["X"] / n, t["X"].T @ t["y"] / n
    for signs in itertools.product((-1.0, 0.0, 1.0), repeat=p):
        s = np.array(signs)
        on = s != 0
        w = np.zeros(p)
        w[on] = np.linalg.solve(H[np.ix_(on, on)], c[on] - t["weight"] * s[on])
        slope = c - H @ w
        if np.all(w[on] * s[on] > 0) and np.all(np.abs(slope[~on]) <= t["weight"]):
            return w
    raise AssertionError("the lasso has a solution for some signs")


def _box(t: Parameters) -> np.ndarray:
    H, c, lower, upper = t["H"], t["c"], t["lower"], t["upper"]
    for active in itertools.product((-1, 0, 1), repeat=len(c)):
        a = np.array(active)
        x = np.where(a < 0, lower, np.where(a > 0, upper, c))
        free = a == 0
        x[free] = c[free] - np.linalg.solve(H[np.ix_(free, free)], H[np.ix_(free, ~free)] @ (x - c)[~free])
        gradient = H @ (x - c)
        inside = np.all((x[free] >= lower) & (x[free] <= upper))
        if inside and np.all(gradient[a < 0] >= 0) and np.all(gradient[a > 0] <= 0):
            return x
    raise AssertionError("the box has a minimiser for some active set")


def _logistic(t: Parameters) -> np.ndarray:
    A, rho = t["rows"], t["ridge"]
    w = np.zeros(A.shape[1])
    for _ in range(50):
        s = 1 / (1 + np.exp(A @ w))
        gradient = -A.T @ s / len(A) + rho * w
        H = (A.T * (s * (1 - s))) @ A / len(A) + rho * np.eye(len(w))
        w = w - np.linalg.solve(H, gradient)
    return w


def _simplex(t: Parameters) -> np.ndarray:
    """The solution by projected gradients, then exactly on the face they end on."""
    H, c, p = (t["H"] + t["H"].T) / 2, t["c"], len(t["c"])
    x = np.full(p, t["scale"] / p)
    for _ in range(500):
        y = x - 0.5 * H @ (x - c)
        ordered = np.sort(y)[::-1]
        thresholds = (np.cumsum(ordered) - t["scale"]) / np.arange(1, p + 1)
        x = np.maximum(y - thresholds[np.sum(ordered > thresholds) - 1], 0)
    on = x > 0
    k = on.sum()
    system = np.block([[H[np.ix_(on, on)], np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    x[on] = np.linalg.solve(system, np.append((H @ c)[on], t["scale"]))[:k]
    return x
