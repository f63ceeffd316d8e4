"""Tiny densities whose moments are closed forms."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from frechet.problems.density import Chains, Density, Moments
from frechet.workbench.checking.canonical import Case, Parameters, canonical
from frechet.workbench.checking.canonical_functions import Quadratic

CHAINS = 6


def _form(role: str, v: Any) -> PyTree[Any]:
    """Vectors in the last axis, in the form of a role."""
    if role != "tree":
        return v
    return {"a": v[..., 0], "b": (v[..., 1:3], [v[..., 3:]])}


def at_rest(position: PyTree[np.ndarray], mean: PyTree[Any], variance: PyTree[Any]) -> Chains:
    """Chains that have found given moments, all at one place."""
    like = lambda v, p: np.broadcast_to(v, p.shape)  # noqa: E731
    mean, variance = (jax.tree.map(like, v, position) for v in (mean, variance))
    count: Any = np.array(100.0)
    return Chains(position, mean, variance, count)


@canonical
def normal() -> Iterable[Case]:
    """A normal density of condition number 2.6."""
    for role, d in (("array", 3), ("tree", 5), ("one", 1), ("many", 12)):
        rng = np.random.default_rng(d)
        Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
        K = Q @ np.diag(np.linspace(0.7, 1.8, d)) @ Q.T

        def make(t: dict[str, Array], role: str = role) -> Density:
            K = (t["K"] + t["K"].T) / 2
            variance = jnp.diagonal(jnp.linalg.inv(K))
            return Density(
                Quadratic(K, t["mean"]), moments=Moments(_form(role, t["mean"]), _form(role, variance))
            )

        def solve(t: Parameters, role: str = role, d: int = d) -> Chains:
            K = (t["K"] + t["K"].T) / 2
            variance = np.diagonal(np.linalg.inv(K))
            position = _form(role, np.broadcast_to(t["mean"], (CHAINS, d)))
            return at_rest(position, _form(role, t["mean"]), _form(role, variance))

        zero: Any = np.zeros(())
        start = _form(role, np.tile(np.linspace(-1.0, 1.0, CHAINS)[:, None], d))
        nothing = _form(role, np.zeros((CHAINS, d)))
        t = {"K": (K + K.T) / 2, "mean": np.linspace(1.0, -0.5, d)}
        yield Case(
            f"normal density, {role}", make, t, Chains(start, nothing, nothing, zero), solve, 1.0, role
        )
