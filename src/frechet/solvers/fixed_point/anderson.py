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

    Whoever evaluates $T$ himself calls ``begin``, then ``trial`` and ``after`` in turn, which is what
    ``step`` does.

    Args:
        history: how many differences to keep, $m$.
        mixing: $\beta$, the weight of the residual in the trial.
        relaxation: the weight $\alpha$ of the map in a step that is not accelerated, between 0 and 1.
        ridge: the regularisation of the least squares relative to columns of length one; by default the
            square root of the dtype's epsilon.
        period: only every ``period``-th step extrapolates, those between are steps of `KrasnoselskiiMann`,
            from which the memory learns too.

    Source:
        Anderson 1965, Iterative procedures for nonlinear integral equations; Walker, Ni 2011, Anderson
        acceleration for fixed-point iterations; the period: Banerjee, Suryanarayana, Pask 2016, Periodic
        Pulay method for robust and efficient convergence acceleration of self-consistent field iterations,
        arXiv 1512.01604; the safeguard: Zhang, O'Donoghue, Boyd 2018, Globally
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
    period: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if self.history < 1:
            raise ValueError(f"history must be at least 1, got {self.history}")
        if self.period < 1:
            raise ValueError(f"period must be at least 1, got {self.period}")

    def init(self, problem: FixedPoint, x0: PyTree[Array], *, key: PRNGKeyArray) -> AndersonState:
        return self.begin(x0, problem.apply(x0))

    def step(self, problem: FixedPoint, state: AndersonState, *, key: PRNGKeyArray) -> AndersonState:
        y = self.trial(state)
        return self.after(state, y, problem.apply(y))

    def begin(self, x0: PyTree[Array], image: PyTree[Array]) -> AndersonState:
        """The state at a start ``x0`` with ``image`` $= T(x_0)$."""
        g = _difference(image, x0)
        columns = jnp.zeros((g.size, self.history), g.dtype)
        zero = jnp.zeros((), jnp.int32)
        plain = jnp.asarray(self.period > 1)
        return AndersonState(x0, Calls().add(value=1), g, columns, columns, zero, zero, tree.norm(g), plain)

    def trial(self, state: AndersonState) -> PyTree[Array]:
        """The point $y$ to evaluate $T$ at next."""
        x, unravel = ravel_pytree(state.x)
        beta, alpha = (jnp.asarray(v, x.dtype) for v in (self.mixing, self.relaxation))
        gamma = _coefficients(state.dg, state.g, self.ridge)
        ahead = x + beta * state.g - (state.dx + beta * state.dg) @ gamma
        return unravel(jnp.where(state.plain, x + alpha * state.g, ahead))

    def after(self, state: AndersonState, y: PyTree[Array], image: PyTree[Array]) -> AndersonState:
        """The state after a trial ``y`` with ``image`` $= T(y)$, be it taken or dropped."""
        x, unravel = ravel_pytree(state.x)
        at, g, gy = ravel_pytree(y)[0], state.g, _difference(image, y)
        # A plain step needs no test; NaN fails every comparison, so a trial outside T's domain is dropped.
        allowed = GROWTH * state.first * (state.accelerated + 1.0) ** -(1 + DECAY)
        safe = (tree.norm(gy) <= allowed) & (tree.norm(at - x) <= LENGTH * tree.norm(g))
        taken = state.plain | safe
        slot = state.count % self.history
        dx, dg = (m.at[:, slot].set(new - old) for m, new, old in ((state.dx, at, x), (state.dg, gy, g)))
        count = jnp.where(taken, state.count + 1, 0)
        return AndersonState(
            x=unravel(jnp.where(taken, at, x)),
            calls=state.calls.add(value=1, factorisation=1),
            g=jnp.where(taken, gy, g),
            dx=jnp.where(taken, dx, 0),
            dg=jnp.where(taken, dg, 0),
            count=count,
            accelerated=state.accelerated + (safe & ~state.plain),
            first=state.first,
            plain=~taken | ((count + 1) % self.period != 0),
        )


def _difference(a: PyTree[Array], b: PyTree[Array]) -> Float[Array, " n"]:
    return ravel_pytree(tree.subtract(a, b))[0]


def _coefficients(columns: Array, g: Array, ridge: float | None) -> Array:
    """Least squares by QR with columns of length one and a ridge below them; unused columns get zero."""
    eps = jnp.finfo(g.dtype).eps
    square = jnp.sum(jnp.abs(columns) ** 2, axis=0)
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    size = columns.shape[1]
    weight = jnp.asarray(eps**0.5 if ridge is None else ridge, g.dtype)
    stacked = jnp.concatenate([columns / length, weight * jnp.eye(size, dtype=g.dtype)])
    right = jnp.concatenate([g, jnp.zeros(size, g.dtype)])
    found = lx.linear_solve(lx.MatrixLinearOperator(stacked), right, lx.QR(), throw=False).value
    return found / length
