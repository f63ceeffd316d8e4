"""How steep an operator is: what steps of extragradient methods are derived from."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.problems.inclusion import Inclusion

PRODUCTS = 8
"""Products with the Jacobian that `first` takes."""


def positive_or_none(L: Any) -> Any:
    """Converter of a solver's ``lipschitz`` field: a positive number or array, or None to estimate it."""
    return None if L is None else parameter("lipschitz", L, positive=True)


def first(problem: Inclusion, z: PyTree[Array], given: Any, calls: Calls) -> tuple[Scalar, Calls]:
    r"""A Lipschitz constant of the operator to begin with, and the calls with what it took.

    The given one; else what the operator says itself (``lipschitz()``); else the largest of
    $\|J v\| / \|v\|$ along $v, Jv, J^2v, \dots$ with the Jacobian $J$ at ``z``: a lower bound of $\|J\|$, and
    equal to it in the limit where $J$ is normal. `revised` raises it where it turns out too low.
    """
    dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype
    if given is not None:
        return jnp.asarray(given, dtype), calls
    known = getattr(problem.F, "lipschitz", None)
    if known is not None:
        return jnp.asarray(known(), dtype), calls
    L, _, taken = steepest(problem, z, calls)
    return jnp.where(L > 0, L, 1), taken


def steepest(problem: Inclusion, z: PyTree[Array], calls: Calls) -> tuple[Scalar, PyTree[Array], Calls]:
    r"""The largest of $\|J v\| / \|v\|$ along $v, Jv, J^2v, \dots$ at ``z``, and the last of these.

    That direction is of norm one. With the calls and what it took.
    """
    dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype

    def product(v: PyTree[Array], _: None) -> tuple:
        Jv = J(v)
        size = tree.norm(Jv)
        return _unit(tree.where(size > 0, Jv, v)), size

    J = jax.linearize(problem.operator, z)[1]
    v, sizes = jax.lax.scan(product, _unit(tree.wave(z)), None, length=PRODUCTS)
    return jnp.max(sizes).astype(dtype), v, calls.add(gradient=1, hvp=PRODUCTS)


def _unit(v: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda u: u / tree.norm(v).astype(u.dtype), v)


def revised(L: Scalar, change: PyTree[Array], move: PyTree[Array]) -> Scalar:
    r"""The larger of ``L`` and $\|\text{change}\| / \|\text{move}\|$, of the operator between two points.

    Moves so short that the change is rounding do not count.
    """
    length, risen = tree.norm(move), tree.norm(change)
    seen = jnp.where(length > 0, risen / jnp.where(length > 0, length, 1), 0)
    return jnp.where(jnp.isfinite(seen), jnp.maximum(L, seen), L).astype(L.dtype)
