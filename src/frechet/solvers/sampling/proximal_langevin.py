"""Proximal gradient Langevin: a proximal step, then one of the unadjusted Langevin algorithm."""

from typing import Any, ClassVar

from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler, diffused


class ProximalLangevin(LangevinSampler):
    r"""Proximal gradient Langevin dynamics, for a nonsmooth part with a proximal map.

    $$p_k = \mathrm{prox}_{\gamma g}(x_k), \qquad
    x_{k+1} = p_k - \gamma\nabla f(p_k) + \sqrt{2\gamma}\,\xi_k$$

    The step of splitting: no envelope and no $\lambda$ beside the step size. Its bias vanishes with
    $\gamma$ and is corrected by nothing; draws lie outside of a set that $g$ is the indicator of, by about
    the noise of a step. A move costs one gradient and one proximal map.

    Args:
        step_size: $\gamma$, below $1/L$; None takes $0.2/L$, with the largest curvature of $f$ where the
            chains start for $L$, or 1 where $f$ is flat: name it there.

    Source: Durmus, Majewski, Miasojedow 2019, Analysis of Langevin Monte Carlo via convex optimization,
    arXiv 1802.09188.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> laplace = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.L1(1.0))
        >>> sampler = ProximalLangevin(0.05)
        >>> x = fr.solve(laplace, laplace.chains(jnp.zeros(1), 500), sampler, max_steps=1000).x
        >>> bool(abs(x.moments().variance[0] - 2) < 0.3)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox"})

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        return problem.gradient(x), {"gradient": 1}

    def move(
        self, problem: Density, position: PyTree[Array], memory: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        step = self.step_at(memory)
        near = problem.prox(position, step)
        slope, cost = self.slope(problem, near, memory)
        return diffused(tree.axpy(-step, slope, near), step, key), memory, {**cost, "prox": 1}
