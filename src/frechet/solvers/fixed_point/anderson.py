"""Anderson acceleration of a fixed-point iteration, safeguarded."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import FixedPoint

# The safeguard: the residual after n accelerated steps is at most GROWTH |g_0| (n + 1)^-(1 + DECAY), and a
# step is no longer than LENGTH |g|. Loose, because only summability matters.
GROWTH, DECAY, LENGTH = 100.0, 0.1, 1e4


class AndersonState(State):
    """``g`` is $T(x) - x$; ``dx`` and ``dg`` hold the last differences, a column each, zero where unused."""

    g: Float[Array, " n"]
    dx: Float[Array, "n history"]
    dg: Float[Array, "n history"]
    count: Int[Array, ""]
    accelerated: Int[Array, ""]
    first: Scalar
    plain: Bool[Array, ""]


class Anderson(Solver):
    r"""Extrapolates from the last iterates of $x \leftarrow T(x)$ (type II), with a safeguard.

    With $g = T(x) - x$ and the last $m$ differences $\Delta X$, $\Delta G$ of $x$ and $g$ it tries

    $$y = x + \beta g - (\Delta X + \beta\,\Delta G)\,\gamma, \qquad
      \gamma = \arg\min_\gamma \|g - \Delta G\,\gamma\|^2 + \text{ridge}.$$

    The trial is taken where its residual is at most $D\|g_0\|(n+1)^{-(1+\epsilon)}$ after $n$ accelerated
    steps and its length at most $C\|g\|$. Otherwise it is dropped with the memory, and the next step is that
    of `KrasnoselskiiMann` from the same point. Accelerated steps then move $x$ by a summable amount in all,
    so convergence for every nonexpansive $T$ with a fixed point is kept, by the argument of the reference for
    its type-I method. A step, accepted or not, costs one evaluation of $T$ and one QR factorisation of size
    $n \times m$; another evaluation comes at the start.

    Args:
        history: how many differences to keep, $m$.
        mixing: $\beta$, the weight of the residual in the trial.
        relaxation: the weight $\alpha$ of the map in a step that is not accelerated, between 0 and 1.
        ridge: the regularisation of the least squares relative to columns of length one; by default the
            square root of the dtype's epsilon.

    Source:
        Anderson 1965, Iterative procedures for nonlinear integral equations; Walker, Ni 2011, Anderson
        acceleration for fixed-point iterations; the safeguard: Zhang, O'Donoghue, Boyd 2018, Globally
        convergent type-I Anderson acceleration for non-smooth fixed-point iterations,
        arXiv 1808.03971, algorithm 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> solution = fr.solve(fr.FixedPoint(jnp.cos), jnp.zeros(3), Anderson(), tol=1e-6)
        >>> solution.x.round(4).tolist(), int(solution.steps) <= 10
        ([0.7390999794006348, 0.7390999794006348, 0.7390999794006348], True)
    """

    accepts: ClassVar[type] = FixedPoint
    check_every: ClassVar[int] = 5
    history: int = eqx.field(default=5, static=True)
    mixing: float = 1.0
    relaxation: float = 0.5
    ridge: float | None = None

    def __check_init__(self):
        if self.history < 1:
            raise ValueError(f"history must be at least 1, got {self.history}")

    def init(self, problem: FixedPoint, x0: PyTree[Array], *, key: PRNGKeyArray) -> AndersonState:
        g = _residual(problem, x0)
        columns = jnp.zeros((g.size, self.history), g.dtype)
        zero = jnp.zeros((), jnp.int32)
        first = tree.norm(g)
        return AndersonState(
            x0, Calls().add(value=1), g, columns, columns, zero, zero, first, jnp.asarray(False)
        )

    def step(self, problem: FixedPoint, state: AndersonState, *, key: PRNGKeyArray) -> AndersonState:
        x, unravel = ravel_pytree(state.x)
        g, dtype = state.g, x.dtype
        beta = jnp.asarray(self.mixing, dtype)
        gamma = _coefficients(state.dg, g, self.ridge)
        ahead = x + beta * g - (state.dx + beta * state.dg) @ gamma
        y = jnp.where(state.plain, x + jnp.asarray(self.relaxation, dtype) * g, ahead)
        gy = _residual(problem, unravel(y))

        # A plain step needs no test; NaN fails every comparison, so a trial outside T's domain is dropped.
        allowed = GROWTH * state.first * (state.accelerated + 1.0) ** -(1 + DECAY)
        safe = (tree.norm(gy) <= allowed) & (tree.norm(y - x) <= LENGTH * tree.norm(g))
        taken = state.plain | safe
        slot = state.count % self.history
        dx, dg = (m.at[:, slot].set(new - old) for m, new, old in ((state.dx, y, x), (state.dg, gy, g)))
        return AndersonState(
            x=unravel(jnp.where(taken, y, x)),
            calls=state.calls.add(value=1, factorisation=1),
            g=jnp.where(taken, gy, g),
            dx=jnp.where(taken, dx, 0),
            dg=jnp.where(taken, dg, 0),
            count=jnp.where(taken, state.count + 1, 0),
            accelerated=state.accelerated + (safe & ~state.plain),
            first=state.first,
            plain=~taken,
        )


def _residual(problem: FixedPoint, x: PyTree[Array]) -> Float[Array, " n"]:
    return ravel_pytree(tree.subtract(problem.apply(x), x))[0]


def _coefficients(columns: Array, g: Array, ridge: float | None) -> Array:
    """Least squares by QR with columns of length one and a ridge below them; unused columns get zero."""
    eps = jnp.finfo(g.dtype).eps
    length = jnp.linalg.norm(columns, axis=0)
    length = jnp.where(length > 0, length, 1)
    size = columns.shape[1]
    weight = jnp.asarray(eps**0.5 if ridge is None else ridge, g.dtype)
    stacked = jnp.concatenate([columns / length, weight * jnp.eye(size, dtype=g.dtype)])
    right = jnp.concatenate([g, jnp.zeros(size, g.dtype)])
    found = lx.linear_solve(lx.MatrixLinearOperator(stacked), right, lx.QR(), throw=False).value
    return found / length
