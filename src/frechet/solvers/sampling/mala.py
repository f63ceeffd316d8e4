"""The Metropolis-adjusted Langevin algorithm."""

from typing import ClassVar

from jaxtyping import Array, PyTree, Scalar

from frechet.problems.density import Density
from frechet.solvers.sampling.metropolis import MetropolisLangevin


class MALA(MetropolisLangevin):
    r"""The Metropolis-adjusted Langevin algorithm (MALA), for smooth potentials.

    A step of `ULA` is proposed, $x' = x - \gamma\nabla f(x) + \sqrt{2\gamma}\,\xi$, and accepted with
    probability

    $$\min\Bigl(1, \frac{e^{-f(x')}\,q(x \mid x')}{e^{-f(x)}\,q(x' \mid x)}\Bigr), \qquad
    q(\cdot \mid x) = N(x - \gamma\nabla f(x), 2\gamma I);$$

    otherwise the chain stays where it is. The density is exactly invariant. A move costs one value and one
    gradient.

    Args:
        step_size: $\gamma$; None begins with $d^{-1/3}/L$ in $d$ dimensions, $L$ being the largest curvature
            where the chains start, and follows the acceptance to 57.4 %, by changes that fade.

    Source: Roberts, Tweedie 1996, Exponential convergence of Langevin distributions and their discrete
    approximations; Roberts, Rosenthal 1998, Optimal scaling of discrete approximations to Langevin
    diffusions; Andrieu, Thoms 2008, A tutorial on adaptive MCMC.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum(x**2))
        >>> x = fr.solve(density, density.chains(jnp.zeros(1), 100), MALA(), max_steps=500).x
        >>> bool(abs(x.moments().variance[0] - 1) < 0.05)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"value", "gradient", "smooth"})

    def look(self, problem: Density, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array], dict[str, int]]:
        return *problem.value_and_gradient(x), {"value": 1, "gradient": 1}
