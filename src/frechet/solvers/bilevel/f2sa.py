"""F2SA: the hypergradient from gradients alone, by a penalty on the lower level."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.batched import Batched, as_numbers_of, decayed
from frechet.solvers.bilevel.batches import both_batches, charge
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none


class F2SAState(State):
    r"""``x.lower`` is $z$, ``penalised`` $y$, ``multiplier`` $\lambda$; ``rate`` is the lower step size."""

    penalised: PyTree[Array]
    multiplier: Scalar
    rate: Scalar
    updates: Int[Array, ""]


class F2SA(Batched):
    r"""Fully first-order stochastic approximation: two lower variables instead of second derivatives.

    $T$ times, on a fresh batch each,

    $$y \leftarrow y - \frac{r_t}{1 + \lambda}\bigl(\nabla_y f(x, y) + \lambda\nabla_y g(x, y)\bigr), \qquad
      z \leftarrow z - r_t\nabla_y g(x, z),$$

    so that $y$ follows the minimiser of $f + \lambda g$ and $z$ that of $g$; then

    $$x \leftarrow \mathrm{prox}_{q_t p}\bigl(x - q_t\,[\nabla_x f(x, y)
      + \lambda(\nabla_x g(x, y) - \nabla_x g(x, z))]\bigr), \quad
      \lambda \leftarrow \lambda + d (t+1)^{-1/7}$$

    with both gradients of $g$ on the same batch. The bracket is the hypergradient up to $O(1/\lambda)$. A
    step costs $T + 1$ gradients of $f$ and $2T + 2$ of $g$. To $\|\nabla\Phi\|^2 \le\varepsilon$ it takes of
    the order of $\varepsilon^{-7/2}$ of them with noise at both levels, $\varepsilon^{-5/2}$ with noise at
    the upper one and $\varepsilon^{-3/2}$ without.

    Args:
        lower_step: $r$; left out, one over the largest eigenvalue of $\nabla^2_{yy} g$ at the start.
        outer_step: $q$; the default suits hyperobjectives with second derivatives of the order of one.
        multiplier: the first $\lambda$.
        growth: $d$; with 0 the multiplier stays and so does the bias.
        lower_decay: the exponent $a$ in $r_t = r (t+1)^{-a}$; the authors take 4/7 with noise.
        outer_decay: likewise for $q_t$; 5/7.
        inner_steps: $T$.
        batch_size: terms a batch; whole sums when left out.

    Source:
        Kwon, Kwon, Wright, Nowak 2023, A fully first-order method for stochastic bilevel optimization,
        arXiv 2301.10945.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2 + x**2, lambda x, y: (y - x) ** 2)
        >>> solution = fr.solve(problem, (jnp.array(0.0), jnp.array(0.0)), F2SA(), max_steps=2000)
        >>> abs(float(solution.x.upper) - 0.5) < 0.01
        True
    """

    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer_step: float | Scalar = 0.1
    multiplier: float | Scalar = 1.0
    growth: float | Scalar = 0.1
    lower_decay: float | Scalar = 0.0
    outer_decay: float | Scalar = 0.0
    inner_steps: int = eqx.field(default=10, static=True)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> F2SAState:
        rate, calls = lower_step(problem, x0.upper, x0.lower, self.lower_step, Calls())
        multiplier = as_numbers_of(x0.upper, self.multiplier)
        return F2SAState(x0, calls, x0.lower, multiplier, rate, jnp.zeros((), int))

    def step(self, problem: Bilevel, state: F2SAState, *, key: PRNGKeyArray) -> F2SAState:
        x, size, t, lam = state.x.upper, self.batch_size, state.updates, state.multiplier
        r, q = (
            decayed(state.rate, t, self.lower_decay, state.x),
            decayed(self.outer_step, t, self.outer_decay, x),
        )

        def follow(carry: tuple, key: PRNGKeyArray) -> tuple:
            y, z = carry
            outer, inner = both_batches(key, problem, size)
            slope = tree.axpy(
                lam, problem.inner_gradient(x, y, inner), problem.outer_gradients(x, y, outer)[1]
            )
            ahead = tree.axpy(-r / (1 + lam), slope, y)
            return (ahead, tree.axpy(-r, problem.inner_gradient(x, z, inner), z)), None

        keys = jax.random.split(key, self.inner_steps + 1)
        (y, z), _ = jax.lax.scan(follow, (state.penalised, state.x.lower), keys[1:])
        outer, inner = both_batches(keys[0], problem, size)
        pull = tree.subtract(problem.inner_gradients(x, y, inner)[0], problem.inner_gradients(x, z, inner)[0])
        h = tree.axpy(lam, pull, problem.outer_gradients(x, y, outer)[0])
        ahead = state.x._replace(upper=problem.outer_prox(tree.axpy(-q, h, x), q), lower=z)
        calls = charge(state.calls, size, outer=self.inner_steps + 1, inner=2 * self.inner_steps + 2, prox=1)
        lam = lam + decayed(self.growth, t, 1 / 7, lam)
        return F2SAState(ahead, calls, y, lam, state.rate, t + 1)
