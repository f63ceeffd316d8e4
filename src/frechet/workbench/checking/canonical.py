"""Tiny problems whose solutions are known without the library: closed forms and NumPy enumeration.

A case is chosen for a solver by ``solver.fits(problem)`` alone. A new kind of problem adds cases here, a
function marked `canonical` each, and nothing else; a solver of a kind of its own brings its cases
in a class method ``canonical()``.
"""

import dataclasses
import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import equinox as eqx
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
from frechet.core.solver import Solver
from frechet.losses.squared import Squared
from frechet.problems.composite import Composite
from frechet.problems.constrained import Constrained, KKTPoint
from frechet.problems.equations import FixedPoint, Root
from frechet.problems.finite_sum import FiniteSum
from frechet.problems.least_squares import LeastSquares
from frechet.problems.linear_composite import LinearComposite, PrimalDual
from frechet.problems.quadratic_program import QuadraticProgram

Parameters = dict[str, Any]
ROLES = ("array", "tree", "one", "many")


@dataclasses.dataclass(frozen=True)
class Case:
    r"""A problem as a function of its parameters, and its solution as another, computed independently.

    Attributes:
        name: what to call it.
        make: the problem of some parameters (JAX arrays).
        parameters: float64 NumPy arrays; at least one.
        x0: a start about one away from the solution.
        solve: the solution of some parameters, in NumPy and without this library.
        bound: a constant $c$ with $\|x - x^\star\| \le c\,\|\mathrm{optimality}(x)\|$.
        role: ``"array"`` (the usual), ``"tree"`` (x is a nested pytree), ``"one"`` or ``"many"`` unknowns.
    """

    name: str
    make: Callable[[Parameters], Problem]
    parameters: Parameters
    x0: PyTree[np.ndarray]
    solve: Callable[[Parameters], PyTree[np.ndarray]]
    bound: float
    role: str = "array"

    def problem(self, dtype: Any = None, **changed: np.ndarray) -> Problem:
        """The problem in a dtype (the default float dtype if left out), with some parameters changed."""
        return self.make(cast({**self.parameters, **changed}, dtype))

    @functools.cached_property
    def specimen(self) -> Problem:
        """The problem in float64, made once: for asking what kind it is and what it offers."""
        with jax.enable_x64(True):
            return self.problem()

    def start(self, dtype: Any = None) -> PyTree[Array]:
        """The start in a dtype."""
        return cast(self.x0, dtype)

    def solution(self, **changed: np.ndarray) -> PyTree[np.ndarray]:
        """The solution in float64."""
        return self.solve({**self.parameters, **changed})

    def spoiled(self) -> Parameters:
        """One parameter with its first entry replaced by NaN."""
        name, value = next(iter(self.parameters.items()))
        value = np.array(value, float)
        value.flat[0] = np.nan
        return {name: value}

    def moved(self, size: float = 0.01) -> Parameters:
        """All parameters changed a little."""
        rng = np.random.default_rng(1)
        return {k: v * (1 + size * rng.uniform(-1, 1, np.shape(v))) for k, v in self.parameters.items()}


def cast(values: PyTree[Any], dtype: Any = None) -> PyTree[Array]:
    """NumPy values as JAX arrays of a dtype."""
    return jax.tree.map(lambda v: jnp.asarray(v, float if dtype is None else dtype), values)


_makers: list[Callable[[], Iterable[Case]]] = []


def canonical(maker: Callable[[], Iterable[Case]]) -> Callable[[], Iterable[Case]]:
    """Registers a function that yields cases; it is asked once, since reference solutions take their time."""
    _makers.append(functools.cache(lambda: tuple(maker())))
    return maker


def all_cases() -> list[Case]:
    """Every case of the library's own kinds."""
    return [case for maker in _makers for case in maker()]


def cases_for(solver: Solver) -> list[Case]:
    """The first case of each role that a solver fits, its own before the library's; the usual role first."""
    own = list(getattr(type(solver), "canonical", list)())
    fitting = [c for c in [*own, *all_cases()] if solver.fits(c.specimen) is None]
    first = {c.role: c for c in reversed(fitting)}
    return [first[role] for role in ROLES if role in first]


# ------------------------------------------------------------------ functions that count their traces

_traced = threading.local()


def traced() -> int:
    """How often Python ran a canonical user function in this thread."""
    return getattr(_traced, "count", 0)


class UserFunction(eqx.Module):
    """What a user would write as a function of ``x``; `traced` counts the times Python runs it.

    Attributes:
        tag: distinguishes it from an equal function that JAX may have traced before.
    """

    tag: int = eqx.field(static=True, default=0, kw_only=True)

    def __call__(self, *args: PyTree[Array]) -> Any:
        _traced.count = traced() + 1
        return self.evaluate(*args)

    def evaluate(self, *args: Any) -> Any:
        """The function itself."""
        raise NotImplementedError


_tags = itertools.count(1)


def fresh_tag() -> int:
    """A tag not used before."""
    return next(_tags)


def retagged(problem: Problem, tag: int) -> Problem:
    """The problem with its user functions made new to JAX."""

    def renew(v: Any) -> Any:
        return dataclasses.replace(v, tag=tag) if isinstance(v, UserFunction) else v

    return jax.tree.map(renew, problem, is_leaf=lambda v: isinstance(v, UserFunction))


def count_user_functions(problem: Problem) -> int:
    """How many user functions a problem has."""
    leaves = jax.tree.leaves(problem, is_leaf=lambda v: isinstance(v, UserFunction))
    return sum(isinstance(v, UserFunction) for v in leaves)


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


class Contraction(UserFunction):
    r"""$M x + c$ with $\|M\| < 1$, in the form of ``x``."""

    M: Array
    c: Array

    def evaluate(self, x: PyTree[Array]) -> PyTree[Array]:
        v, unravel = ravel_pytree(x)
        return unravel(self.M @ v + self.c)


# ------------------------------------------------------------------ forms of x


class _Form:
    """A role with a start and the way from a NumPy vector to it."""

    TREE: ClassVar[Any] = {"a": 0.0, "b": (np.zeros(2), [np.zeros((1, 2))])}

    def __init__(self, role: str, size: int):
        self.role, self.size = role, size

    def of(self, v: np.ndarray) -> PyTree[np.ndarray]:
        if self.role != "tree":
            return v
        return {"a": v[0], "b": (v[1:3], [v[3:5].reshape(1, 2)])}


_ARRAY, _TREE, _ONE = _Form("array", 4), _Form("tree", 5), _Form("one", 1)
_MANY = _Form("many", 30)
_FORMS = (_ARRAY, _TREE, _ONE, _MANY)


def _design(n: int, p: int, seed: int) -> np.ndarray:
    """A design with singular values of X / sqrt(n) between 0.6 and 1.4, rows of similar length."""
    rng = np.random.default_rng(seed)
    U, _, Vt = np.linalg.svd(rng.normal(size=(n, p)), full_matrices=False)
    return math.sqrt(n) * U @ np.diag(np.linspace(1.4, 0.6, p)) @ Vt


def _matrix(p: int, seed: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues between 0.7 and 1.8."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0]
    H = Q @ np.diag(np.linspace(0.7, 1.8, p)) @ Q.T
    return (H + H.T) / 2


def _forward_backward_bound(lowest: float, highest: float) -> float:
    """For strong convexity ``lowest`` and smoothness ``highest`` of f (sum the ridge into both)."""
    return 1 + (1 + highest) / lowest


# ------------------------------------------------------------------ minimisation
#
# The first that fits is taken, so a solver that takes everything meets every kind once.


@canonical
def lasso() -> Iterable[Case]:
    r"""$\frac1{2n}\|Xw-y\|^2 + \lambda\|w\|_1$, solved by enumerating the signs of the solution."""
    yield _lasso_case("array", n=8, p=4)


@canonical
def box() -> Iterable[Case]:
    """A quadratic over a box, solved by enumerating which bounds are active; x is a pytree."""
    form = _TREE
    yield Case(
        "quadratic over a box, tree",
        lambda t: Composite(Quadratic(t["H"], t["c"]), Box(t["lower"], t["upper"])),
        {
            "H": _matrix(5, seed=3),
            "c": np.array([0.9, -1.0, 0.2, 1.2, 0.1]),
            "lower": np.array(-0.5),
            "upper": np.array(0.6),
        },
        form.of(np.array([-0.4, 0.3, -0.3, 0.0, 0.4])),
        lambda t: form.of(_box(t)),
        _forward_backward_bound(0.7, 1.8),
        form.role,
    )


@canonical
def finite_sum() -> Iterable[Case]:
    """A smooth `FiniteSum`, solved by Newton's method in NumPy."""
    yield _logistic_case(_MANY, "finite sum", lambda t: FiniteSum(LogisticTerm(t["ridge"]), t["rows"]))


@canonical
def logistic_terms() -> Iterable[Case]:
    """The same as a `Composite` whose terms are of known smoothness."""
    yield _logistic_terms(_ARRAY)
    yield _logistic_terms(_TREE)


@canonical
def curve() -> Iterable[Case]:
    r"""$\tfrac12\|A\varphi(x) - b\|^2$, whose only stationary point is $\varphi^{-1}(A^{-1}b)$."""
    for form in _FORMS:
        p = form.size
        yield Case(
            f"nonlinear least squares, {form.role}",
            lambda t: LeastSquares(Curve(t["A"], t["b"])),
            {"A": _matrix(p, seed=20 + p), "b": np.linspace(-1.0, 1.5, p)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(_curve(t)),
            # the gradient is (D phi)' A' times the residual, both factors at least their least singular value
            2 / 0.7**2,
            form.role,
        )


@canonical
def logistic_terms_of_other_sizes() -> Iterable[Case]:
    """The same with one unknown and with many."""
    yield _logistic_terms(_ONE)
    yield _logistic_terms(_MANY)


def _logistic_terms(form: "_Form") -> Case:
    return _logistic_case(form, "logistic terms", lambda t: Composite(LogisticTerms(t["rows"], t["ridge"])))


def _logistic_case(form: "_Form", name: str, make: Callable[[Parameters], Problem]) -> Case:
    p = form.size
    return Case(
        f"{name}, {form.role}",
        make,
        {"rows": _design(max(8, p + 10), p, seed=10 + p), "ridge": np.array(0.5)},
        form.of(np.linspace(0.7, -0.7, p)),
        lambda t: form.of(_logistic(t)),
        1 / 0.5,
        form.role,
    )


@canonical
def ridge() -> Iterable[Case]:
    r"""$\frac1{2n}\|Xw-y\|^2 + \tfrac\rho2\|w\|^2$ with 30 unknowns, in closed form."""
    X = _design(40, 30, seed=5)
    yield Case(
        "ridge, 30 unknowns",
        lambda t: Composite(Squared(t["X"], t["y"]), SquaredL2(t["weight"])),
        {"X": X, "y": X @ np.cos(np.arange(30.0)), "weight": np.array(0.3)},
        np.zeros(30),
        lambda t: np.linalg.solve(t["X"].T @ t["X"] / 40 + t["weight"] * np.eye(30), t["X"].T @ t["y"] / 40),
        _forward_backward_bound(0.66, 2.26),
        "many",
    )


@canonical
def lasso_of_one() -> Iterable[Case]:
    """The lasso with one unknown."""
    yield _lasso_case("one", n=4, p=1)


def _lasso_case(role: str, n: int, p: int) -> Case:
    X = _design(n, p, seed=p)
    truth = np.array([1.0, -0.8, 0.0, 0.5])[:p]
    return Case(
        f"lasso, {role}",
        lambda t: Composite(Squared(t["X"], t["y"]), L1(t["weight"])),
        {"X": X, "y": X @ truth + 0.1 * np.cos(np.arange(n)), "weight": np.array(0.1)},
        np.full(p, 0.2),
        _lasso,
        _forward_backward_bound(0.36, 1.96),
        role,
    )


# ------------------------------------------------------------------ with constraints


class Affine(UserFunction):
    """$Ax - b$ of the raveled ``x``."""

    A: Array
    b: Array

    def evaluate(self, x: PyTree[Array]) -> Array:
        return self.A @ ravel_pytree(x)[0] - self.b


class Ball(UserFunction):
    r"""$\|x\|^2 - r$, one inequality."""

    r: Array

    def evaluate(self, x: PyTree[Array]) -> Array:
        v = ravel_pytree(x)[0]
        return v @ v - self.r


@canonical
def constrained() -> Iterable[Case]:
    """A quadratic on a plane inside a ball whose boundary the solution lies on."""
    for form in _FORMS:
        p = form.size
        t = {
            "H": _matrix(p, seed=50 + p),
            "c": np.linspace(1.5, -1.0, p),
            "r": np.array(0.5 if p < 10 else 4.0),
        }
        if p > 1:
            t |= {"A": np.cos(np.arange(p))[None, :] / math.sqrt(p), "b": np.array([0.2])}
        solution = _program(t)
        yield Case(
            f"quadratic in a ball, {form.role}",
            lambda t: Constrained(
                Quadratic(t["H"], t["c"]), Affine(t["A"], t["b"]) if "A" in t else None, Ball(t["r"])
            ),
            t,
            _point(form, {k: np.full_like(v, 0.1) for k, v in solution.items()}, scalar=True),
            lambda t, form=form: _point(form, _program(t), scalar=True),
            2 * _kkt_bound(t, solution),
            form.role,
        )


@canonical
def quadratic_program() -> Iterable[Case]:
    """Equations, inequalities and bounds, of each some active and some not."""
    for form in (_ARRAY, _ONE, _MANY):
        p = form.size
        t = {"P": _matrix(p, seed=60 + p), "q": -2 * np.cos(1.3 * np.arange(p)), "lower": np.full(p, -0.2)}
        if p > 1:
            k = p // 4
            rows = np.random.default_rng(p).normal(size=(2 * k, p)) / math.sqrt(p)
            t |= {"A": rows[:k], "b": np.full(k, 0.3), "G": -rows[k:], "h": np.full(k, 0.1)}
        solution = _program(t)
        yield Case(
            f"quadratic program, {form.role}",
            lambda t: QuadraticProgram(**t | {"P": (t["P"] + t["P"].T) / 2}),
            t,
            _point(form, {k: np.full_like(v, 0.1) for k, v in solution.items()}),
            lambda t, form=form: _point(form, _program(t)),
            2 * _kkt_bound(t, solution),
            form.role,
        )


def _point(form: "_Form", v: dict[str, np.ndarray], scalar: bool = False) -> KKTPoint:
    ineq = v["dual_ineq"] if v["dual_ineq"].size else None
    return KKTPoint(
        form.of(v["primal"]),
        v["dual_eq"] if v["dual_eq"].size else None,
        ineq[0] if scalar and ineq is not None else ineq,
    )


# ------------------------------------------------------------------ their solutions


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


class _Program:
    """A quadratic with linear equations, linear inequalities, bounds and a ball, in NumPy: its KKT system."""

    def __init__(self, t: Parameters):
        P = np.asarray(t["H"] if "H" in t else t["P"], float)
        self.P = (P + P.T) / 2  # all that the quadratic form sees of it
        n = len(self.P)
        self.q = -self.P @ t["c"] if "c" in t else np.asarray(t["q"], float)
        self.A, self.b = np.asarray(t.get("A", np.zeros((0, n)))), np.asarray(t.get("b", np.zeros(0)))
        self.G, self.h = np.asarray(t.get("G", np.zeros((0, n)))), np.asarray(t.get("h", np.zeros(0)))
        self.lower = np.asarray(t.get("lower", np.full(n, -np.inf)))
        self.r = t.get("r")
        self.sizes = (n, len(self.A), len(self.G) + (self.r is not None))

    def split(self, z: np.ndarray) -> list[np.ndarray]:
        return np.split(z, np.cumsum(self.sizes)[:-1])

    def system(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The map whose zero is the solution, and its Jacobian on the piece that ``z`` is in."""
        x, y, m = self.split(z)
        n, k, j = self.sizes
        c, C, H = self.G @ x - self.h, self.G, self.P
        if self.r is not None:
            c, C, H = np.append(c, x @ x - self.r), np.vstack([C, 2 * x]), H + 2 * m[-1] * np.eye(n)
        slope = self.P @ x + self.q + self.A.T @ y + C.T @ m
        rows = np.hstack([H, self.A.T, C.T])
        free, active = x - slope > self.lower, m + c > 0
        F = np.concatenate(
            [np.where(free, slope, x - self.lower), self.A @ x - self.b, np.where(active, -c, m)]
        )
        J = np.zeros((n + k + j, n + k + j))
        J[:n] = np.where(free[:, None], rows, np.eye(n, n + k + j))
        J[n : n + k, :n] = self.A
        J[n + k :] = np.where(
            active[:, None], np.hstack([-C, np.zeros((j, k + j))]), np.eye(n + k + j)[n + k :]
        )
        return F, J


def _program(t: Parameters) -> dict[str, np.ndarray]:
    """The solution by Newton's method on the pieces, which ends where it meets the conditions exactly."""
    program = _Program(t)
    z = np.full(sum(program.sizes), 0.3)
    for _ in range(200):
        F, J = program.system(z)
        step = np.linalg.lstsq(J, -F, rcond=None)[0]
        size = np.linalg.norm(step)
        z = z + step * min(1, 0.5 / max(size, 1e-300))
        if size <= 1e-14 * np.linalg.norm(z):
            break
    assert np.linalg.norm(program.system(z)[0]) < 1e-12
    return dict(zip(("primal", "dual_eq", "dual_ineq"), program.split(z), strict=True))


def _kkt_bound(t: Parameters, solution: dict[str, np.ndarray]) -> float:
    """The inverse Jacobian's norm at the solution."""
    J = _Program(t).system(np.concatenate(list(solution.values())))[1]
    return 1 / float(np.linalg.svd(J, compute_uv=False)[-1])


def _logistic(t: Parameters) -> np.ndarray:
    A, rho = t["rows"], t["ridge"]
    w = np.zeros(A.shape[1])
    for _ in range(50):
        s = 1 / (1 + np.exp(A @ w))
        gradient = -A.T @ s / len(A) + rho * w
        H = (A.T * (s * (1 - s))) @ A / len(A) + rho * np.eye(len(w))
        w = w - np.linalg.solve(H, gradient)
    return w


def _curve(t: Parameters) -> np.ndarray:
    target = np.linalg.solve(t["A"], t["b"])
    x = target.copy()
    for _ in range(50):
        x = x - (x + 0.1 * np.tanh(x) - target) / (1 + 0.1 / np.cosh(x) ** 2)
    return x


# ------------------------------------------------------------------ equations


@canonical
def root() -> Iterable[Case]:
    r"""$A\varphi(x) = b$, with the solution of `curve`."""
    for form in _FORMS:
        p = form.size
        yield Case(
            f"root, {form.role}",
            lambda t: Root(Curve(t["A"], t["b"])),
            {"A": _matrix(p, seed=30 + p), "b": np.linspace(-1.0, 1.5, p)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(_curve(t)),
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
    for form in _FORMS:
        p = form.size
        yield Case(
            f"bracketed root, {form.role}",
            lambda t: Root(Bent(t["c"]), bracket=(t["lower"], t["upper"])),
            {"c": np.linspace(-1.0, 1.5, p), "lower": np.array(-4.0), "upper": np.array(3.0)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(_curve({"A": np.eye(len(t["c"])), "b": t["c"]})),
            1.0,
            form.role,
        )


@canonical
def fixed_point() -> Iterable[Case]:
    r"""$x = Mx + c$ with eigenvalues of $M$ between 0.2 and 0.6."""
    for form in _FORMS:
        p = form.size
        yield Case(
            f"fixed point, {form.role}",
            lambda t: FixedPoint(Contraction(t["M"], t["c"])),
            {"M": (_matrix(p, seed=40 + p) - 0.2 * np.eye(p)) * 0.375, "c": np.linspace(-0.5, 0.8, p)},
            form.of(np.full(p, 0.3)),
            lambda t, form=form: form.of(np.linalg.solve(np.eye(len(t["c"])) - t["M"], t["c"])),
            1 / 0.4,
            form.role,
        )


# ------------------------------------------------------------------ a function of a linear map


class Linear(UserFunction):
    """$Kx$ of the raveled ``x``."""

    K: Array

    def evaluate(self, x: PyTree[Array]) -> Array:
        return self.K @ ravel_pytree(x)[0]


@canonical
def linear_composite() -> Iterable[Case]:
    r"""$\tfrac12 (x-c)^\top H(x-c) + \lambda\|Kx\|_1$ with $x$ bounded below, and the same with $K = I$."""
    for form in _FORMS:
        p = form.size
        K = np.random.default_rng(100 + p).normal(size=(max(1, p // 2), p)) / math.sqrt(p)
        yield _split_case(
            form,
            {"K": K},
            lambda t: LinearComposite(_quadratic(t), _above(t), L1(t["weight"]), Linear(t["K"])),
        )
    for form in _FORMS:
        yield _split_case(form, {}, lambda t: LinearComposite(_quadratic(t), _above(t), L1(t["weight"])))


def _quadratic(t: Parameters) -> Quadratic:
    return Quadratic(t["H"], t["c"])


def _above(t: Parameters) -> Box:
    return Box(t["lower"], jnp.inf)


def _split_case(form: "_Form", more: Parameters, make: Callable[[Parameters], Problem]) -> Case:
    p = form.size
    t = {
        "H": _matrix(p, seed=70 + p),
        "c": np.linspace(1.5, -1.0, p),
        "lower": np.array(-0.3),
        "weight": np.array(0.9 if more else 0.3),
    } | more
    z, J = _split(t)

    def point(z: np.ndarray) -> PrimalDual:
        return PrimalDual(form.of(z[:p]), z[p:] if more else form.of(z[p:]))

    return Case(
        f"l1 norm of {'a linear map' if more else 'x'} and a bound, {form.role}",
        make,
        t,
        point(z + 0.5 * np.cos(np.arange(z.size))),
        lambda t: point(_split(t)[0]),
        2 / float(np.linalg.svd(J, compute_uv=False)[-1]),
        form.role,
    )


def _split(t: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """The solution by the Condat-Vu iteration, then Newton's method on the piece it ends on; the Jacobian."""
    H, p = (t["H"] + t["H"].T) / 2, len(t["c"])
    K = t.get("K", np.eye(p))
    m = len(K)
    z, step = np.zeros(p + m), 1 / (np.linalg.norm(H, 2) + np.linalg.norm(K, 2))
    for _ in range(1000):
        x = np.maximum(z[:p] - step * (H @ (z[:p] - t["c"]) + K.T @ z[p:]), t["lower"])
        u = np.clip(z[p:] + step * K @ (2 * x - z[:p]), -t["weight"], t["weight"])
        z = np.concatenate([x, u])
    for _ in range(5):
        x, u = z[:p], z[p:]
        slope, v = H @ (x - t["c"]) + K.T @ u, u + K @ x
        free, inside = x - slope > t["lower"], np.abs(v) < t["weight"]
        F = np.concatenate(
            [
                np.where(free, slope, x - t["lower"]),
                np.where(inside, -K @ x, u - t["weight"] * np.sign(v)),
            ]
        )
        J = np.vstack(
            [
                np.where(free[:, None], np.hstack([H, K.T]), np.eye(p, p + m)),
                np.where(inside[:, None], np.hstack([-K, np.zeros((m, m))]), np.eye(p + m)[p:]),
            ]
        )
        assert np.linalg.norm(F) < 1e-3
        z = z - np.linalg.solve(J, F)
    assert np.linalg.norm(F) < 1e-12
    return z, J


# ------------------------------------------------------------------ quadratic programs of fewer parts


@canonical
def bounded_program() -> Iterable[Case]:
    """Bounds alone, some active and some not."""
    for form in (_ARRAY, _MANY):
        yield _narrow_program(form, "bounds alone", {"lower": np.full(form.size, -0.2)})


@canonical
def program_with_equations() -> Iterable[Case]:
    """Equations alone; with one unknown not even those."""
    for form in (_ARRAY, _ONE, _MANY):
        p = form.size
        rows = np.random.default_rng(p).normal(size=(p // 4, p)) / math.sqrt(p)
        yield _narrow_program(
            form, "equations alone", {"A": rows, "b": np.full(p // 4, 0.3)} if p > 1 else {}
        )


def _narrow_program(form: "_Form", name: str, parts: Parameters) -> Case:
    p = form.size
    t = {"P": _matrix(p, seed=80 + p), "q": -2 * np.cos(1.3 * np.arange(p)), **parts}
    solution = _program(t)
    return Case(
        f"{name}, {form.role}",
        lambda t: QuadraticProgram(**t | {"P": (t["P"] + t["P"].T) / 2}),
        t,
        _point(form, {k: np.full_like(v, 0.1) for k, v in solution.items()}),
        lambda t: _point(form, _program(t)),
        2 * _kkt_bound(t, solution),
        form.role,
    )


# ------------------------------------------------------------------ a simplex


@canonical
def simplex() -> Iterable[Case]:
    """A quadratic over a simplex, some entries of its solution zero."""
    for form in _FORMS:
        p = form.size
        yield Case(
            f"quadratic over a simplex, {form.role}",
            lambda t: Composite(_quadratic(t), Simplex(t["scale"])),
            {"H": _matrix(p, seed=90 + p), "c": np.linspace(1.5, -1.0, p), "scale": np.array(1.2)},
            form.of(np.linspace(0.1, 0.9, p)),
            lambda t, form=form: form.of(_simplex(t)),
            _forward_backward_bound(0.7, 1.8),
            form.role,
        )


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
