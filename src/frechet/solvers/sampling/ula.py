"""The unadjusted Langevin algorithm."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.sampler import Sampler


class ULA(Sampler):
    r"""The unadjusted Langevin algorithm (ULA), for smooth potentials.

    $$x_{k+1} = x_k - \gamma\nabla f(x_k) + \sqrt{2\gamma}\,\xi_k$$

    The Euler discretisation of the Langevin diffusion, a gradient a move. Nothing corrects its bias: on a
    Gaussian of precision $\lambda$ its stationary variance is $\lambda^{-1} / (1 - \gamma\lambda/2)$.

    Args:
        step_size: $\gamma$, below $2/L$ for an $L$-smooth potential.

    Source: Roberts, Tweedie 1996, Exponential convergence of Langevin distributions and their discrete
    approximations; Durmus, Moulines 2017, Nonasymptotic convergence analysis for the unadjusted Langevin
    algorithm, arXiv 1507.05021.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum(x**2))
        >>> x = fr.solve(density, density.chains(jnp.zeros(1), 100), ULA(0.1), max_steps=500).x
        >>> bool(abs(x.moments().variance[0] - 1 / 0.95) < 0.1)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "smooth"})

    step_size: Any = eqx.field(default=0.1)

    def move(
        self, problem: Density, position: PyTree[Array], memory: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        drifted = tree.axpy(-self.step_size, problem.gradient(position), position)
        noise = optax.tree.random_like(key, position)
        return tree.axpy(jnp.sqrt(2 * self.step_size), noise, drifted), memory, {"gradient": 1}
