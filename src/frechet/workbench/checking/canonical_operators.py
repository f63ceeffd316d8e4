"""Tiny strongly monotone inclusions, saddle points and games, all affine, solved face by face in NumPy."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.box import Box
from frechet.convex.per_leaf import PerLeaf
from frechet.core.problem import Problem
from frechet.problems.game import Game
from frechet.problems.inclusion import FiniteSumInclusion, Inclusion
from frechet.problems.saddle import FiniteSumSaddle, Saddle, SaddlePoint
from frechet.workbench.checking.canonical import ROLES, Case, Parameters, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import AffineMap
from frechet.workbench.checking.forms import FORMS, Form

# ------------------------------------------------------------------ forms of z


_PAIRS = (
    Form("array", 4, lambda v: SaddlePoint(v[:2], v[2:])),
    Form("tree", 5, lambda v: SaddlePoint({"a": v[0], "b": v[1:3]}, [v[3:].reshape(1, 2)])),
    Form("one", 2, lambda v: SaddlePoint(v[:1], v[1:])),
    Form("many", 30, lambda v: SaddlePoint(v[:15], v[15:])),
)


def _spread(p: int, seed: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues between 0.4 and 1.2."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0]
    return Q @ np.diag(np.linspace(0.4, 1.2, p)) @ Q.T


def _monotone(p: int, seed: int) -> np.ndarray:
    """The same plus a skew matrix of norm 1."""
    A = np.random.default_rng(seed + 1).normal(size=(p, p))
    skew = A - A.T
    return _spread(p, seed) + skew / max(np.linalg.norm(skew, 2), 1e-300)


def _around(mean: np.ndarray, seed: int, size: float = 0.2, terms: int = 6) -> np.ndarray:
    """Arrays that differ by about ``size`` from their mean."""
    noise = np.random.default_rng(seed).normal(size=(terms, *mean.shape)) / math.sqrt(max(mean.shape))
    return mean + size * (noise - noise.mean(0))


# ------------------------------------------------------------------ operators


class RotationTerm(UserFunction):
    """`AffineMap` with matrix and vector from a datum."""

    def evaluate(self, z: PyTree[Array], datum: tuple[Array, Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(z)
        return unravel(datum[0] @ v + datum[1])


class RotationTerms(UserFunction):
    """The mean of `RotationTerm` over data, which can be sampled and knows how fast its terms change."""

    M: Array
    q: Array

    def evaluate(self, z: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(z)
        return unravel(jnp.mean(self.M @ v + self.q, axis=0))

    @property
    def count(self) -> int:
        """How many components there are."""
        return self.M.shape[0]

    def sampled(self, indices: Array) -> "RotationTerms":
        """The mean over the components at ``indices``."""
        return RotationTerms(self.M[indices], self.q[indices], tag=self.tag)

    def lipschitz(self) -> Scalar:
        """The operator's Lipschitz constant."""
        return jnp.linalg.norm(jnp.mean(self.M, axis=0), 2)

    def lipschitz_terms(self) -> Array:
        """Those of the components."""
        return jax.vmap(lambda M: jnp.linalg.norm(M, 2))(self.M)

    def offers(self) -> dict[str, str]:
        """The oracles beyond the operator."""
        return {"sample": "single components"}


@canonical
def inclusion() -> Iterable[Case]:
    """An affine operator on a box, then on all of space."""
    for form, bounds in _places(FORMS):
        M = _monotone(form.size, seed=form.size)
        t = {"M": M, "q": -M @ _target(form.size)}
        yield _case(form, "operator", lambda t: Inclusion(AffineMap(t["M"], t["q"]), *_boxes(t)), t | bounds)


@canonical
def finite_sum_of_operators() -> Iterable[Case]:
    """A mean of affine operators, first as a user writes it, then one that knows its constants."""

    def plain(t: Parameters) -> Problem:
        return FiniteSumInclusion(RotationTerm(), (t["M"], t["q"]), *_boxes(t))

    def informed(t: Parameters) -> Problem:
        return Inclusion(RotationTerms(t["M"], t["q"]), *_boxes(t))

    for make, name, free in (
        (plain, "mean of operators", ("array", "one", "many")),
        (informed, "mean of operators of known smoothness", ("array", "many")),
    ):
        for form, bounds in _places(FORMS, free):
            p = form.size
            M = _monotone(p, seed=20 + p)
            t = {"M": _around(M, seed=p), "q": _around(-M @ _target(p), seed=p + 1)}
            yield _case(form, name, make, t | bounds)


def _places(forms: Iterable[Form], free: Iterable[str] = ROLES) -> Iterable[tuple[Form, Parameters]]:
    """Two forms with bounds, whose faces can be tried one by one, then those of ``free`` roles without."""
    by_role = {form.role: form for form in forms}
    for role in ("array", "tree"):
        yield by_role[role], {"lower": np.array(-0.7), "upper": np.array(0.8)}
    yield from ((by_role[role], {}) for role in free)


def _target(p: int) -> np.ndarray:
    """The solution where there are no bounds; a single entry lies inside of them."""
    return np.linspace(1.2, -0.9, p) if p > 1 else np.array([-0.5])


def _boxes(t: Parameters) -> list[Box]:
    return [Box(t["lower"], t["upper"])] if "lower" in t else []


# ------------------------------------------------------------------ saddle points


class ConvexConcave(UserFunction):
    r"""$\tfrac12 (x-a)^\top P(x-a) + x^\top Ky - \tfrac12 (y-b)^\top Q(y-b)$ of the raveled points."""

    P: Array
    Q: Array
    K: Array
    a: Array
    b: Array

    def evaluate(self, x: PyTree[Array], y: PyTree[Array]) -> Scalar:
        return _convex_concave(x, y, self.P, self.Q, self.K, self.a, self.b)


class ConvexConcaveTerm(UserFunction):
    """The same with a coupling and centres from a datum."""

    P: Array
    Q: Array

    def evaluate(self, x: PyTree[Array], y: PyTree[Array], datum: tuple) -> Scalar:
        return _convex_concave(x, y, self.P, self.Q, *datum)


def _convex_concave(x: PyTree[Array], y: PyTree[Array], P: Array, Q: Array, K: Array, a: Array, b: Array):
    x, y = ravel_pytree(x)[0], ravel_pytree(y)[0]
    return 0.5 * (x - a) @ P @ (x - a) + x @ K @ y - 0.5 * (y - b) @ Q @ (y - b)


@canonical
def saddle() -> Iterable[Case]:
    """A saddle point in a box for either player, and one of a mean of terms; without bounds as well."""

    def whole(t: Parameters) -> Problem:
        return Saddle(ConvexConcave(*(t[k] for k in "PQKab")), **_players(t))

    def mean(t: Parameters) -> Problem:
        return FiniteSumSaddle(ConvexConcaveTerm(t["P"], t["Q"]), tuple(t[k] for k in "Kab"), **_players(t))

    for make, name, free in ((whole, "saddle", ROLES), (mean, "mean of saddles", ("array", "many"))):
        for form, bounds in _places(_PAIRS, free):
            yield _case(form, name, make, _saddle_parameters(form, make is mean) | bounds)


def _players(t: Parameters) -> dict[str, Any]:
    return {name: box for box in _boxes(t) for name in ("g_x", "g_y")}


def _saddle_parameters(form: Form, terms: bool) -> Parameters:
    p = form.size
    n = (p + 1) // 2
    K = np.random.default_rng(p).normal(size=(n, p - n))
    t = {
        "K": K / np.linalg.norm(K, 2),
        "a": np.linspace(0.7, -0.9, n) if n > 1 else np.array([0.5]),
        "b": np.linspace(-1.2, 1.3, p - n) if n > 1 else np.array([0.3]),
    }
    if terms:
        t = {k: _around(v, seed=p + i) for i, (k, v) in enumerate(t.items())}
    return {"P": _spread(n, seed=p), "Q": _spread(p - n, seed=p + 1)} | t


# ------------------------------------------------------------------ games


class Costs(UserFunction):
    r"""$x^\top(\tfrac12 Px + Ky + q_1)$ and $y^\top(\tfrac12 Qy + Jx + q_2)$ of the parts $x$, $y$."""

    P: Array
    Q: Array
    K: Array
    J: Array
    q: Array

    def evaluate(self, z: tuple[Array, Array]) -> tuple[Scalar, Scalar]:
        x, y = z
        first = 0.5 * self.P @ x + self.K @ y + self.q[: x.size]
        second = 0.5 * self.Q @ y + self.J @ x + self.q[x.size :]
        return x @ first, y @ second


@canonical
def game() -> Iterable[Case]:
    """Two players who bound their own parts; what one loses the other need not win."""
    t = {
        "P": _spread(2, seed=1),
        "Q": _spread(2, seed=2),
        "K": np.array([[0.1, 0.6], [-0.3, 0.1]]),
        "J": np.array([[-0.1, 0.2], [-0.5, 0.1]]),
        "q": np.zeros(4),
        "lower": np.array(-0.7),
        "upper": np.array(0.8),
    }
    t["q"] = -_affine(t)[0] @ _target(4)

    def make(t: Parameters) -> Problem:
        return Game(Costs(*(t[k] for k in "PQKJq")), PerLeaf(tuple(_boxes(t) * 2)))

    yield _case(Form("array", 4, lambda v: (v[:2], v[2:])), "game", make, t)


# ------------------------------------------------------------------ their solutions


def _affine(t: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """The operator $Mz + q$ of a case's parameters."""
    if "P" not in t:
        M, q = np.asarray(t["M"]), np.asarray(t["q"])
        return (M.mean(0), q.mean(0)) if M.ndim == 3 else (M, q)
    P, Q = (t["P"] + t["P"].T) / 2, (t["Q"] + t["Q"].T) / 2  # all that a quadratic form sees of them
    if "J" in t:
        return np.block([[P, t["K"]], [t["J"], Q]]), t["q"]
    K, a, b = (t[k].mean(0) if t["K"].ndim == 3 else t[k] for k in "Kab")
    return np.block([[P, K], [-K.T, Q]]), np.concatenate([-P @ a, -Q @ b])


def _solution(t: Parameters) -> np.ndarray:
    """The solution, by trying which bounds are active."""
    M, q = _affine(t)
    if "lower" not in t:
        return np.linalg.solve(M, -q)
    for active in itertools.product((0, -1, 1), repeat=len(q)):
        a = np.array(active)
        free = a == 0
        z = np.where(a < 0, t["lower"], np.where(a > 0, t["upper"], 0.0))
        z[free] = np.linalg.solve(M[np.ix_(free, free)], -(q + M @ z)[free])
        inside = np.all((z[free] >= t["lower"]) & (z[free] <= t["upper"]))
        F = M @ z + q
        if inside and np.all(F[a < 0] >= 0) and np.all(F[a > 0] <= 0):
            return z
    raise AssertionError("a strongly monotone operator has a solution on a box")


def _case(form: Form, name: str, make: Callable[[Parameters], Problem], t: Parameters) -> Case:
    M = _affine(t)[0]
    modulus, L = np.linalg.eigvalsh((M + M.T) / 2)[0], np.linalg.norm(M, 2)
    solution = _solution(t)
    start = solution - 1.2 * np.sign(solution) / math.sqrt(form.size)
    if "lower" in t:  # or a solve would begin elsewhere
        start = np.clip(start, t["lower"], t["upper"])
    return Case(
        f"{name}{' in a box' if 'lower' in t else ''}, {form.role}",
        make,
        t,
        form.of(start),
        lambda t: form.of(_solution(t)),
        # Pang 1987, A posteriori error bounds for the linearly-constrained variational inequality problem;
        # with room for rounding.
        1.01 * ((1 + L) if "lower" in t else 1) / modulus,
        form.role,
    )
