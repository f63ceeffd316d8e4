"""The unadjusted Langevin algorithm."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler


class ULA(LangevinSampler):
    r"""The unadjusted Langevin algorithm (ULA), for smooth potentials.

    $$x_{k+1} = x_k - \gamma\nabla f(x_k) + \sqrt{2\gamma}\,\xi_k$$

    The Euler discretisation of the Langevin diffusion, a gradient a move. Nothing corrects its bias: on a
    Gaussian of precision $\lambda$ its stationary variance is $\lambda^{-1} / (1 - \gamma\lambda/2)$. With
    the default step that is 11 % too much in the stiffest direction and right in soft ones; half the step is
    half the bias and twice the moves.

    Args:
        step_size: $\gamma$, below $2/L$ for an $L$-smooth potential; None takes $0.2/L$, with the largest
            curvature where the chains start for $L$.

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

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        return problem.gradient(x), {"gradient": 1}
