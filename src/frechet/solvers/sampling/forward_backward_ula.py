"""Langevin sampling of nonsmooth densities through the forward-backward envelope."""

from typing import Any, ClassVar

import jax
from jaxtyping import Array, PyTree

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import EnvelopeSampler


class FBULA(EnvelopeSampler):
    r"""The unadjusted Langevin algorithm on the forward-backward envelope of $f + g$.

    $$x_{k+1} = x_k - \frac\gamma\lambda (I - \lambda\nabla^2 f(x_k))
    \bigl(x_k - \mathrm{prox}_{\lambda g}(x_k - \lambda\nabla f(x_k))\bigr) + \sqrt{2\gamma}\,\xi_k$$

    The envelope has the minimisers of $f + g$, so the mode is not moved as `MYULA` may move it; like
    that method it carries the bias of the envelope, in $f$ as well as in $g$, and that of the step. A move
    costs one gradient, one Hessian-vector product and one proximal map.

    Args:
        step_size: $\gamma$, below the smaller of $\lambda$ and $1/L$; None takes $1/(L + 1/\lambda)$.
        smoothing: $\lambda < 1/L$; None takes $0.1/L$, with the largest curvature of $f$ where the chains
            start for $L$, or 1 where $f$ is flat: name it there.

    Source: Eftekhari, Vargas, Zygalakis 2023, The forward-backward envelope for sampling with the overdamped
    Langevin algorithm, arXiv 2201.09096.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum(x**2), fr.convex.NonNegative())
        >>> x = fr.solve(density, density.chains(jnp.ones(1), 500), FBULA(0.02, 0.05), max_steps=1000).x
        >>> bool(abs(x.moments().mean[0] - 0.798) < 0.15)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox", "hvp"})

    share: ClassVar[float] = 1.0
    width: ClassVar[float] = 0.1

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        smoothing = self.smoothing_at(curvature)
        near = problem.prox(tree.axpy(-smoothing, problem.gradient(x), x), smoothing)
        residual = jax.tree.map(lambda u, p: ((u - p) / smoothing).astype(u.dtype), x, near)
        slope = tree.axpy(-smoothing, problem.hvp(x, residual), residual)
        return slope, {"gradient": 1, "prox": 1, "hvp": 1}
