"""The penalty method with a loop of lower updates in every step."""

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.lift import replaced
from frechet.problems.bilevel import Bilevel
from frechet.solvers.bilevel.batches import both_batches, charge
from frechet.solvers.bilevel.penalised import Penalised, PenaltyState


class PenaltyBilevel(Penalised):
    r"""First-order penalty method: gradients of $\psi_\sigma$, double loop.

    With $y_\sigma$ a minimiser of $\sigma f + g$ and $z$ one of $g$, the penalty function
    $\psi_\sigma(x) = (\min_y (\sigma f + g)(x, y) - \min_y g(x, y)) / \sigma$ has the gradient

    $$\nabla\psi_\sigma(x) = \nabla_x f(x, y_\sigma)
      + \frac{\nabla_x g(x, y_\sigma) - \nabla_x g(x, z)}{\sigma},$$

    which is $O(\sigma)$ from that of $\Phi$ and needs no second derivatives. Where the lower level has many
    solutions its limit is the one with the pseudo-inverse in place of the inverse. A step makes $T$ proximal
    gradient steps on each of $\sigma f + g + \|w - y\|^2/(2\rho)$, from $w_y$, and
    $g + \|w - z\|^2/(2\rho)$, from $w_z$; one along the gradient at these with step size $\alpha$; and moves
    the centres $y$ and $z$ by a share towards $w_y$ and $w_z$. The solution's lower part is $w_y$.

    The limit is $O(\sigma)$ from a solution; $\sigma$ is shrunk whenever the residuals are below it. Both
    levels may have sets and other proximable functions. An $\epsilon$-stationary point takes
    $O(\epsilon^{-3})$ gradients, or $O(\epsilon^{-7})$ with batches. A step costs $T + 1$ gradients of the
    upper level, $2T + 2$ of the lower one and $2T + 1$ proximal maps; the start, Hessian-vector products to
    estimate the lower level's curvature. Steps there suppose $f$ no steeper in $y$ than $g$; scale it down
    where it is.

    Args:
        sigma: $\sigma$, its first value.
        shrink: what $\sigma$ is multiplied by whenever the residuals are below it, down to the square root of
            the machine epsilon; 1 keeps it.
        step_size: $\alpha$, below two over the largest curvature of $\Phi$.
        rho: $\rho$.
        relaxation: the share, in (0, 1].
        lower_step: one over the largest eigenvalue of $\nabla^2_{yy} g$, estimated when left out; of the
            batches' own with batches.
        inner_steps: $T$.
        batch_size: terms a batch, whole sums when left out. The gradients of $g$ at $w_y$ and at $w_z$ are
            over the same batch, so that noise cancels before it is divided by $\sigma$.

    Raises:
        ValueError: ``inner_steps`` or ``batch_size`` below 1.

    Source:
        Kwon, Kwon, Wright, Nowak 2024, On penalty methods for nonconvex bilevel optimization and first-order
        stochastic approximation, arXiv 2309.01753.

    Example:
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> found = fr.solve(problem, (0.0, 0.0), PenaltyBilevel(), max_steps=500).x
        >>> round(float(found.upper), 2), round(float(found.lower), 2)
        (0.5, 1.0)
    """

    inner_steps: int = eqx.field(default=10, static=True)

    def __check_init__(self):
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps must be a positive integer, got {self.inner_steps}")

    def step(self, problem: Bilevel, state: PenaltyState, *, key: PRNGKeyArray) -> PenaltyState:
        x = state.x.upper
        last, *keys = (key, key) if self.batch_size is None else jax.random.split(key)

        def descend(w: tuple[PyTree[Array], PyTree[Array]], key: PRNGKeyArray) -> tuple:
            outer, inner = both_batches(key, problem, self.batch_size)
            f_y = problem.outer_gradients(x, w[0], outer)[1]
            g_y, g_z = (problem.inner_gradient(x, v, inner) for v in w)
            return self.lower_update(problem, state, w, (f_y, g_y, g_z)), None

        w = (state.x.lower, state.plain)
        w, _ = jax.lax.scan(descend, w, jax.random.split(keys[0], self.inner_steps))
        outer, inner = both_batches(last, problem, self.batch_size)
        f_x = problem.outer_gradients(x, w[0], outer)[0]
        g_y, g_z = (problem.inner_gradients(x, v, inner)[0] for v in w)
        changes = self.upper_update(problem, state, w, (f_x, g_y, g_z), self.step_size)
        T = self.inner_steps
        calls = charge(state.calls, self.batch_size, outer=T + 1, inner=2 * T + 2, prox=2 * T + 1)
        return replaced(state, calls=calls, **changes)
