"""Stochastic momentum in iterate-averaging form, whose last iterate has a rate."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling
from frechet.solvers.stochastic.batched import Batched


class StochasticMomentumState(State):
    """``z`` is the slow sequence that takes the gradient steps, ``updates`` how many there were."""

    z: PyTree[Array]
    updates: Int[Array, ""]
    step_size: Scalar


class StochasticMomentum(Batched):
    r"""Heavy-ball momentum written as an average, for $\frac1n\sum_i f_i$.

    $$z_{t} = z_{t-1} - s\,\nabla f_{B_t}(x_t), \qquad
      x_{t+1} = \frac{\lambda_{t+1} x_t + z_t}{\lambda_{t+1} + 1}, \quad \lambda_t = t/2.$$

    For convex terms and $s \le 1/(4L_{\max})$ the last iterate satisfies
    $\mathbb E f(x_T) - f^* \le \|x_0 - x^*\|^2/(sT) + 2 s \sigma^*$, which plain stochastic gradient
    descent is known to do on average only. A step here is $\lfloor n/|B|\rfloor$ updates, a data pass. With a
    constant step it reaches a neighbourhood, not a solution.

    Args:
        step_size: $s$; a quarter of the inverse of the largest of ``f.lipschitz_terms()`` when left out.
        batch_size: $|B|$, drawn with replacement.

    Source:
        Sebbouh, Gower, Defazio 2021, Almost sure convergence rates for stochastic gradient descent and
        stochastic heavy ball, arXiv 2006.07867.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> X, y = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([1.0, 2.0, 3.0])
        >>> problem = fr.Composite(fr.losses.Squared(X, y))
        >>> fr.solve(problem, jnp.zeros(2), StochasticMomentum(), tol=1e-3).x.round(1).tolist()
        [1.0, 2.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"sample", "smooth"})
    converges: ClassVar[bool] = False

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> StochasticMomentumState:
        step_size = sampling.initial_step_size(problem, x0, self.step_size, self.batch_size, 4.0)
        return StochasticMomentumState(x0, Calls(), x0, jnp.zeros((), int), step_size)

    def step(
        self, problem: Composite, state: StochasticMomentumState, *, key: PRNGKeyArray
    ) -> StochasticMomentumState:
        rounds = sampling.rounds(problem, self.batch_size)

        def update(carry: tuple, indices: Int[Array, " batch"]) -> tuple:
            x, z, t = carry
            gradient = problem.sample_value_and_gradient(x, indices)[1]
            z = tree.axpy(-state.step_size, gradient, z)
            share = 1 / ((t + 1).astype(state.step_size.dtype) / 2 + 1)
            return (tree.axpy(share, tree.subtract(z, x), x), z, t + 1), None

        drawn = sampling.draw(key, problem, rounds, self.batch_size)
        (x, z, t), _ = jax.lax.scan(update, (state.x, state.z, state.updates), drawn)
        calls = state.calls.add(sample=rounds * self.batch_size)
        return StochasticMomentumState(x, calls, z, t, state.step_size)
