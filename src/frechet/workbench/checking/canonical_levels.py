"""Tiny bilevel problems with quadratics at both levels, whose solutions are closed forms."""

import itertools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.box import Box
from frechet.convex.function import Function
from frechet.convex.halfspace import Halfspace
from frechet.convex.hyperplane import Hyperplane
from frechet.problems.bilevel import Bilevel, BilevelPoint, FiniteSumBilevel
from frechet.problems.multi_block import MultiBlockBilevel
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


class Coupled(UserFunction):
    """$Mx + Ny - r$ of the raveled ``x`` and ``y``, a row a constraint."""

    M: Array
    N: Array
    r: Array

    def evaluate(self, x: PyTree[Array], y: PyTree[Array]) -> Array:
        return self.M @ ravel_pytree(x)[0] + self.N @ ravel_pytree(y)[0] - self.r


class PlaneAndHalfspace(Function):
    """The points of both; their normals are orthogonal, so that one projection follows the other."""

    plane: Hyperplane
    halfspace: Halfspace

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return self.plane(x) + self.halfspace(x)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.halfspace.prox(self.plane.prox(x, step), step)


def _pairs(eq: Coupled, ineq: Coupled) -> PlaneAndHalfspace:
    """The pairs that satisfy an equation and an inequality."""
    (a, b), (c, d) = ((row.M[0], row.N[0]) for row in (eq, ineq))
    share = (a @ c + b @ d) / (a @ a + b @ b)
    within = (c - share * a, d - share * b)
    return PlaneAndHalfspace(Hyperplane((a, b), eq.r[0]), Halfspace(within, ineq.r[0] - share * eq.r[0]))


def _coupled_solution(t: Parameters) -> tuple[np.ndarray, ...]:
    r"""``(x, y, dual_eq, dual_ineq)`` with the inequality inactive or, if that violates it, active.

    Given which rows hold, $y = Jx + j$ and its multipliers are affine in $x$ by the lower KKT system.
    """
    A, (q, p) = (t["A"] + t["A"].T) / 2, t["B"].shape
    for rows in (1, 2):
        M, N = (np.vstack([t["eq_" + k], t["ineq_" + k]])[:rows] for k in ("M", "N"))
        r = np.concatenate([t["eq_r"], t["ineq_r"]])[:rows]
        K = np.block([[A, N.T], [N, np.zeros((rows, rows))]])
        slopes = np.linalg.solve(K, np.vstack([t["B"], -M]))
        offsets = np.linalg.solve(K, np.concatenate([t["b"], r]))
        J, j = slopes[:q], offsets[:q]
        x = np.linalg.solve(J.T @ J + t["rho"] * np.eye(p), J.T @ (t["t"] - j))
        point = np.append(slopes @ x + offsets, np.zeros(2 - rows))
        y, dual = point[:q], point[q:]
        if t["ineq_M"] @ x + t["ineq_N"] @ y <= t["ineq_r"] + 1e-9 and dual[1] >= 0:
            return x, y, dual[:1], dual[1:]
    raise AssertionError("the inequality is active or it is not")


@canonical
def coupled() -> Iterable[Case]:
    """An equation and an inequality at the lower level, both active and with both variables in them."""
    more = {
        "eq_M": np.array([[0.4, -0.3]]),
        "eq_N": np.array([[0.6, 0.5, -0.4]]),
        "eq_r": np.array([0.2]),
        "ineq_M": np.array([[-0.4, 0.1]]),
        "ineq_N": np.array([[0.6, 0.3, 0.7]]),
        "ineq_r": np.array([0.1]),
    }

    def make(t: Parameters) -> Bilevel:
        eq, ineq = (Coupled(*(t[f"{kind}_{k}"] for k in "MNr")) for kind in ("eq", "ineq"))
        functions = Upper(t["t"], t["rho"]), Lower(t["A"], t["B"], t["b"])
        return Bilevel(*functions, eq=eq, ineq=ineq, joint=_pairs(eq, ineq))

    t = _parameters(2, 3) | more
    start = BilevelPoint(np.full(2, -0.4), np.full(3, -0.2), np.zeros(1), np.zeros(1))
    yield Case(
        "bilevel coupled constraints, array",
        make,
        t,
        start,
        lambda t: BilevelPoint(*_coupled_solution(t)),
        20.0,
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


class BlockLowerTerm(UserFunction):
    r"""$\tfrac12 y_i^\top A y_i - y_i^\top(Bx + b)$ with $(A, B, b)$ the datum."""

    def evaluate(self, x: PyTree[Array], y: PyTree[Array], datum: tuple[Array, Array, Array]) -> Scalar:
        (A, B, b), v = datum, ravel_pytree(y)[0]
        return 0.5 * v @ A @ v - v @ (B @ ravel_pytree(x)[0] + b)


class BlockUpperTerm(UserFunction):
    r"""$\tfrac12\|y_i - t\|^2 + \tfrac12\rho\|x\|^2$ with $t$ the datum."""

    rho: Scalar

    def evaluate(self, x: PyTree[Array], y: PyTree[Array], t: Array) -> Scalar:
        u, d = ravel_pytree(x)[0], ravel_pytree(y)[0] - t
        return 0.5 * d @ d + 0.5 * self.rho * u @ u


@canonical
def quadratic_blocks() -> Iterable[Case]:
    """Lower problems that share nothing but the upper variable, with noise of mean zero in their terms."""
    for role, p, m, d in (("array", 2, 6, 1), ("tree", 3, 5, 3), ("one", 1, 1, 1), ("many", 4, 6, 3)):
        form, rng = _BlockForm(role, p, m, d), np.random.default_rng(10 * p + d)
        shapes = {"A": (m, 4, d, d), "b": (m, 4, d), "t": (m, 3, d)}
        noise = {f"{k}_noise": 0.2 * rng.normal(size=shape) for k, shape in shapes.items()}
        blocks = [_parameters(p, d) for _ in range(m)]
        means = {k: np.stack([(1 + 0.1 * i) * t[k] for i, t in enumerate(blocks)]) for k in "ABbt"}
        t = {**means, "rho": np.array(0.5), **noise}
        yield Case(
            f"bilevel blocks, {role}",
            _blocks,
            t,
            form.of(np.full(p, 0.2), np.full(m * d, 0.1)),
            lambda t, form=form: form.of(*_solution(_one_block(t))),
            _bound(_one_block(t)),
            role,
        )


class _BlockForm(_Form):
    """A role with a leading axis of blocks at the lower level."""

    def __init__(self, role: str, p: int, m: int, d: int):
        super().__init__(role, p, m * d)
        self.m, self.d = m, d

    def of(self, x: np.ndarray, y: np.ndarray) -> BilevelPoint:
        y = y.reshape(self.m, self.d)
        if self.role != "tree":
            return BilevelPoint(x, y)
        return BilevelPoint({"a": x[0], "b": x[1:]}, (y[:, :2].reshape(self.m, 1, 2), [y[:, 2:]]))


def _blocks(t: dict[str, Array]) -> MultiBlockBilevel:
    def terms(name: str) -> Array:
        noise = t[f"{name}_noise"]
        return t[name][:, None] + noise - jnp.mean(noise, 1, keepdims=True)

    A = terms("A")
    B = jnp.broadcast_to(t["B"][:, None], (*A.shape[:2], *t["B"].shape[1:]))
    return MultiBlockBilevel(BlockUpperTerm(t["rho"]), BlockLowerTerm(), terms("t"), (A, B, terms("b")))


def _one_block(t: Parameters) -> Parameters:
    """As one lower problem; the upper objective is a mean over blocks there, a sum here."""
    m, d, p = t["B"].shape
    A = np.einsum("ij,ikl->ikjl", np.eye(m), t["A"]).reshape(m * d, m * d)
    return {
        "A": A,
        "B": t["B"].reshape(m * d, p),
        "b": t["b"].ravel(),
        "t": t["t"].ravel(),
        "rho": m * t["rho"],
    }
