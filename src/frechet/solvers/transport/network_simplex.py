"""Transport without regularisation, by POT's network simplex."""

import functools
import importlib
import importlib.util
import warnings
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.wrappers.crossing import crossing


class NetworkSimplex(Solver):
    r"""The network simplex method: a plan at a vertex and potentials that prove it optimal, in one step.

    It runs on the host, in POT, in double precision: $O(n^3 \log n)$ operations for $n$ points a side as a
    rule, a second for a few thousand. The potentials are completed by $g_j = \min_i C_{ij} - f_i$ and
    $f_i = \min_j C_{ij} - g_j$, so that $f_i + g_j \le C_{ij}$ holds everywhere, with equality where there
    is mass.

    The plan has at most $m + n - 1$ positive entries. Where it has as many, potentials are unique, and the
    solution has derivatives: of the plan with respect to the weights, of the potentials with respect to the
    costs. Where it has fewer, as in matchings of equal weights, only the plan and the cost's derivative with
    respect to costs mean something. Gradients of the least cost need neither; see `frechet.metrics`.

    Args:
        max_pivots: after as many the plan at hand is returned.

    Source: Bonneel, van de Panne, Paris, Heidrich 2011, Displacement interpolation using Lagrangian mass
    transport, ACM Transactions on Graphics 30; Flamary et al. 2021, POT: Python optimal transport, Journal of
    Machine Learning Research 22.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 1.0], [1.0, 3.0]])
        >>> problem = fr.Transport(C, jnp.array([0.75, 0.25]), regulariser=None)
        >>> fr.solve(problem, problem.initial(), NetworkSimplex()).x.plan.tolist()
        [[0.25, 0.5], [0.25, 0.0]]
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"linear program"})
    check_every: ClassVar[int] = 1

    max_pivots: int = eqx.field(default=1_000_000, static=True)

    def fits(self, problem: Problem) -> str | None:
        if importlib.util.find_spec("ot") is None:
            return 'needs POT: pip install "frechet[transport]"'
        return super().fits(problem)

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> State:
        return State(x0, Calls())

    def step(self, problem: Transport, state: State, *, key: PRNGKeyArray) -> State:
        form: Any = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), state.x)
        call = functools.partial(jax.pure_callback, vmap_method="sequential")
        host = functools.partial(_solved, max_pivots=self.max_pivots)
        x = crossing(call, host, form, problem.cost.matrix(), problem.a, problem.b)
        return State(problem.centred(x), state.calls.add(linear_min=1))

    def diagnosis(self, problem: Transport, state: State) -> Int[Array, ""]:
        barred = jnp.any((problem.plan(state.x) > 0) & jnp.isposinf(problem.cost.matrix()))
        return jnp.where(barred, Ending.INFEASIBLE, Ending.RUNNING).astype(jnp.int32)


def pot() -> Any:
    """POT, imported without a word about what it finds on its way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("ot")


def _solved(C: Any, a: Any, b: Any, max_pivots: int) -> Potentials:
    """Plan and potentials on the host; NaN where the data are not numbers."""
    given = C.dtype
    C, a, b = (np.asarray(v, np.float64) for v in (C, a, b))
    barred = np.isposinf(C)
    if not all(np.all(np.isfinite(v)) for v in (C[~barred], a, b)) or min(a.min(), b.min()) < 0:
        nothing: Any = (np.full(s, np.nan, given) for s in (a.shape, b.shape, C.shape))
        return Potentials(*nothing)
    if barred.any():
        # Enough that no detour over other pairs costs as much.
        allowed = C[~barred]
        high, low = np.max(allowed, initial=0.0), np.min(allowed, initial=0.0)
        C = np.where(barred, high + sum(C.shape) * (high - low + 1), C)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it could not do the residual says
        # In float32 neither weights sum to exactly one.
        plan, log = pot().emd(a / a.sum(), b / b.sum(), C, max_pivots, log=True)
    g = np.min(C - log["u"][:, None], 0)
    f = np.min(C - g, 1)
    found: Any = (v.astype(given) for v in (f, g, plan))
    return Potentials(*found)
