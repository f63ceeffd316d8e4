"""Tiny problems over measures, as particles and as Gaussians, whose solutions are closed forms."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.problems.gaussian_expectations import Gaussian
from frechet.problems.gaussian_variational import GaussianVariational
from frechet.problems.matching import points
from frechet.problems.particles import Particles
from frechet.workbench.checking.canonical import Case, Parameters, UserFunction, canonical

# ------------------------------------------------------------------ particles


class Tethered(UserFunction):
    r"""$\frac1{2n}\sum_i(w_i - t_i)^\top H(w_i - t_i) + \frac\rho2\|\bar w - c\|^2$, $\bar w$ the mean."""

    H: Array
    t: Array
    c: Array
    rho: Scalar

    def evaluate(self, x: PyTree[Array]) -> Scalar:
        w = points(x)
        off, mean = w - self.t, jnp.mean(w, axis=0) - self.c
        return 0.5 * jnp.sum((off @ self.H) * off) / len(w) + 0.5 * self.rho * mean @ mean


def _tethered(t: Parameters) -> np.ndarray:
    """From $H(w_i - t_i) + \\rho(\\bar w - c) = 0$, of which the mean over $i$ gives $\\bar w$."""
    H, rho = (t["H"] + t["H"].T) / 2, t["rho"]
    d = len(H)
    mean = np.linalg.solve(H + rho * np.eye(d), H @ t["t"].mean(axis=0) + rho * t["c"])
    return t["t"] - rho * np.linalg.solve(H, mean - t["c"])


@canonical
def tethered_particles() -> Iterable[Case]:
    """Particles tied to a place each, while their mean is drawn elsewhere."""
    for role, n, d in (("array", 3, 2), ("tree", 3, 3), ("one", 1, 1), ("many", 8, 3)):
        rng = np.random.default_rng(10 * n + d)
        Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
        yield Case(
            f"tethered particles, {role}",
            lambda t: Particles(Tethered(t["H"], t["t"], t["c"], t["rho"])),
            {
                "H": Q @ np.diag(np.linspace(0.7, 1.8, d)) @ Q.T,
                "t": 0.5 * rng.normal(size=(n, d)),
                "c": np.linspace(0.8, -0.6, d),
                "rho": np.array(0.5),
            },
            _particles(role, 0.2 * rng.normal(size=(n, d))),
            lambda t, role=role: _particles(role, _tethered(t)),
            2 / 0.7,
            role,
        )


def _particles(role: str, w: np.ndarray) -> PyTree[np.ndarray]:
    return {"a": w[:, 0], "b": (w[:, 1], [w[:, 2:].reshape(len(w), 1, -1)])} if role == "tree" else w


# ------------------------------------------------------------------ Gaussians


class LogGamma(UserFunction):
    r"""$\sum_j e^{u_j} - b_j u_j$ with $u = A\theta$: the potential of logarithms of gamma variables."""

    A: Array
    b: Array

    def evaluate(self, theta: Array) -> Scalar:
        u = self.A @ ravel_pytree(theta)[0]
        return jnp.sum(jnp.exp(u) - self.b * u)


def _gaussian(mean: Any, covariance: Any) -> Gaussian:
    return Gaussian(mean, covariance)


def _log_gamma(t: Parameters) -> Gaussian:
    r"""For $u$, entrywise: $\mathbb E e^u = e^{m + s/2} = b$ from the mean, $1/s = b$ from the variance."""
    inverse, b = np.linalg.inv(t["A"]), t["b"]
    return _gaussian(inverse @ (np.log(b) - 0.5 / b), inverse @ np.diag(1 / b) @ inverse.T)


@canonical
def log_gamma() -> Iterable[Case]:
    """A potential that is not quadratic, and whose expectations take quadrature."""
    for role, d in (("array", 2), ("one", 1), ("many", 3)):
        # Covariances of about two, which some noise leaves positive definite; exponents of small variance,
        # for which eight nodes an axis do.
        A = 0.25 * np.eye(d) + 0.05 * np.random.default_rng(d).uniform(-1, 1, (d, d))
        t = {"A": A, "b": np.linspace(6.0, 9.0, d)}
        q = _log_gamma(t)
        yield Case(
            f"Gaussian nearest to log-gamma variables, {role}",
            lambda t: GaussianVariational(LogGamma(t["A"], t["b"])),
            t,
            _gaussian(np.asarray(q.mean) - 0.6, 0.7 * np.asarray(q.covariance)),
            _log_gamma,
            24.0,
            role,
        )
