"""The Monge gap: how far a map is from moving points at least cost."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.core import lift
from frechet.core.solver import Solver
from frechet.metrics.optimal_value import optimal_value
from frechet.metrics.sinkhorn_divergence import sinkhorn_divergence
from frechet.problems.transport import Transport
from frechet.transport.cost_functions import SquaredEuclidean
from frechet.transport.entropic import Entropic
from frechet.transport.point_cloud import PointCloud


def monge_gap(
    x: Float[Array, "n d"],
    Tx: Float[Array, "n d"],
    *,
    cost: Callable[[Array, Array], Scalar] = SquaredEuclidean(),
    epsilon: Any = 0.05,
    relative: bool = True,
    debiased: bool = False,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> Scalar:
    r"""What a map's moves cost beyond the least cost of moving the points to where they arrive.

    $$\frac1n\sum_i c(x_i, T(x_i)) - W_\varepsilon, \qquad
    W_\varepsilon = \min_{P1 = P^\top 1 = 1/n}\; \langle P, C\rangle - \varepsilon H(P),\quad
    H(P) = -\sum P\log P,\quad C_{ij} = c(x_i, T(x_j)).$$

    Without regularisation it is nonnegative, and zero exactly where the points are moved optimally:
    $T$ is $c$-cyclically monotone on them. With it, it is at least $\varepsilon\log n$, which is what the
    identity has as $\varepsilon \to 0$ and is taken off here: what is left is nonnegative. It is small, not
    zero, for optimal maps, and as a regulariser prefers maps that expand. ``debiased``, with the Sinkhorn
    divergence in the place of $W_\varepsilon$, it does so far less; it may then fall slightly below zero.

    On few points the least cost is an overestimate of that between the measures, and the gap an
    underestimate. Alone it is zero for every constant map, so it regularises a fit and does not replace one.
    Derivatives are taken at a constant plan (envelope theorem).

    Args:
        x: points, shape (n, d).
        Tx: their images in the same order, shape (n, d).
        cost: $c$, a function of two points, such as those of `frechet.transport`.
        epsilon: $\varepsilon > 0$; None for transport without regularisation, by the Hungarian algorithm in
            $O(n^3)$.
        relative: whether ``epsilon`` is in units of the mean cost, a constant for derivatives.
        debiased: whether to use the Sinkhorn divergence; for symmetric costs.
        solver: the problem's default one when left out.
        tol: error of the marginals to reach; the square root of the dtype's epsilon when left out.
        max_steps: most steps to take.

    Returns:
        A scalar in the unit of the cost.

    Raises:
        ValueError: shapes that disagree.

    Source:
        Uscidda, Cuturi 2023, The Monge gap: a regularizer to learn all transport maps, arXiv 2302.04953.

    Example:
        >>> x = jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, -3.0]])
        >>> swapped = x[jnp.array([1, 0, 2])]
        >>> float(monge_gap(x, x + 1.0, epsilon=None)), round(float(monge_gap(x, swapped, epsilon=None)), 3)
        (0.0, 3.333)
        >>> round(float(monge_gap(x, x + 1.0)), 2), round(float(monge_gap(x, swapped)), 2)
        (0.0, 3.33)
    """
    clouds = PointCloud(x, Tx)
    if clouds.x.shape != clouds.y.shape:
        raise ValueError(f"a point has one image each, got {clouds.x.shape} and {clouds.y.shape}")
    if callable(cost):
        cost = lift.lift(cost, clouds.x[0], clouds.y[0], what="cost")
    moved = jnp.mean(jax.vmap(cost)(clouds.x, clouds.y))
    if epsilon is None:
        return moved - _least_cost(PointCloud(clouds.x, clouds.y, cost).matrix())
    if debiased:
        return moved - sinkhorn_divergence(
            clouds.x,
            clouds.y,
            cost=cost,
            epsilon=epsilon,
            relative=relative,
            solver=solver,
            tol=tol,
            max_steps=max_steps,
        )
    problem = Transport(PointCloud(clouds.x, clouds.y, cost), None, None, Entropic(epsilon, relative))
    # Its value is of the entropy relative to uniform weights: 2 epsilon log n above W.
    value = optimal_value(problem, problem.initial(), solver, tol, max_steps).value
    return moved - value + problem.unit * jnp.log(len(clouds.x))


def _least_cost(C: Float[Array, "n n"]) -> Scalar:
    """The mean cost of the best assignment."""
    from optax import assignment

    return jnp.mean(C[assignment.hungarian_algorithm(jax.lax.stop_gradient(C))])
