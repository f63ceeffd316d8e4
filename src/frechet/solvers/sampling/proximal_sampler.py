"""The proximal sampler: Gibbs sampling with a Gaussian, by exact rejection."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver
from frechet.problems.density import Chains, Density
from frechet.solvers.sampling.langevin import curvature_at_starts, positive_or_none
from frechet.solvers.sampling.pace import Pace
from frechet.solvers.sampling.sampler import SamplerState

TRIALS = 1000
"""Trials in vain after which a chain stays where it is; with the default step it takes two."""
FIRST_TRIAL = 0.6
"""The share of first trials that the step size is set for."""


class ProximalSampler(Solver):
    r"""The proximal sampler for convex potentials $U = f + g$, smooth or not; without bias.

    $$y \sim N(x_k, hI), \qquad x_{k+1} \sim \exp\Bigl(-U(\cdot) - \frac{\|\cdot - y\|^2}{2h}\Bigr)$$

    are the two conditionals of a density whose marginal is $e^{-U}$. With $U$ $\alpha$-strongly convex each
    move shrinks Wasserstein distances by $1/(1 + \alpha h)$, whatever the smoothness.

    The second draw is by rejection. After a proximal gradient step $p = \mathrm{prox}_{hg}(y - h\nabla f(y))$
    a subgradient $s$ of $U$ at $p$ is known, and $U(x) \ge U(p) + \langle s, x - p\rangle$: a draw from
    $N(y - hs, hI)$ is accepted with probability $e^{-(U(x) - U(p) - \langle s, x - p\rangle)}$, so the draw
    is exact though $p$ is only near the proximal point of $U$. A move costs two gradients, one proximal map,
    one value, and a value a trial; chains wait for each other, and trials are counted for all of them.

    Args:
        step_size: $h$; up to about $1/(Ld)$ for a smooth potential in $d$ dimensions few trials are wasted.
            None begins there, with the largest curvature where the chains start for $L$, and follows the
            share of first trials accepted to 60 %, by changes that fade.

    Source: Lee, Shen, Tian 2021, Structured logconcave sampling with a restricted Gaussian oracle,
    arXiv 2010.03106; Chen, Chewi, Salim, Wibisono 2022, Improved analysis for a proximal algorithm for
    sampling, arXiv 2202.06386; Liang, Chen 2022, A proximal algorithm for sampling from non-smooth
    potentials, arXiv 2110.04597.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> laplace = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.L1(1.0))
        >>> x = fr.solve(laplace, laplace.chains(jnp.zeros(1), 500), ProximalSampler(), max_steps=500).x
        >>> bool(abs(x.moments().variance[0] - 2) < 0.2)
        True
    """

    accepts: ClassVar[type] = Density
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox", "potential"})
    stochastic: ClassVar[bool] = True
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 50

    step_size: Any = eqx.field(default=None, converter=positive_or_none)

    def init(self, problem: Density, x0: Chains, *, key: PRNGKeyArray) -> SamplerState:
        count, dtype = x0.size, x0.count.dtype
        step, calls = self.step_size, Calls()
        if step is None:
            curvature, products = curvature_at_starts(problem, x0)
            unknowns = sum(v.size for v in jax.tree.leaves(x0.position)) // count
            step, calls = 1 / (curvature * unknowns), calls.add(hvp=products)
        return SamplerState(x0, calls, Pace.of(step, dtype, (count,)))

    def step(self, problem: Density, state: SamplerState, *, key: PRNGKeyArray) -> SamplerState:
        position, memory = state.x.position, state.memory
        count = state.x.size
        of_noise, of_trials = jax.random.split(key)
        steps = memory.step

        def centre(x: PyTree[Array], h: Array, key: PRNGKeyArray) -> tuple:
            y = tree.axpy(jnp.sqrt(h), optax.tree.random_like(key, x), x)
            ahead = tree.axpy(-h, problem.gradient(y), y)
            near = problem.prox(ahead, h)
            potential, gradient = problem.potential_and_gradient(near)
            slope = jax.tree.map(lambda z, p, G: ((z - p) / h + G).astype(p.dtype), ahead, near, gradient)
            return y, near, potential, slope

        y, near, potential, slope = jax.vmap(centre)(position, steps, jax.random.split(of_noise, count))

        def attempt(y, near, potential, slope, h: Array, key: PRNGKeyArray) -> tuple:
            of_place, of_choice = jax.random.split(key)
            noise = optax.tree.random_like(of_place, y)
            x = tree.axpy(jnp.sqrt(h), noise, tree.axpy(-h, slope, y))
            rise = problem.potential(x) - potential - tree.vdot(slope, tree.subtract(x, near))
            chance = jnp.exp(jnp.minimum(-rise, 0))
            # A proposal of no number is refused, unless where it comes from has none either.
            chance = jnp.where(jnp.isnan(potential), 1, jnp.where(jnp.isnan(chance), 0, chance))
            return x, chance, jax.random.uniform(of_choice, (), chance.dtype) < chance

        def trial(carry: tuple) -> tuple:
            kept, pending, chances, n = carry
            keys = jax.random.split(jax.random.fold_in(of_trials, n), count)
            x, chance, accepted = jax.vmap(attempt)(y, near, potential, slope, steps, keys)
            take = pending & accepted
            kept = jax.tree.map(lambda u, v: jnp.where(take.reshape(-1, *(1,) * (u.ndim - 1)), u, v), x, kept)
            return kept, pending & ~accepted, jnp.where(n == 0, chance, chances), n + 1

        start = (position, jnp.ones(count, bool), jnp.zeros_like(steps), jnp.zeros((), int))
        position, _, chance, trials = jax.lax.while_loop(
            lambda carry: jnp.any(carry[1]) & (carry[3] < TRIALS), trial, start
        )
        pace = memory.after(chance, FIRST_TRIAL if self.step_size is None else None)
        calls = state.calls.add(gradient=2 * count, prox=count, value=count * (1 + trials))
        return SamplerState(state.x.moved(position), calls, pace)
