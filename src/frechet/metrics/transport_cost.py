"""The cost of optimal transport, with how far it can be trusted."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Scalar

from frechet.core.solver import Solver
from frechet.core.status import Status
from frechet.metrics.optimal_value import optimal_value
from frechet.problems.transport import Potentials, Report, Transport
from frechet.transport.entropic import Entropic
from frechet.transport.ground_cost import GroundCost
from frechet.transport.regulariser import Regulariser


class TransportCost(eqx.Module):
    r"""What `transport_cost` returns. Of its parts ``value`` has derivatives; the others are constants.

    Attributes:
        value: the dual value of the potentials, a lower bound of the regularised optimum: with `Entropic`,
            of $\langle P, C\rangle + \varepsilon\,\mathrm{KL}(P|ab^\top)$.
        transport_cost: $\langle P, C\rangle$ of a plan that has the prescribed marginals.
        duality_gap: how far ``value`` is at most below the optimum, and that plan's objective above it.
        marginal_error: how far the plan of the potentials is from its marginals, in $\ell_1$.
        potentials: the dual potentials; `Transport.plan` makes a plan of them.
        status: how the solve ended.
        steps: how many steps it took.
    """

    value: Scalar
    transport_cost: Scalar
    duality_gap: Scalar
    marginal_error: Scalar
    potentials: Potentials
    status: Status
    steps: Int[Array, "*batch"]


def transport_cost(
    cost: GroundCost | Float[Array, "m n"],
    a: Float[Array, " m"] | None = None,
    b: Float[Array, " n"] | None = None,
    regulariser: Regulariser | None = Entropic(),
    *,
    unbalanced: Any = None,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> TransportCost:
    r"""What it costs to move mass from sources to targets, as `fr.Transport` has it.

    The value's derivatives, in points, weights, costs and strengths, are partial ones at constant
    potentials (envelope theorem): the plan for the cost, potentials for the weights. They take a pass over
    the cost and no linear solve; second derivatives are right as well. For derivatives of
    $\langle P, C\rangle$ or of the plan solve `fr.Transport` itself, whose solutions are differentiable.

    Conventions differ by constants: against regularisation by $-\varepsilon H(P)$ the value is
    $\varepsilon(H(a) + H(b))$ higher, with $H(a) = -\sum a\log a$ and the same plan.

    Args:
        cost: a matrix of costs, shape (m, n), or a ground cost such as `frechet.transport.PointCloud`.
        a: weights of the sources, positive; uniform when left out.
        b: those of the targets.
        regulariser: as of `fr.Transport`; None for exact transport.
        unbalanced: likewise.
        solver: how to solve it; the problem's default when left out.
        tol: residual to reach; the square root of the dtype's epsilon when left out.
        max_steps: most steps to take.

    Returns:
        A `TransportCost`, in units of the cost.

    Raises:
        ValueError: as `fr.Transport`.

    Source: Peyré, Cuturi 2019, Computational optimal transport, arXiv 1803.00567, sections 4.4 and 9.1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> C = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> found = transport_cost(C, jnp.array([0.75, 0.25]), regulariser=Entropic(0.01))
        >>> found.transport_cost.round(3), bool(found.duality_gap < 1e-3)
        (Array(0.5, dtype=float32), True)
        >>> jax.grad(lambda C: transport_cost(C).value)(C).round(3).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    problem = Transport(cost, a, b, regulariser, unbalanced=unbalanced)
    best = optimal_value(problem, problem.initial(), solver, tol, max_steps)
    worth = _report(jax.lax.stop_gradient((problem.lifted(best.x), best.x)))
    return TransportCost(
        best.value,
        worth.transport_cost,
        worth.duality_gap,
        worth.marginal_error,
        best.x,
        best.status,
        best.steps,
    )


@eqx.filter_jit
def _report(solved: tuple[Transport, Potentials]) -> Report:
    problem, x = solved
    return Transport.report(problem, x)
