"""Tiny bilevel problems with quadratics at both levels, whose solutions are closed forms."""

import itertools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.box import Box
from frechet.problems.bilevel import Bilevel, BilevelPoint, FiniteSumBilevel
from frechet.workbench.checking.canonical import Case, Parameters, UserFunction, canonical


class Lower(UserFunction):
    r"""$\tfrac12 y^\top A y - y^\top(Bx + b)$, of the raveled ``x`` and ``y``."""

    A: Array
    B: Array
    b: Array

    def evaluate(self, x: PyTree[Array], y: PyTree[Array]) -> Scalar:
        u, v = ravel_pytree(x)[0], ravel_pytree(y)[0]
        return 0.5 * v @ self.A @ v - v @ (self.B @ u + self.b)


class Upper(UserFunction):
    r"""$\tfrac12\|y - t\|^2 + \tfrac12\rho\|x\|^2$."""

    t: Array
    rho: Scalar

    def evaluate(self, x: PyTree[Array], y: PyTree[Array]) -> Scalar:
        u, d = ravel_pytree(x)[0], ravel_pytree(y)[0] - self.t
        return 0.5 * d @ d + 0.5 * self.rho * u @ u


class LowerTerm(Lower):
    """The same with one datum added to the linear term."""

    def evaluate(self, x: PyTree[Array], y: PyTree[Array], datum: Array) -> Scalar:  # pyright: ignore
        return super().evaluate(x, y) - ravel_pytree(y)[0] @ datum


class UpperTerm(Upper):
    """The same with one datum added to the target."""

    def evaluate(self, x: PyTree[Array], y: PyTree[Array], datum: Array) -> Scalar:  # pyright: ignore
        u, d = ravel_pytree(x)[0], ravel_pytree(y)[0] - self.t - datum
        return 0.5 * d @ d + 0.5 * self.rho * u @ u


def _parameters(p: int, q: int) -> Parameters:
    rng = np.random.default_rng(10 * p + q)
    Q = np.linalg.qr(rng.normal(size=(q, q)))[0]
    return {
        "A": Q @ np.diag(np.linspace(0.7, 1.4, q)) @ Q.T,
        "B": rng.normal(size=(q, p)) / (1 + np.sqrt(max(p, q))),
        "b": np.linspace(-0.6, 0.8, q),
        "t": np.linspace(1.0, -0.5, q),
        "rho": np.array(0.5),
    }


_NO_BOUNDS = {"lower": -np.inf, "upper": np.inf, "y_lower": -np.inf, "y_upper": np.inf}


def _solution(t: Parameters) -> tuple[np.ndarray, np.ndarray]:
    r"""``(x, y)``, by trying which bounds of either level are active.

    The lower solution is $A^{-1}(Bx + b)$ on the free entries, with $A$ symmetrised as gradients do.
    """
    (q, p), A = t["B"].shape, (t["A"] + t["A"].T) / 2
    bounds = {k: t.get(k, end) for k, end in _NO_BOUNDS.items()}
    places = (None, "lower", "upper") if "lower" in t else (None,)
    inner_places = (None, "y_lower", "y_upper") if "y_lower" in t else (None,)
    for at_y in itertools.product(inner_places, repeat=q):
        free = np.array([k is None for k in at_y])
        fixed = np.array([0.0 if k is None else bounds[k] for k in at_y])
        J, c = np.zeros((q, p)), fixed.copy()
        J[free] = np.linalg.solve(A[np.ix_(free, free)], t["B"][free])
        c[free] = np.linalg.solve(A[np.ix_(free, free)], t["b"][free] - A[np.ix_(free, ~free)] @ fixed[~free])
        H, right = J.T @ J + t["rho"] * np.eye(p), J.T @ (t["t"] - c)
        for at_x in itertools.product(places, repeat=p):
            moving = np.array([k is None for k in at_x])
            x = np.array([0.0 if k is None else bounds[k] for k in at_x])
            x[moving] = np.linalg.solve(
                H[np.ix_(moving, moving)], right[moving] - H[np.ix_(moving, ~moving)] @ x[~moving]
            )
            y = J @ x + c
            lower, upper = A @ y - t["B"] @ x - t["b"], H @ x - right
            if np.allclose(x, np.clip(x - upper, bounds["lower"], bounds["upper"])) and np.allclose(
                y, np.clip(y - lower, bounds["y_lower"], bounds["y_upper"])
            ):
                return x, y
    raise AssertionError("no set of active bounds fits")


def _bound(t: Parameters) -> float:
    """The inverse norm of the optimality map's Jacobian at the solution, thrice as moved data may have it."""
    x, y = _solution(t)
    A, B, rho = t["A"], t["B"], t["rho"]
    bounds = {k: t.get(k, end) for k, end in _NO_BOUNDS.items()}
    free, moving = (
        (y > bounds["y_lower"]) & (y < bounds["y_upper"]),
        (x > bounds["lower"]) & (x < bounds["upper"]),
    )
    J = np.zeros_like(B)
    J[free] = np.linalg.solve(A[np.ix_(free, free)], B[free])
    # d(hypergradient) = rho dx + J' dy, d(lower) = A dy - B dx; at a bound both are the identity.
    K = np.block([[rho * np.eye(B.shape[1]), J.T], [-B, A]])
    at_bound = ~np.concatenate([moving, free])
    K[at_bound] = np.eye(len(K))[at_bound]
    return 3 / float(np.linalg.svd(K, compute_uv=False)[-1])


class _Form:
    """A role with the forms of both levels."""

    def __init__(self, role: str, p: int, q: int):
        self.role, self.p, self.q = role, p, q

    def of(self, x: np.ndarray, y: np.ndarray) -> BilevelPoint:
        if self.role != "tree":
            return BilevelPoint(x, y)
        return BilevelPoint({"a": x[0], "b": x[1:]}, (y[:2].reshape(1, 2), [y[2:]]))


_FORMS = (_Form("array", 2, 3), _Form("tree", 3, 4), _Form("one", 1, 1), _Form("many", 6, 20))


def _case(form: _Form, name: str, make: Any, more: Parameters | None = None) -> Case:
    t = _parameters(form.p, form.q) | (more or {})
    return Case(
        f"bilevel {name}, {form.role}",
        make,
        t,
        form.of(np.full(form.p, 0.2), np.full(form.q, 0.1)),
        lambda t: form.of(*_solution(t)),
        _bound(t),
        form.role,
    )


@canonical
def lower_box() -> Iterable[Case]:
    """The lower variable in a box, some of whose bounds are active at the solution."""
    yield _case(
        _FORMS[0],
        "quadratics, lower box",
        lambda t: Bilevel(
            Upper(t["t"], t["rho"]), Lower(t["A"], t["B"], t["b"]), inner_g=Box(t["y_lower"], t["y_upper"])
        ),
        {"y_lower": np.array(-0.4), "y_upper": np.array(0.9)},
    )


@canonical
def upper_box() -> Iterable[Case]:
    """The upper variable in a box, some of whose bounds are active at the solution; pytrees."""
    yield _case(
        _FORMS[1],
        "quadratics, upper box",
        lambda t: Bilevel(
            Upper(t["t"], t["rho"]), Lower(t["A"], t["B"], t["b"]), outer_g=Box(t["lower"], t["upper"])
        ),
        {"lower": np.array(-0.05), "upper": np.array(0.3)},
    )


@canonical
def quadratics() -> Iterable[Case]:
    """Both levels smooth."""
    for form in _FORMS:
        yield _case(
            form, "quadratics", lambda t: Bilevel(Upper(t["t"], t["rho"]), Lower(t["A"], t["B"], t["b"]))
        )


@canonical
def quadratic_sums() -> Iterable[Case]:
    """Finite sums at both levels; the data have mean zero, so the solution is the same."""
    for form in _FORMS:
        rng = np.random.default_rng(form.q)
        a, b = (0.3 * rng.normal(size=(n, form.q)) for n in (6, 8))
        make = lambda t: FiniteSumBilevel(  # noqa: E731
            UpperTerm(t["t"], t["rho"]),
            LowerTerm(t["A"], t["B"], t["b"]),
            t["outer_data"] - jnp.mean(t["outer_data"], 0),
            t["inner_data"] - jnp.mean(t["inner_data"], 0),
        )
        yield _case(form, "sums", make, {"outer_data": a, "inner_data": b})
