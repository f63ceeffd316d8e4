"""The fast extragradient method: extragradient with an anchor."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.anchor import Anchor
from frechet.solvers.saddle import lipschitz
from frechet.solvers.saddle.monotonicity import Watch


class FastExtragradientState(State):
    """``normal`` is the element of the subdifferential at ``x`` that the last proximal map found."""

    anchor: Anchor
    normal: PyTree[Array]
    lipschitz: Scalar
    watch: Watch


class FastExtragradient(Solver):
    r"""Fast extragradient (FEG) for $0 \in F(z) + \partial g(z)$: the last iterate's residual is $O(1/k)$.

    Both lines of extragradient are drawn to an anchor $a$, at first the start, by $\beta_k = 1/(k+1)$,

    $$\bar z_k = z_k + \beta_k (a - z_k) - \tfrac{1 - \beta_k}{L}\bigl(F(z_k) + c_k\bigr), \qquad
      z_{k+1} = \mathrm{prox}_{g/L}\bigl(z_k + \beta_k (a - z_k) - \tfrac1L F(\bar z_k)\bigr)$$

    where $c_{k+1} \in \partial g(z_{k+1})$ is what the proximal map took away, times $L$. Where $F$ is
    monotone and $L$-Lipschitz $\|F(z_k) + c_k\| \le 2 L D / k$ with the distance $D$ from the anchor to the
    solutions, which no method can better by more than a constant; extragradient has $O(1/\sqrt k)$. With
    $g = 0$ it is the published method, whose proof asks of $\partial g$ only that it is monotone. A step
    costs two operators, outside of the domain of $g$ too, and one proximal map.

    The anchor moves to the iterate, and $k$ to 0, whenever $\|F(z_k) + c_k\|$ has fallen by a factor of $e$.
    That makes convergence linear where the residual bounds the distance to the solutions, and costs at most a
    constant elsewhere.

    The status is nonmonotone where two points prove that $F$ is not monotone and the iterates run away.

    Args:
        lipschitz: $L$; when left out the Lipschitz constant that ``F`` knows, or else an estimate by eight
            products with the Jacobian at the start, raised whenever a step shows it too low.
        restarts: whether the anchor moves.

    Source:
        Lee, Kim 2021, Fast extra gradient methods for smooth structured nonconvex-nonconcave minimax
        problems, NeurIPS, arXiv 2106.02326; Yoon, Ryu 2021, Accelerated algorithms for smooth convex-concave
        minimax problems with O(1/k^2) rate on squared gradient norm, arXiv 2102.07922 (anchoring); Cai,
        Oikonomou, Zheng 2022, Accelerated algorithms for constrained nonconvex-nonconcave min-max
        optimization and comonotone inclusion, arXiv 2206.05248 (with a resolvent).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: (x - 1.0) * (y + 2.0))
        >>> z = fr.solve(saddle, (jnp.zeros(()), jnp.zeros(())), FastExtragradient(), tol=1e-4).x
        >>> [round(float(v), 3) for v in z]
        [1.0, -2.0]
    """

    accepts: ClassVar[type] = Inclusion
    needs: ClassVar[frozenset[str]] = frozenset({"operator", "prox"})
    lipschitz: float | Scalar | None = eqx.field(
        default=None, converter=lipschitz.positive_or_none, kw_only=True
    )
    restarts: bool = eqx.field(default=True, static=True, kw_only=True)

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With restarts; without them too, but at O(1/k) however easy the problem."""
        return self.restarts

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> FastExtragradientState:
        L, calls = lipschitz.first(problem, x0, self.lipschitz, Calls())
        normal = jax.tree.map(jnp.zeros_like, x0)
        return FastExtragradientState(
            x0, calls, Anchor.at(x0), normal, jax.lax.stop_gradient(L), Watch.start(x0)
        )

    def step(
        self, problem: Inclusion, state: FastExtragradientState, *, key: PRNGKeyArray
    ) -> FastExtragradientState:
        z, L, anchor = state.x, state.lipschitz, state.anchor
        here = problem.operator(z)
        total = jax.tree.map(jnp.add, here, state.normal)
        if self.restarts:
            anchor = anchor.moved(z, tree.norm(total))
        weight = 1 / (anchor.steps + 1).astype(L.dtype)
        drawn = anchor.mixed(z, weight)
        lead = tree.axpy(-(1 - weight) / L, total, drawn)
        there = problem.operator(lead)
        forward = tree.axpy(-1 / L, there, drawn)
        ahead = problem.prox(forward, 1 / L)
        normal = jax.tree.map(lambda u, v: (L * (u - v)).astype(v.dtype), forward, ahead)
        change, move = tree.subtract(there, here), tree.subtract(lead, z)
        watch = state.watch.after(there, change, move)
        calls = state.calls.add(gradient=2, prox=1)
        L = L if self.lipschitz is not None else jax.lax.stop_gradient(lipschitz.revised(L, change, move))
        return FastExtragradientState(ahead, calls, anchor.next(), normal, L, watch)

    def diagnosis(self, problem: Inclusion, state: FastExtragradientState) -> Any:
        return state.watch.ending()
