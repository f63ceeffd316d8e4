"""Sinkhorn's algorithm in the log domain."""

from typing import ClassVar

from jaxtyping import PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport


class Sinkhorn(Solver):
    r"""Sinkhorn's algorithm: the best potentials of one side for those of the other, in turn.

    Source:
        Sinkhorn, Knopp 1967, Concerning nonnegative matrices and doubly stochastic matrices; Cuturi 2013,
        Sinkhorn distances: lightspeed computation of optimal transport, arXiv 1306.0895.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Transport(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> bool(fr.solve(problem, problem.initial(), Sinkhorn()).status.converged)
        True
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"best f", "best g"})

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> State:
        return State(x0, Calls())

    def step(self, problem: Transport, state: State, *, key: PRNGKeyArray) -> State:
        f = problem.best_f(state.x.g)
        return State(problem.centred(Potentials(f, problem.best_g(f))), state.calls.add(matvec=2))
