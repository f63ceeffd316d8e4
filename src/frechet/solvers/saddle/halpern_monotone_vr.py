"""Halpern iteration on sampled resolvents, for sums of Lipschitz operators whose mean is monotone."""

import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.solver import State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.anchor import Anchor
from frechet.solvers.saddle.components import ComponentMethod
from frechet.solvers.saddle.sampled_resolvent import inner, resolvent


class MonotoneVRHalpernState(State):
    """``iterate`` is drawn to the anchor, ``x`` its resolvent; ``lipschitz`` is the components' constant."""

    iterate: PyTree[Array]
    anchor: Anchor
    lipschitz: Scalar


class MonotoneVRHalpern(ComponentMethod):
    r"""Variance-reduced Halpern iteration for $0 \in \frac1n\sum_i F_i(z) + \partial g(z)$, a monotone sum.

    $$z_{k+1} = \lambda_k a + (1 - \lambda_k) \tilde J_k, \qquad \lambda_k = \frac1{k+2}, \quad
      \tilde J_k \approx \bigl(I + \eta (F + \partial g)\bigr)^{-1}(z_k), \quad \eta = \frac{\sqrt n}{L}$$

    with the anchor $a$, at first the start, and it returns $\tilde J_k$. The resolvents are those of a
    strongly monotone inclusion, which at most
    $M_k = \lceil c \max(n, \sqrt n(\eta L + 1)) \log(k + 2)\rceil$ variance-reduced
    forward-reflected-backward steps solve; they end earlier where the residual of the resolvent, seen
    whenever all components are evaluated anyway, is below $\|z_k - \tilde J_k\|/(k+2)^2$. Where $F$ is
    monotone and on average $\mathbb E\|F_i(u) - F_i(v)\|^2 \le L^2\|u - v\|^2$, its expected residual is
    $O(LD/(\sqrt n\,k))$ with the distance $D$ from the anchor to the solutions, and it takes
    $\tilde O(n + \sqrt n\,LD/\varepsilon)$ evaluations of components to a residual $\varepsilon$.
    `FastExtragradient` takes $O(n L_F D/\varepsilon)$ with the constant $L_F \le L$ of the mean. A step costs
    up to $2 M_k$ components, about $1 + M_k/n$ operators and $M_k$ proximal maps.

    The anchor moves to the iterate, and $k$ to 0, whenever $\|z_k - \tilde J_k\|$ has fallen by a factor of
    $e$. That makes convergence linear where the residual bounds the distance to the solutions.

    Args:
        lipschitz: $L$; when left out the root of the mean square of ``F.lipschitz_terms()``, where ``F``
            knows them, or else an estimate by one pass at the start.
        effort: $c$.
        restarts: whether the anchor moves.

    Source:
        Cai, Alacaoglu, Diakonikolas 2024, Variance reduced Halpern iteration for finite-sum monotone
        inclusions, ICLR, arXiv 2310.02987.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> loss = lambda x, y, d: d[0] * x * y - d[1] * x
        >>> saddle = fr.FiniteSumSaddle(loss, jnp.array([[1.0, 4.0], [3.0, 0.0]]))
        >>> solver = MonotoneVRHalpern(lipschitz=3.0)
        >>> z = fr.solve(saddle, (jnp.ones(()), jnp.zeros(())), solver, tol=1e-4).x
        >>> [abs(round(float(v), 2)) for v in z]
        [0.0, 1.0]
    """

    check_every: ClassVar[int] = 1
    effort: float | Scalar = eqx.field(
        default=3.0, converter=lambda v: parameter("effort", v, positive=True), kw_only=True
    )
    restarts: bool = eqx.field(default=True, static=True, kw_only=True)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With restarts; without them too, but at O(1/k) however easy the problem."""
        return self.restarts

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> MonotoneVRHalpernState:
        L, calls = self.constant(problem, x0, cocoercive=False)
        return MonotoneVRHalpernState(x0, calls, x0, Anchor.at(x0), L)

    def step(
        self, problem: Inclusion, state: MonotoneVRHalpernState, *, key: PRNGKeyArray
    ) -> MonotoneVRHalpernState:
        z, anchor, L, n = state.iterate, state.anchor, state.lipschitz, problem.count
        eta = math.sqrt(n) / L
        k = anchor.steps.astype(L.dtype)
        most = max(n, math.sqrt(n) * (math.sqrt(n) + 1))
        steps = jnp.ceil(self.effort * most * jnp.log(k + 2)).astype(int)
        found = resolvent(problem, z, eta, inner(n, eta * L), steps, 1 / (k + 2) ** 2, key)
        if self.restarts:
            anchor = anchor.moved(z, tree.norm(tree.subtract(z, found.point)))
        ahead = anchor.mixed(found.point, 1 / (anchor.steps + 2).astype(L.dtype))
        calls = state.calls.add(gradient=found.refreshes, sample=2 * found.steps, prox=found.steps)
        return MonotoneVRHalpernState(found.point, calls, ahead, anchor.next(), L)
