"""Particle gradient descent, for functionals that are smooth in the particles."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.solver import Solver
from frechet.problems import leading_axis
from frechet.problems.particles import Particles
from frechet.solvers.proximal import forward_backward
from frechet.solvers.proximal.forward_backward import ForwardBackwardState
from frechet.solvers.proximal.step_size import constant_or_none


class ParticleGradientDescent(Solver):
    r"""Moves each particle against its velocity.

    $$w_i \leftarrow w_i - \gamma\, n\,\frac{\partial F}{\partial w_i}$$

    Step sizes are for velocities, so a good one does not depend on the number of particles. With velocities
    that are $\ell$-Lipschitz and $\gamma \le 1/\ell$: for (star) displacement convex functionals the gap is
    $O(1/k)$; with modulus $\lambda$ and $\gamma \le 2/(\ell + \lambda)$ the squared distance $W_2^2$ to the
    solution shrinks by $1 - 2\lambda\ell\gamma/(\ell + \lambda)$ a step. A step costs one gradient and, for
    every step size tried, one value; a constant step no value.

    Args:
        step_size: a constant $\gamma$; None finds step sizes by backtracking and growth.

    Source:
        Daneshmand, Lee, Jin 2023, Efficient displacement convex optimization with particle gradient descent,
        ICML, arXiv 2302.04753.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> tether = lambda w: 0.5 * jnp.sum((w - 1) ** 2)
        >>> energy = fr.problems.InteractionEnergy(lambda d: jnp.sum(d**4), tether)
        >>> start = jnp.array([[-1.0], [0.0], [3.0]])
        >>> fr.solve(fr.Particles(energy), start, ParticleGradientDescent(), tol=1e-4).x.round(3).tolist()
        [[1.0], [1.0], [1.0]]
    """

    accepts: ClassVar[type] = Particles
    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    def init(self, problem: Particles, x0: PyTree[Array], *, key: PRNGKeyArray) -> ForwardBackwardState:
        state = forward_backward.start(problem, x0, self.step_size)
        if state.backtracking is None:
            return state
        return eqx.tree_at(
            lambda s: s.backtracking.trial, state, replace_fn=lambda s: s * leading_axis.length(x0)
        )

    def step(
        self, problem: Particles, state: ForwardBackwardState, *, key: PRNGKeyArray
    ) -> ForwardBackwardState:
        n = leading_axis.length(state.x)
        s = None if self.step_size is None else n * jnp.asarray(self.step_size)
        return forward_backward.advance(problem, state, s, lambda problem, z, s: z)[0]
