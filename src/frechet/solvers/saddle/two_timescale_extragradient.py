"""Two-timescale extragradient, for local minimax points."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import PRNGKeyArray, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.problems.saddle import Saddle, SaddlePoint
from frechet.solvers.saddle.players import PlayersMethod, PlayersState, stepped


class TwoTimescaleExtragradient(PlayersMethod):
    r"""Extragradient with shorter steps for the minimiser, for $\min_x \max_y f(x, y)$ of any curvature.

    $$\bar z_k = z_k - s\Lambda F(z_k), \qquad z_{k+1} = z_k - s\Lambda F(\bar z_k), \qquad
      \Lambda = \mathrm{diag}(I/\tau, I)$$

    followed by the proximal maps of $g_x$ (of $s/\tau$) and $g_y$ (of $s$) in either line. Where $f$ is not
    convex in $x$ and concave in $y$, methods that treat the players alike are attracted by points that solve
    no minimax problem, and pass by others that do. With $0 < s < 1/L$ and $\tau$ large enough the attractive
    points of this one are those with $\nabla^2_{yy} f \preceq 0$ and a restricted Schur complement
    $\succeq 0$ (see `frechet.derivatives.minimax_curvature`), as local minimax points have it, also where
    $\nabla^2_{yy} f$ is singular, which descent-ascent at two time scales cannot handle. How large depends on
    the problem; what is too large only costs time, as $x$ moves $\tau$ times slower. Where $f$ is
    convex-concave it converges as `Extragradient` does. A step costs two operators and two proximal maps.

    Args:
        step_size: $s$, the maximiser's step size, a number or a schedule (a function of the step's number
            from 0); when left out $0.9/L$ as in `Extragradient`.
        ratio: $\tau$, the maximiser's step size over the minimiser's.
        batch_size: terms a step, drawn with replacement, the same for both evaluations; the whole operator
            when left out.

    Source:
        Chae, Kim, Kim 2024, Two-timescale extragradient for finding local minimax points, ICLR,
        arXiv 2305.16242.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = lambda x, y: -(x[0] ** 2) + 2 * x[0] * y[0] - y[0] ** 2 / 2 + x[1] * y[1]
        >>> start = (jnp.ones(2), jnp.ones(2))
        >>> z = fr.solve(fr.Saddle(f), start, TwoTimescaleExtragradient(), tol=1e-3).x
        >>> bool(jnp.allclose(jnp.concatenate(z), 0.0, atol=2e-3))
        True
    """

    accepts: ClassVar[type] = Saddle
    share: ClassVar[float] = 0.9
    ratio: float | Scalar = eqx.field(
        default=10.0, converter=lambda v: parameter("ratio", v, positive=True), kw_only=True
    )

    def init(self, problem: Saddle, x0: SaddlePoint, *, key: PRNGKeyArray) -> PlayersState:
        return self.begin(problem, x0)

    def step(self, problem: Saddle, state: PlayersState, *, key: PRNGKeyArray) -> PlayersState:
        z, indices, sizes = state.x, self.drawn(problem, key), self.sizes(state)
        here = self.operator(problem, z, indices)
        lead = stepped(problem, z, here, sizes)
        there = self.operator(problem, lead, indices)
        ahead = stepped(problem, z, there, sizes)
        pace, good = state.pace.tried(self.share, z, here, lead, there)
        return PlayersState(tree.where(good, ahead, z), self.charged(state.calls, 2, 2), pace)
