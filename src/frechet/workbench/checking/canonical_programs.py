"""Problems with constraints: a quadratic in a ball, and quadratic programs."""

import math
from collections.abc import Iterable

import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.problems.constrained import Constrained, KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.workbench.checking.canonical import Case, Parameters, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import Quadratic
from frechet.workbench.checking.forms import ARRAY, FORMS, MANY, ONE, Form, matrix


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
    for form in FORMS:
        p = form.size
        t = {
            "H": matrix(p, seed=50 + p),
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
    for form in (ARRAY, ONE, MANY):
        p = form.size
        t = {"P": matrix(p, seed=60 + p), "q": -2 * np.cos(1.3 * np.arange(p)), "lower": np.full(p, -0.2)}
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


def _point(form: Form, v: dict[str, np.ndarray], scalar: bool = False) -> KKTPoint:
    ineq = v["dual_ineq"] if v["dual_ineq"].size else None
    return KKTPoint(
        form.of(v["primal"]),
        v["dual_eq"] if v["dual_eq"].size else None,
        ineq[0] if scalar and ineq is not None else ineq,
    )


@canonical
def bounded_program() -> Iterable[Case]:
    """Bounds alone, some active and some not."""
    for form in (ARRAY, MANY):
        yield _narrow_program(form, "bounds alone", {"lower": np.full(form.size, -0.2)})


@canonical
def program_with_equations() -> Iterable[Case]:
    """Equations alone; with one unknown not even those."""
    for form in (ARRAY, ONE, MANY):
        p = form.size
        rows = np.random.default_rng(p).normal(size=(p // 4, p)) / math.sqrt(p)
        yield _narrow_program(
            form, "equations alone", {"A": rows, "b": np.full(p // 4, 0.3)} if p > 1 else {}
        )


def _narrow_program(form: Form, name: str, parts: Parameters) -> Case:
    p = form.size
    t = {"P": matrix(p, seed=80 + p), "q": -2 * np.cos(1.3 * np.arange(p)), **parts}
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
