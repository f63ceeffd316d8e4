"""A function of a linear map."""

import math
from collections.abc import Callable, Iterable

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.convex.box import Box
from frechet.convex.l1 import L1
from frechet.core.problem import Problem
from frechet.problems.linear_composite import LinearComposite, PrimalDual
from frechet.workbench.checking.canonical import Case, Parameters, UserFunction, canonical
from frechet.workbench.checking.canonical_functions import Quadratic
from frechet.workbench.checking.forms import FORMS, Form, matrix


class Linear(UserFunction):
    """$Kx$ of the raveled ``x``."""

    K: Array

    def evaluate(self, x: PyTree[Array]) -> Array:
        return self.K @ ravel_pytree(x)[0]


@canonical
def linear_composite() -> Iterable[Case]:
    r"""$\tfrac12 (x-c)^\top H(x-c) + \lambda\|Kx\|_1$ with $x$ bounded below, and the same with $K = I$."""
    for form in FORMS:
        p = form.size
        K = np.random.default_rng(100 + p).normal(size=(max(1, p // 2), p)) / math.sqrt(p)
        yield _split_case(
            form,
            {"K": K},
            lambda t: LinearComposite(_quadratic(t), _above(t), L1(t["weight"]), Linear(t["K"])),
        )
    for form in FORMS:
        yield _split_case(form, {}, lambda t: LinearComposite(_quadratic(t), _above(t), L1(t["weight"])))


def _quadratic(t: Parameters) -> Quadratic:
    return Quadratic(t["H"], t["c"])


def _above(t: Parameters) -> Box:
    return Box(t["lower"], jnp.inf)


def _split_case(form: Form, more: Parameters, make: Callable[[Parameters], Problem]) -> Case:
    p = form.size
    t = {
        "H": matrix(p, seed=70 + p),
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
