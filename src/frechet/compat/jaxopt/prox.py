"""``jaxopt.prox``: proximal maps as functions ``prox(x, hyperparams, scaling)``."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from frechet import convex
from frechet.compat.jaxopt.projection import projection_non_negative
from frechet.compat.jaxopt.tree_util import tree_scalar_mul


def prox_none(x: PyTree, hyperparams: Any = None, scaling: Any = 1.0) -> PyTree:
    """Of nothing: ``x`` itself."""
    return x


def prox_lasso(x: PyTree, l1reg: Any = None, scaling: Any = 1.0) -> PyTree:
    """Of ``l1reg * |x|_1``; ``l1reg`` is a number or a pytree like ``x``."""
    return convex.L1(1.0 if l1reg is None else l1reg).prox(x, scaling)


def prox_non_negative_lasso(x: PyTree, l1reg: Any = None, scaling: Any = 1.0) -> PyTree:
    """Of ``l1reg * |x|_1`` on the nonnegative orthant."""
    threshold = scaling * (1.0 if l1reg is None else l1reg)
    return projection_non_negative(jax.tree.map(lambda v: v - threshold, x))


def prox_elastic_net(x: PyTree, hyperparams: tuple[Any, Any] | None = None, scaling: Any = 1.0) -> PyTree:
    """Of ``l1 * (|x|_1 + ratio * |x|_2^2 / 2)`` with ``hyperparams = (l1, ratio)``, numbers or pytrees."""
    l1, ratio = (1.0, 1.0) if hyperparams is None else hyperparams
    l1, ratio = (jax.tree.broadcast(v, x) for v in (l1, ratio))
    return convex.ElasticNet(l1, jax.tree.map(lambda a, b: a * b, l1, ratio)).prox(x, scaling)


def prox_group_lasso(x: PyTree, l2reg: Any = 1.0, scaling: Any = 1.0) -> PyTree:
    """Of ``l2reg * |x|_2``."""
    return convex.L2(1.0 if l2reg is None else l2reg).prox(x, scaling)


def prox_ridge(x: PyTree, l2reg: Any = 1.0, scaling: Any = 1.0) -> PyTree:
    """``x / (1 + scaling * l2reg)``: of ``l2reg * |x|_2^2 / 2`` (JAXopt's page leaves out the half)."""
    return tree_scalar_mul(1 / (1 + scaling * (1.0 if l2reg is None else l2reg)), x)


def prox_non_negative_ridge(x: PyTree, l2reg: Any = 1.0, scaling: Any = 1.0) -> PyTree:
    """`prox_ridge` on the nonnegative orthant."""
    return projection_non_negative(prox_ridge(x, l2reg, scaling))


def make_prox_from_projection(projection: Callable[[PyTree, Any], PyTree]) -> Callable[..., PyTree]:
    """A projection with the signature of a proximal map, whose ``scaling`` it ignores."""

    def prox(x: PyTree, hyperparams: Any = None, scaling: Any = 1.0) -> PyTree:
        return projection(x, hyperparams)

    return prox
