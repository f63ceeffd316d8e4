"""Halpern iteration with variance reduction, for sums of cocoercive operators."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.anchor import Anchor
from frechet.solvers.saddle.components import ComponentMethod
from frechet.solvers.stochastic import sampling


class CocoerciveVRHalpernState(State):
    """``estimate`` is that of the operator at ``previous``, ``normal`` in the subdifferential at ``x``."""

    anchor: Anchor
    previous: PyTree[Array]
    estimate: PyTree[Array]
    normal: PyTree[Array]
    lipschitz: Scalar


class CocoerciveVRHalpern(ComponentMethod):
    r"""Variance-reduced Halpern iteration for $0 \in \frac1n\sum_i F_i(z) + \partial g(z)$, $F_i$ cocoercive.

    $$z_{k+1} = \mathrm{prox}_{s g}\bigl(\lambda_k a + (1 - \lambda_k) z_k - s \tilde F_k\bigr), \qquad
      \lambda_k = \frac{2}{k+4}, \quad s = \frac{1}{4L}$$

    with the anchor $a$, at first the start, and the estimate PAGE of the operator: $\tilde F_k = F(z_k)$ with
    probability $p_k$, else

    $$\tilde F_k = \tilde F_{k-1} + \frac1{|B|}\sum_{i \in B}\bigl(F_i(z_k) - F_i(z_{k-1})\bigr)$$

    with $p_k = 4/(k+5)$ until $k = \sqrt n$ and constant from there on. Where on average
    $\mathbb E\|F_i(u) - F_i(v)\|^2 \le L\langle F(u) - F(v), u - v\rangle$, as for gradients of $L$-smooth
    convex functions, the expected residual of the last iterate is $O(LD/k)$ with the distance $D$ from the
    anchor to the solutions. That takes $O(n + \sqrt n\,LD/\varepsilon)$ evaluations of components to a
    residual $\varepsilon$; without variance reduction it is $O(n L_F D/\varepsilon)$ with the constant
    $L_F \le L$ of the mean, so that it pays only for $\sqrt n$ above about $48 L / L_F$. A step costs either
    an operator or $2|B|$ components, and one proximal map.

    The anchor moves to the iterate, and $k$ to 0, whenever the residual has fallen by a factor of $e$, as far
    as evaluations of the whole operator tell. That makes convergence linear where the residual bounds the
    distance to the solutions.

    Args:
        lipschitz: $L$; when left out the largest of ``F.lipschitz_terms()``, where ``F`` knows them, or else
            an estimate by one pass at the start.
        batch_size: $|B|$, drawn with replacement; $\lceil\sqrt n\rceil$ when left out. With $n$ or more all
            steps evaluate the whole operator.
        restarts: whether the anchor moves.

    Source:
        Cai, Alacaoglu, Diakonikolas 2024, Variance reduced Halpern iteration for finite-sum monotone
        inclusions, ICLR, arXiv 2310.02987; Cai, Song, Guzmán, Diakonikolas 2022, Stochastic Halpern iteration
        with variance reduction for stochastic monotone inclusions, NeurIPS, arXiv 2203.09436 (also restarts).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.FiniteSumInclusion(lambda z, d: d[0] * z - d[1], jnp.array([[1.0, 4.0], [3.0, 0.0]]))
        >>> solution = fr.solve(problem, jnp.zeros(1), CocoerciveVRHalpern(lipschitz=3.0))
        >>> solution.x.round(2).tolist()
        [1.0]
    """

    batch_size: int | None = eqx.field(default=None, static=True, kw_only=True)
    restarts: bool = eqx.field(default=True, static=True, kw_only=True)

    def __check_init__(self):
        if self.batch_size is not None:
            sampling.check_batch_size(self.batch_size)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With restarts; without them too, but at O(1/k) however easy the problem."""
        return self.restarts

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> CocoerciveVRHalpernState:
        zero = jax.tree.map(jnp.zeros_like, x0)
        L, calls = self.constant(problem, x0, cocoercive=True)
        return CocoerciveVRHalpernState(x0, calls, Anchor.at(x0), x0, zero, zero, L)

    def step(
        self, problem: Inclusion, state: CocoerciveVRHalpernState, *, key: PRNGKeyArray
    ) -> CocoerciveVRHalpernState:
        z, anchor, root = state.x, state.anchor, math.sqrt(problem.count)
        size = math.ceil(root) if self.batch_size is None else self.batch_size
        draw, toss = jax.random.split(key)

        def whole() -> PyTree[Array]:
            return problem.operator(z)

        def corrected() -> PyTree[Array]:
            indices = sampling.draw(draw, problem, 1, size)[0]  # pyright: ignore[reportArgumentType]
            here, there = (problem.sample_operator(v, indices) for v in (z, state.previous))
            return jax.tree.map(lambda u, v, w: u + v - w, state.estimate, here, there)

        if size >= problem.count:
            fresh, estimate = True, whole()
        else:
            chance = 4 / (jnp.minimum(anchor.steps, root) + 5)
            fresh = (anchor.steps == 0) | (jax.random.uniform(toss) < chance)
            estimate = jax.lax.cond(fresh, whole, corrected)
        if self.restarts:
            moved = anchor.moved(z, tree.norm(jax.tree.map(jnp.add, estimate, state.normal)))
            anchor = tree.where(jnp.asarray(fresh), moved, anchor)
        s = 1 / (4 * state.lipschitz)
        forward = tree.axpy(-s, estimate, anchor.mixed(z, 2 / (anchor.steps + 4).astype(s.dtype)))
        ahead = problem.prox(forward, s)
        normal = jax.tree.map(lambda u, v: ((u - v) / s).astype(v.dtype), forward, ahead)
        whole_calls = jnp.asarray(fresh).astype(int)
        calls = state.calls.add(gradient=whole_calls, sample=2 * size * (1 - whole_calls), prox=1)
        return CocoerciveVRHalpernState(ahead, calls, anchor.next(), z, estimate, normal, state.lipschitz)
