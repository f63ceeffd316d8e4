"""Sorting and ranking through entropic transport to an ordered grid."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import float_array, norm
from frechet.core.solve import solve
from frechet.core.solver import Solver
from frechet.problems.transport import Transport
from frechet.transport.entropic import Entropic
from frechet.transport.point_cloud import PointCloud


def soft_sort(
    x: Float[Array, " n"],
    levels: Float[Array, " m"] | None = None,
    *,
    epsilon: Any = 0.01,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> Float[Array, " m"]:
    r"""The entries of ``x`` in rising order, smoothed: every result is a mean of entries.

    Entries, brought into $(0, 1)$ by a sigmoid of their standardised values, are transported to a regular
    grid of $m$ points with the entropic plan $P$; entry $j$ of the result is $\sum_i P_{ij} x_i / b_j$. It
    tends to the sorted vector as $\varepsilon \to 0$ and to the mean as $\varepsilon \to \infty$.

    Derivatives come from the implicit function theorem. Unlike those of the projections onto the
    permutahedron (`frechet.convex.isotonic_l2`), which are exact, piecewise linear and take $O(n\log n)$,
    these are smooth everywhere, and ``levels`` may ask for a few quantiles only.

    Args:
        x: entries, shape (n,); ``jax.vmap`` does many at once.
        levels: weights $b$ of the places, positive, of sum 1: the j-th result stands for this share of the
            entries, so ``[0.45, 0.1, 0.45]`` has a soft median in its middle. As many equal ones as there
            are entries when left out.
        epsilon: $\varepsilon > 0$, beside squared distances on the unit interval.
        solver: of the transport problem; Sinkhorn's algorithm when left out.
        tol: residual to reach; the square root of the dtype's epsilon when left out.
        max_steps: most steps to take.

    Returns:
        A vector, shape (m,).

    Raises:
        ValueError: ``x`` is no vector of at least two entries, or the levels are not positive.

    Source: Cuturi, Teboul, Vert 2019, Differentiable ranking and sorting using optimal transport,
    arXiv 1905.11885.

    Example:
        >>> soft_sort(jnp.array([3.0, 1.0, 2.0]), epsilon=1e-3).round(2)
        Array([1., 2., 3.], dtype=float32)
    """
    return _projected(float_array(x), levels, None, (epsilon, solver, tol), max_steps)


def soft_rank(
    x: Float[Array, " n"],
    *,
    epsilon: Any = 0.01,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> Float[Array, " n"]:
    r"""The rank of every entry, 0 for the smallest, smoothed: a mean of ranks.

    As `soft_sort`, with the rows of the same plan: $n\sum_j P_{ij} j$.

    Args:
        x: entries, shape (n,).
        epsilon: $\varepsilon > 0$, beside squared distances on the unit interval.
        solver: of the transport problem; Sinkhorn's algorithm when left out.
        tol: residual to reach; the square root of the dtype's epsilon when left out.
        max_steps: most steps to take.

    Returns:
        A vector, shape (n,), of sum $n(n-1)/2$.

    Raises:
        ValueError: ``x`` is no vector of at least two entries.

    Source: as `soft_sort`.

    Example:
        >>> soft_rank(jnp.array([3.0, 1.0, 2.0]), epsilon=1e-3).round(2)
        Array([2., 0., 1.], dtype=float32)
    """
    x = float_array(x)
    return _projected(x, None, jnp.arange(x.size, dtype=x.dtype), (epsilon, solver, tol), max_steps)


def _projected(x: Array, levels: Any, ranks: Array | None, how: tuple, max_steps: int) -> Array:
    if x.ndim != 1 or x.size < 2:
        raise ValueError(f"x is a vector of at least two entries, got shape {x.shape}; jax.vmap does many")
    epsilon, solver, tol = how
    m = x.size if levels is None else jnp.size(levels)
    off = x - jnp.mean(x)
    spread = norm(off) / x.size**0.5
    places = jax.nn.sigmoid(off / jnp.where(spread > 0, spread, 1))[:, None]
    grid = jnp.linspace(0, 1, m, dtype=x.dtype)[:, None]
    problem = Transport(PointCloud(grid, places), levels, None, Entropic(epsilon, relative=False))
    return _pushed(problem, x, ranks, solver, tol, max_steps)


@eqx.filter_jit
def _pushed(
    problem: Transport, x: Array, ranks: Array | None, solver: Solver | None, tol: Any, max_steps: int
) -> Array:
    solved = solve(problem, problem.initial(), solver, tol=tol, max_steps=max_steps).x
    if ranks is None:
        return problem.push(solved, x)
    P = problem.plan(solved)
    return ranks @ P / jnp.sum(P, 0)
