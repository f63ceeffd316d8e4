"""The Sinkhorn divergence between two clouds of points."""

from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from frechet.core import lift
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.metrics.optimal_value import optimal_value
from frechet.problems.transport import Potentials, Transport
from frechet.transport.cost_functions import SquaredEuclidean
from frechet.transport.entropic import Entropic
from frechet.transport.point_cloud import PointCloud


def sinkhorn_divergence(
    x: Float[Array, "m d"],
    y: Float[Array, "n d"],
    a: Float[Array, " m"] | None = None,
    b: Float[Array, " n"] | None = None,
    *,
    cost: Callable[[Array, Array], Scalar] = SquaredEuclidean(),
    epsilon: Any = 0.05,
    relative: bool = True,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> Scalar:
    r"""How far two clouds of weighted points are apart: entropic transport without its bias.

    $$S_\varepsilon = \mathrm{OT}_\varepsilon\big((x, a), (y, b)\big)
    - \tfrac12\mathrm{OT}_\varepsilon\big((x, a), (x, a)\big)
    - \tfrac12\mathrm{OT}_\varepsilon\big((y, b), (y, b)\big),$$

    with $\mathrm{OT}_\varepsilon$ the least $\langle P, C\rangle + \varepsilon\,\mathrm{KL}(P|ab^\top)$ and
    the same $\varepsilon$ in all three. For costs $\|x-y\|^p$, $0 < p \le 2$, it is nonnegative, zero only
    where the measures agree and convex in each; it goes from the transport cost ($\varepsilon \to 0$) to half
    an energy distance ($\varepsilon \to \infty$). It knows neither order nor number of points.

    First derivatives, in points, weights and what ``cost`` captured, are taken at constant potentials
    (envelope theorem): they cost a pass over each cost and no linear solve. Second derivatives are right as
    well, by the implicit function theorem; where $\varepsilon$ is so small that a cloud falls apart into
    points that exchange no mass they need double precision, and a `DerivativeWarning` says so. The terms of
    a cloud with itself are solved by averaged symmetric steps, one pass each, of which a dozen or two do.

    Args:
        x: a cloud, a row a point, shape (m, d).
        y: the other, shape (n, d), of the same dtype.
        a: weights of the points of ``x``, positive and of sum 1; uniform when left out.
        b: those of ``y``.
        cost: a symmetric function of two points, such as those of `frechet.transport`.
        epsilon: $\varepsilon > 0$.
        relative: whether ``epsilon`` is in units of the mean cost between the clouds, taken for a constant
            in derivatives. For a loss that keeps its meaning while clouds move give units of the cost.
        solver: of the term between the clouds; the problem's default one when left out.
        tol: error of the marginals to reach; of potentials with a smaller one the value's error is of second
            order. Left out, the square root of the dtype's epsilon.
        max_steps: most steps for each term.

    Returns:
        A scalar in the unit of the cost. A derivative of solves that did not converge issues a
        `DerivativeWarning`; `frechet.metrics.transport_cost` tells how far a value can be trusted.

    Raises:
        ValueError: shapes that disagree, weights that are not positive, or an ``epsilon`` too small for the
            dtype.

    Source:
        Genevay, Peyré, Cuturi 2018, Learning generative models with Sinkhorn divergences, arXiv 1706.00292;
        Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré 2019, Interpolating between optimal transport and MMD
        using Sinkhorn divergences, arXiv 1810.08278.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> sinkhorn_divergence(x, x + 2.0).round(3)
        Array(8., dtype=float32)
    """
    clouds = PointCloud(x, y)
    if callable(cost):
        cost = lift.lift(cost, clouds.x[0], clouds.y[0], what="cost")
    between = Transport(PointCloud(clouds.x, clouds.y, cost), a, b, Entropic(epsilon, relative))
    value = optimal_value(between, between.initial(), solver, tol, max_steps).value
    for points, weights in ((clouds.x, between.a), (clouds.y, between.b)):
        within = Transport(PointCloud(points, cost=cost), weights, weights, between.regulariser)
        value = value - optimal_value(within, within.initial(), _Averaged(), tol, max_steps).value / 2
    return value


class _Averaged(Solver):
    """Sinkhorn steps for a measure against itself, whose two potentials are one and the same.

    Undamped steps would go past the solution and back; the mean of the old and the new potential does not.
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"best f"})
    check_every: ClassVar[int] = 4

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> State:
        return State(x0, Calls())

    def step(self, problem: Transport, state: State, *, key: PRNGKeyArray) -> State:
        f = (state.x.f + problem.best_f(state.x.f)) / 2
        return State(Potentials(f, f), state.calls.add(matvec=1))
