"""``jaxopt.projection``: projections as functions of a point and the set's parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from frechet import convex
from frechet.compat.jaxopt.tree_util import tree_l2_norm, tree_scalar_mul
from frechet.convex.box_section import project_box_section
from frechet.convex.parameters import floating, known
from frechet.convex.polyhedron import project_polyhedron
from frechet.convex.simplex import project_simplex
from frechet.convex.sparse_simplex import project_sparse_simplex

Vec = Float[Array, " n"]
Matrix = Float[Array, "m n"]


def projection_non_negative(x: PyTree, hyperparams: Any = None) -> PyTree:
    """Onto the nonnegative orthant; the derivative at zero is zero."""
    return jax.tree.map(jax.nn.relu, x)


def projection_box(x: PyTree, hyperparams: tuple[Any, Any]) -> PyTree:
    """Onto ``lower <= x <= upper`` with ``hyperparams = (lower, upper)``, numbers or pytrees like ``x``."""
    return convex.Box(*hyperparams).prox(x, 1.0)


def projection_hypercube(x: PyTree, unit: Any = 1.0) -> PyTree:
    """Onto ``0 <= x <= unit``."""
    return projection_box(x, (0.0, unit))


def projection_simplex(x: Vec, value: Any = 1.0) -> Vec:
    """Onto the nonnegative vectors of sum ``value``."""
    x = floating(x)
    return project_simplex(x, jnp.asarray(1.0 if value is None else value, x.dtype))


def projection_sparse_simplex(x: Vec, max_nz: int, use_approx_max_nz: bool = False, value: Any = 1.0) -> Vec:
    """Onto the vectors of the simplex with at most ``max_nz`` nonzero entries.

    The largest entries are found exactly; ``use_approx_max_nz`` is taken and changes nothing.
    """
    x = floating(x)
    return project_sparse_simplex(x, max_nz, jnp.asarray(1.0 if value is None else value, x.dtype))


def projection_l1_sphere(x: Vec, value: Any = 1.0) -> Vec:
    """Onto the vectors of l1 norm ``value``."""
    return jnp.sign(x) * projection_simplex(jnp.abs(x), value)


def projection_l1_ball(x: Vec, max_value: Any = 1.0) -> Vec:
    """Onto the vectors of l1 norm at most ``max_value``."""
    return convex.L1Ball(max_value).prox(x, 1.0)


def projection_l2_sphere(x: PyTree, value: Any = 1.0) -> PyTree:
    """Onto the pytrees of l2 norm ``value``."""
    return tree_scalar_mul(value / tree_l2_norm(x), x)


def projection_l2_ball(x: PyTree, max_value: Any = 1.0) -> PyTree:
    """Onto the pytrees of l2 norm at most ``max_value``."""
    return convex.L2Ball(max_value).prox(x, 1.0)


def projection_linf_ball(x: PyTree, max_value: Any = 1.0) -> PyTree:
    """Onto the pytrees whose entries have modulus at most ``max_value``."""
    return convex.LinfBall(max_value).prox(x, 1.0)


def projection_hyperplane(x: PyTree, hyperparams: tuple[Any, Any]) -> PyTree:
    """Onto ``<a, x> = b`` with ``hyperparams = (a, b)``."""
    return convex.Hyperplane(*hyperparams).prox(x, 1.0)


def projection_halfspace(x: PyTree, hyperparams: tuple[Any, Any]) -> PyTree:
    """Onto ``<a, x> <= b`` with ``hyperparams = (a, b)``."""
    return convex.Halfspace(*hyperparams).prox(x, 1.0)


def projection_affine_set(x: Vec, hyperparams: tuple[Matrix, Vec]) -> Vec:
    """Onto ``A x = b`` with ``hyperparams = (A, b)``."""
    return convex.AffineSet(*hyperparams).prox(x, 1.0)


def projection_polyhedron(
    x: Vec, hyperparams: tuple[Matrix, Vec, Matrix, Vec], check_feasible: bool = True
) -> Vec:
    """Onto ``A x = b, G x <= h`` with ``hyperparams = (A, b, G, h)``.

    Raises:
        ValueError: with ``check_feasible``, a set that is empty; never under jit, which it works under.
    """
    polyhedron = convex.Polyhedron(*hyperparams)
    if check_feasible:
        return polyhedron.prox(x, 1.0)
    return project_polyhedron(jnp.asarray(x), *polyhedron.system(jnp.asarray(x)))


def projection_box_section(
    x: Vec, hyperparams: tuple[Any, Any, Any, Any], check_feasible: bool = False
) -> Vec:
    """Onto ``alpha <= p <= beta, <w, p> = c`` with ``hyperparams = (alpha, beta, w, c)``; ``w`` of any signs.

    Raises:
        ValueError: with ``check_feasible``, a set that is empty.
    """
    x = floating(x)
    alpha, beta, w = (jnp.broadcast_to(jnp.asarray(v, x.dtype), x.shape) for v in hyperparams[:3])
    c = jnp.asarray(hyperparams[3], x.dtype)
    if check_feasible and known(alpha, beta, w, c):
        if np.dot(w, alpha) > c:
            raise ValueError("alpha should satisfy dot(w, alpha) <= c")
        if np.dot(w, beta) < c:
            raise ValueError("beta should satisfy dot(w, beta) >= c")
    return project_box_section(x, alpha, beta, w, c)


def projection_transport(
    sim_matrix: Matrix,
    marginals: tuple[Vec, Vec],
    make_solver: Callable | None = None,
    use_semi_dual: bool = True,
) -> Matrix:
    """Onto the matrices with row and column sums ``marginals``; see `frechet.convex.TransportPolytope`.

    The projection is exact, so ``make_solver`` and ``use_semi_dual`` are taken and change nothing.
    """
    return convex.TransportPolytope(*_vectors(marginals)).prox(sim_matrix, 1.0)


def kl_projection_transport(
    sim_matrix: Matrix,
    marginals: tuple[Vec, Vec],
    make_solver: Callable | None = None,
    use_semi_dual: bool = True,
) -> Matrix:
    """As `projection_transport`, of ``exp(sim_matrix)`` in the Kullback-Leibler divergence."""
    return convex.kl_project_transport(jnp.asarray(sim_matrix), *_vectors(marginals))


def projection_birkhoff(
    sim_matrix: Matrix, make_solver: Callable | None = None, use_semi_dual: bool = True
) -> Matrix:
    """Onto the doubly stochastic matrices."""
    return convex.BirkhoffPolytope().prox(sim_matrix, 1.0)


def kl_projection_birkhoff(
    sim_matrix: Matrix, make_solver: Callable | None = None, use_semi_dual: bool = True
) -> Matrix:
    """Of ``exp(sim_matrix)`` onto the doubly stochastic matrices, in the Kullback-Leibler divergence."""
    return convex.kl_project_birkhoff(jnp.asarray(sim_matrix))


def _vectors(marginals: tuple[Any, Any]) -> tuple[Array, Array]:
    a, b = (jnp.asarray(v) for v in marginals)
    for name, v in (("marginals_a", a), ("marginals_b", b)):
        if v.ndim != 1:
            raise ValueError(f"{name} should be a vector, got shape {v.shape}")
    return a, b
