"""SAGA: stochastic gradients corrected by a table of past ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling
from frechet.solvers.stochastic.batched import Batched


class SAGAState(State):
    """``table`` holds what is known of each term's last gradient, leading axis n; ``step_size`` is fixed."""

    table: PyTree[Array]
    step_size: Scalar


class _Table(NamedTuple):
    """How gradients of terms are stored and put together again.

    ``entries(x, indices)`` is what is stored of the gradients at ``x``, ``total(entries, indices)`` the sum
    of the gradients they stand for; indices of None mean all terms.
    """

    entries: Callable[[PyTree[Array], Int[Array, " batch"] | None], PyTree[Array]]
    total: Callable[[PyTree[Array], Int[Array, " batch"] | None], PyTree[Array]]


def _of_predictions(problem: Composite, like: Array) -> _Table:
    """A linear model's term has the gradient (number) times (its row): the numbers are enough."""

    def of(indices: Any) -> Any:
        f: Any = problem.f
        return f if indices is None else f.sampled(indices)

    def entries(x: Array, indices: Any) -> Array:
        model = of(indices)
        slope = jax.grad(lambda z: jnp.sum(model.pointwise(z, model.y)))(model.predict(x))
        weight = model.sample_weight
        return slope if weight is None else slope * weight.reshape(-1, *[1] * (slope.ndim - 1))

    def total(entries: Array, indices: Any) -> Array:
        return jax.vjp(of(indices).predict, like)[1](entries)[0]

    return _Table(entries, total)


def _of_gradients(problem: Composite) -> _Table:
    def entries(x: PyTree[Array], indices: Any) -> PyTree[Array]:
        indices = jnp.arange(problem.count) if indices is None else indices
        return jax.vmap(lambda i: problem.sample_value_and_gradient(x, i[None])[1])(indices)

    def total(entries: PyTree[Array], indices: Any) -> PyTree[Array]:
        return jax.tree.map(lambda v: jnp.sum(v, axis=0), entries)

    return _Table(entries, total)


class SAGA(Batched):
    r"""Stochastic average gradient with an unbiased correction and a prox, for $\frac1n\sum_i f_i + g$.

    With $g_i$ the last gradient seen of term $i$ and a batch $B$ drawn with replacement,

    $$x \leftarrow \mathrm{prox}_{s g}\Bigl(x - s\Bigl[\frac1{|B|}\sum_{i\in B}(\nabla f_i(x) - g_i)
      + \frac1n\sum_i g_i\Bigr]\Bigr), \qquad g_i \leftarrow \nabla f_i(x)\ \ (i\in B).$$

    Linear where every $f_i$ is strongly convex: with $s = 1/(3L)$, $L$ the largest Lipschitz constant of a
    term's gradient, the expected squared distance falls by $1 - \min(\frac1{4n}, \frac{\mu}{3L})$ an update.
    The modulus $\mu$ need not be known.

    One step here is $\lfloor n/|B|\rfloor$ updates, a pass over the data. The table is filled at the
    start, with n gradients. For a `frechet.losses.LinearModel` it stores a number (or one a class) a term,
    otherwise a whole gradient a term: n times the memory of ``x``. The table's mean is summed afresh each
    step, so that rounding does not pile up.

    Args:
        step_size: $s$; $1/(3L)$ when left out, with $L$ from ``f.lipschitz_terms()``.
        batch_size: $|B|$.

    Source:
        Defazio, Bach, Lacoste-Julien 2014, SAGA: a fast incremental gradient method with support for
        non-strongly convex composite objectives, arXiv 1407.0202.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> X, y = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([1.0, 2.0, 3.0])
        >>> problem = fr.Composite(fr.losses.Squared(X, y), fr.convex.NonNegative())
        >>> fr.solve(problem, jnp.zeros(2), SAGA(), tol=1e-4).x.round(2).tolist()
        [1.0, 2.0]
    """

    def _table(self, problem: Composite, x: Any) -> _Table:
        linear = "linear model" in problem.offers()
        return _of_predictions(problem, x) if linear else _of_gradients(problem)

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> SAGAState:
        step_size = sampling.initial_step_size(problem, x0, self.step_size, self.batch_size, 3.0)
        calls = Calls().add(sample=problem.count)
        return SAGAState(x0, calls, self._table(problem, x0).entries(x0, None), step_size)

    def step(self, problem: Composite, state: SAGAState, *, key: PRNGKeyArray) -> SAGAState:
        n, b, s = problem.count, self.batch_size, state.step_size
        rounds = sampling.rounds(problem, b)
        entries, total = self._table(problem, state.x)
        mean = jax.tree.map(lambda v: v / n, total(state.table, None))

        def update(carry: tuple, indices: Int[Array, " batch"]) -> tuple:
            x, table, mean = carry
            new = entries(x, indices)
            change = jax.tree.map(lambda u, v: u - v[indices], new, table)
            direction = tree.axpy(1 / b, total(change, indices), mean)
            # A term drawn twice changes the table once.
            repeated = jnp.any(jnp.tril(indices[:, None] == indices, -1), axis=1)
            once = jax.tree.map(lambda v: jnp.where(repeated.reshape(-1, *[1] * (v.ndim - 1)), 0, v), change)
            mean = tree.axpy(1 / n, total(once, indices), mean)
            table = jax.tree.map(lambda v, u: v.at[indices].set(u), table, new)
            return (problem.prox(tree.axpy(-s, direction, x), s), table, mean), None

        drawn = sampling.draw(key, problem, rounds, b)
        (x, table, _), _ = jax.lax.scan(update, (state.x, state.table, mean), drawn)
        return SAGAState(x, state.calls.add(sample=rounds * b, prox=rounds), table, s)
