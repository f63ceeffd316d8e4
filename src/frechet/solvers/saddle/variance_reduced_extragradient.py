"""Extragradient with variance reduction, without loops within loops."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.components import ComponentMethod
from frechet.solvers.stochastic import sampling


class VarianceReducedExtragradientState(State):
    """``iterate`` is where the method is, ``value`` the operator at ``snapshot``.

    ``weight`` counts what the average in ``x`` is made of; None without one.
    """

    iterate: PyTree[Array]
    snapshot: PyTree[Array]
    value: PyTree[Array]
    lipschitz: Scalar
    weight: Scalar | None


class VarianceReducedExtragradient(ComponentMethod):
    r"""Variance-reduced extragradient for $0 \in \frac1n\sum_i F_i(z) + \partial g(z)$.

    A step makes $\lceil n/2 \rceil$ updates, each with a random component $i$,

    $$\hat z = \alpha z + (1-\alpha) w, \quad
      \bar z = \mathrm{prox}_{s g}\bigl(\hat z - s F(w)\bigr), \quad
      z \leftarrow \mathrm{prox}_{s g}\bigl(\hat z - s\,[F(w) + F_i(\bar z) - F_i(w)]\bigr)$$

    after which the snapshot $w$ becomes $z$ with probability $p = 2/n$; $\alpha = 1 - p$. Where $F$ is
    monotone and on average $\mathbb E\|F_i(u) - F_i(v)\|^2 \le L^2\|u - v\|^2$, and $s < \sqrt p/L$, the gap
    of the average of the $\bar z$ is $\varepsilon$ after $O(n + \sqrt n\,L/\varepsilon)$ components,
    where extragradient takes $O(n L_F/\varepsilon)$ with the constant $L_F \le L$ of the mean; where $F$ is
    strongly monotone convergence is linear. An update costs two components and two proximal maps, and a new
    snapshot an operator: about three passes over the components a step.

    Args:
        lipschitz: $L$; when left out the root of the mean square of ``F.lipschitz_terms()``, where ``F``
            knows them, or else an estimate by one pass at the start. The step size is $0.9 \sqrt p / L$.
        average: whether ``x`` is the average of all $\bar z$ instead of the last iterate. Residual and
            objective are then the average's.

    Source:
        Alacaoglu, Malitsky 2022, Stochastic variance reduction for variational inequality methods, COLT,
        arXiv 2102.08352, algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> loss = lambda x, y, d: d[0] * x * y - d[1] * x
        >>> saddle = fr.FiniteSumSaddle(loss, jnp.array([[1.0, 4.0], [3.0, 0.0]]))
        >>> solver = VarianceReducedExtragradient(lipschitz=3.0)
        >>> z = fr.solve(saddle, (jnp.ones(()), jnp.zeros(())), solver, tol=1e-4).x
        >>> [abs(round(float(v), 2)) for v in z]
        [0.0, 1.0]
    """

    average: bool = eqx.field(default=False, static=True, kw_only=True)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Fast enough for a test only at the last iterate."""
        return not self.average

    def init(
        self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray
    ) -> VarianceReducedExtragradientState:
        (L, calls), value = self.constant(problem, x0, cocoercive=False), problem.operator(x0)
        weight = jnp.zeros_like(L) if self.average else None
        return VarianceReducedExtragradientState(x0, calls.add(gradient=1), x0, x0, value, L, weight)

    def step(
        self, problem: Inclusion, state: VarianceReducedExtragradientState, *, key: PRNGKeyArray
    ) -> VarianceReducedExtragradientState:
        n = problem.count
        p, updates = min(1.0, 2 / n), math.ceil(n / 2)
        s = 0.9 * math.sqrt(p) / state.lipschitz
        draw, toss = jax.random.split(key)

        def update(state: VarianceReducedExtragradientState, drawn: tuple) -> tuple:
            indices, fresh = drawn
            z, w = state.iterate, state.snapshot
            between = jax.tree.map(lambda u, v: ((1 - p) * u + p * v).astype(u.dtype), z, w)
            forward = tree.axpy(-s, state.value, between)
            lead = problem.prox(forward, s)
            here, there = problem.sample_operator(lead, indices), problem.sample_operator(w, indices)
            ahead = problem.prox(tree.axpy(-s, tree.subtract(here, there), forward), s)
            kept = lambda: (w, state.value)  # noqa: E731
            snapshot, value = jax.lax.cond(fresh, lambda: (ahead, problem.operator(ahead)), kept)
            x, weight = ahead, state.weight
            if weight is not None:
                weight = weight + 1
                x = tree.axpy(1 / weight, tree.subtract(lead, state.x), state.x)
            calls = state.calls.add(gradient=fresh.astype(int), sample=2, prox=2)
            ahead_state = VarianceReducedExtragradientState(
                x, calls, ahead, snapshot, value, state.lipschitz, weight
            )
            return ahead_state, None

        indices = sampling.draw(draw, problem, updates, 1)  # pyright: ignore[reportArgumentType]
        fresh = jax.random.uniform(toss, (updates,)) < p
        return jax.lax.scan(update, state, (indices, fresh))[0]
