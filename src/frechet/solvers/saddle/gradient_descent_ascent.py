"""Gradient descent-ascent, simultaneous and alternating."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from frechet.core.solver import Solver
from frechet.problems.saddle import Saddle, SaddlePoint
from frechet.solvers.saddle.players import PlayersMethod, PlayersState, stepped


class GradientDescentAscent(PlayersMethod):
    r"""Gradient descent for the minimiser and ascent for the maximiser of $f(x, y) + g_x(x) - g_y(y)$.

    $$x_{k+1} = \mathrm{prox}_{s g_x/\tau}\Bigl(x_k - \tfrac{s}{\tau}\nabla_x f(x_k, y_k)\Bigr), \qquad
      y_{k+1} = \mathrm{prox}_{s g_y}\bigl(y_k + s\nabla_y f(x_k, y_k)\bigr)$$

    or, alternating, with $\nabla_y f(x_{k+1}, y_k)$ in the second. The simplest method and no safe one: where
    $f$ is strongly convex-concave of modulus $\mu$ it converges for $s < 2\mu/L^2$, but on $f = xy$ it
    diverges for every step size, growing by $1 + s^2$ in the squared norm, and goes round in circles where it
    alternates. Use `Extragradient`, or `TwoTimescaleExtragradient` where $f$ is not convex-concave. A step
    costs one operator and one proximal map, alternating two of either.

    Args:
        alternating: whether the maximiser answers to the minimiser's new point.
        step_size: $s$, the maximiser's step size, a number or a schedule (a function of the step's number
            from 0); when left out $0.25/L$ with the Lipschitz constant that ``f`` knows, or else an estimate
            by eight products with the Jacobian at the start.
        ratio: $\tau$, the maximiser's step size over the minimiser's.
        batch_size: terms a step, drawn with replacement; the whole operator when left out.

    Source:
        Arrow, Hurwicz, Uzawa 1958, Studies in linear and non-linear programming; alternating: Bailey, Gidel,
        Piliouras 2020, Finite regret and cycles with fixed step-size via alternating gradient
        descent-ascent, arXiv 1907.04392.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: x**2 / 2 + x * y - y**2 / 2)
        >>> z = fr.solve(saddle, (jnp.ones(()), jnp.ones(())), GradientDescentAscent(), tol=1e-4).x
        >>> [abs(round(float(v), 3)) for v in z]
        [0.0, 0.0]
    """

    accepts: ClassVar[type] = Saddle
    converges: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleMethodOverride]
    share: ClassVar[float] = 0.25
    alternating: bool = eqx.field(default=False, static=True)

    def init(self, problem: Saddle, x0: SaddlePoint, *, key: PRNGKeyArray) -> PlayersState:
        return self.begin(problem, x0)

    def step(self, problem: Saddle, state: PlayersState, *, key: PRNGKeyArray) -> PlayersState:
        z, indices, sizes = state.x, self.drawn(problem, key), self.sizes(state)
        here = self.operator(problem, z, indices)
        ahead = stepped(problem, z, here, sizes)
        if not self.alternating:
            return PlayersState(ahead, self.charged(state.calls, 1, 1), state.pace.next())
        # Compiled, either evaluation and map is left with the player whose part of it is used.
        half = SaddlePoint(ahead.minimiser, z.maximiser)
        there = self.operator(problem, half, indices)
        answer = stepped(problem, half, there, sizes).maximiser
        pace = state.pace.after(z, here, half, there)
        ahead = SaddlePoint(ahead.minimiser, answer)
        return PlayersState(ahead, self.charged(state.calls, 2, 2), pace)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"GradientDescentAscent": cls(), "GradientDescentAscent:alternating": cls(alternating=True)}
