"""SABA: SOBA's directions with a memory of each batch, which takes their variance away."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched, as_numbers_of
from frechet.solvers.bilevel.batches import charge
from frechet.solvers.bilevel.directions import Inner, directions, inner_parts
from frechet.solvers.bilevel.lower_step import lower_step, shortened, step_or_none
from frechet.solvers.stochastic.sampling import check_batch_size

# Of SAGA: steps are a third of one over the curvature.
_SHARE = 3.0


class Memory(eqx.Module):
    """What was last seen of each batch, along a leading axis, and the mean of that."""

    table: PyTree[Array]
    mean: PyTree[Array]

    @staticmethod
    def zeros(batches: int, like: PyTree[Array]) -> "Memory":
        """Nothing seen yet."""
        table = jax.tree.map(lambda v: jnp.zeros((batches, *v.shape), v.dtype), like)
        return Memory(table, jax.tree.map(jnp.zeros_like, like))

    def corrected(self, new: PyTree[Array], k: Int[Array, ""]) -> tuple[PyTree[Array], "Memory"]:
        """The mean estimated from what batch ``k`` is now, without bias; and the memory of it."""
        change = jax.tree.map(lambda u, v: u - v[k], new, self.table)
        batches = jax.tree.leaves(self.table)[0].shape[0]
        table = jax.tree.map(lambda v, u: v.at[k].set(u), self.table, new)
        return tree.axpy(1.0, change, self.mean), Memory(table, tree.axpy(1 / batches, change, self.mean))


class SABAState(State):
    """``adjoint`` is $v$, ``rate`` the lower step size; a memory for either level."""

    adjoint: PyTree[Array]
    rate: Scalar
    inner: Memory
    outer: Memory


class SABA(Batched):
    r"""Stochastic average bilevel algorithm: `SOBA` with SAGA's correction of each of its five sums.

    The terms of either level are split into batches of neighbours. Of a batch $k$ drawn uniformly the new
    part $\varphi_k$ (one of $\nabla_y g$, $\nabla^2_{yy} g\,v$, $\nabla^2_{xy} g\,v$, $\nabla_y f$,
    $\nabla_x f$) is compared with the one remembered, $\bar\varphi_k$, and

    $$\varphi_k - \bar\varphi_k + \frac1m\sum_i \bar\varphi_i, \qquad \bar\varphi_k \leftarrow \varphi_k$$

    replaces the sum in SOBA's directions. Steps stay constant: linear convergence where $\Phi$ satisfies a
    Polyak-Łojasiewicz inequality, else $O((n + m)^{2/3}\varepsilon^{-1})$ gradients of terms to
    $\|\nabla\Phi\|^2\le\varepsilon$. A step costs what one of SOBA does. The memory starts at zero and takes
    the room of $y$ twice and $x$ for each batch of $g$, of $y$ and $x$ for each of $f$.

    Args:
        lower_step: $r$; left out, a third of one over the largest eigenvalue of $\nabla^2_{yy} g$, estimated
            at the start and revised whenever a product of a batch shows a larger one.
        outer_step: $q$; the default suits hyperobjectives with second derivatives of the order of one.
        batch_size: terms a batch; has to divide how many terms either level has.

    Source:
        Dagréou, Ablin, Vaiter, Moreau 2022, A framework for bilevel optimization that enables stochastic and
        global variance reduction algorithms, arXiv 2201.13409.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> outer, inner = jnp.array([0.0, 2.0]), jnp.array([-0.5, 0.5])
        >>> fit = lambda x, y, d: (y - d) ** 2 + x**2
        >>> problem = fr.FiniteSumBilevel(fit, lambda x, y, d: (y - x - d) ** 2, outer, inner)
        >>> solution = fr.solve(problem, (jnp.array(0.0), jnp.array(0.0)), SABA(), tol=1e-4)
        >>> round(float(solution.x.upper), 3)
        0.5
    """

    check_every: ClassVar[int] = 50
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer_step: float | Scalar = 0.05
    batch_size: int = eqx.field(default=1, static=True, kw_only=True)

    def __check_init__(self):
        check_batch_size(self.batch_size)

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason is None:
            counts = {"upper": problem.outer_count, "lower": problem.inner_count}  # pyright: ignore
            for level, n in counts.items():
                if n % self.batch_size:
                    return f"needs a batch_size that divides the {n} terms of the {level} level"
        return reason

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> SABAState:
        x, y = x0.upper, x0.lower
        rate, calls = lower_step(problem, x, y, self.lower_step, Calls())
        rate = rate / _SHARE if self.lower_step is None else rate
        inner = Memory.zeros(problem.inner_count // self.batch_size, Inner(y, y, x))
        outer = Memory.zeros(problem.outer_count // self.batch_size, (x, y))
        return SABAState(x0, calls, jax.tree.map(jnp.zeros_like, y), rate, inner, outer)

    def step(self, problem: Bilevel, state: SABAState, *, key: PRNGKeyArray) -> SABAState:
        (x, y, *_), v, b = state.x, state.adjoint, self.batch_size
        outer_key, inner_key = jax.random.split(key)
        j = jax.random.randint(outer_key, (), 0, problem.outer_count // b)
        i = jax.random.randint(inner_key, (), 0, problem.inner_count // b)
        seen = inner_parts(problem, x, y, v, i * b + jnp.arange(b))
        r = shortened(state.rate, v, seen.curved, _SHARE) if self.lower_step is None else state.rate
        inner, inner_memory = state.inner.corrected(seen, i)
        outer, outer_memory = state.outer.corrected(problem.outer_gradients(x, y, j * b + jnp.arange(b)), j)
        D_y, D_v, D_x = directions(inner, outer)
        q = as_numbers_of(x, self.outer_step)
        ahead = state.x._replace(
            upper=problem.outer_prox(tree.axpy(-q, D_x, x), q), lower=tree.axpy(-r, D_y, y)
        )
        calls = charge(state.calls, b, outer=1, inner=1, second=1, prox=1)
        return SABAState(ahead, calls, tree.axpy(-r, D_v, v), r, inner_memory, outer_memory)
