"""``jaxopt.projection``: projections as functions of a point and the set's parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax.projections
from jaxtyping import Array, Float, PyTree

from frechet import convex
from frechet.convex.parameters import known
from frechet.convex.polyhedron import project_polyhedron
from frechet.convex.box_section import project_box_section

Pair = tuple[Any, Any]


def projection_non_negative(x: PyTree, hyperparams: Any = None) -> PyTree:
    """Onto the nonnegative orthant."""
    return jax.tree.map(jax.nn.relu, x)


def projection_box(x: PyTree, hyperparams: Pair) -> PyTree:
    """Onto ``lower <= x <= upper``, where ``hyperparams = (lower, upper)``: numbers or pytrees like ``x``."""
    lower, upper = hyperparams
    # As in JAXopt, bounds that contradict each other leave the upper one.
    return jax.tree.map(jnp.clip, x, jax.tree.broadcast(lower, x), jax.tree.broadcast(upper, x))
