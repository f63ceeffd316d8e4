"""Langevin sampling of nonsmooth densities through the Moreau envelope, without and with correction."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import EnvelopeSampler, positive_or_none
from frechet.solvers.sampling.metropolis import MetropolisLangevin


class MYULA(EnvelopeSampler):
    r"""The Moreau-Yosida unadjusted Langevin algorithm (MYULA), for a nonsmooth part with a proximal map.

    $$x_{k+1} = x_k - \gamma\nabla f(x_k) - \frac\gamma\lambda\bigl(x_k - \mathrm{prox}_{\lambda g}(x_k)\bigr)
    + \sqrt{2\gamma}\,\xi_k$$

    `ULA` on $f + g_\lambda$. Two biases, neither corrected: that of the step, and that of the envelope, which
    lies below $g$ and so spreads the density over a width of about $\sqrt\lambda$, out of a set too. Both
    vanish with $\lambda$ and $\gamma$, at the price of longer runs. A move costs one gradient and one
    proximal map.

    Args:
        step_size: $\gamma \le 1/(L + 1/\lambda)$; None takes a fifth of that.
        smoothing: $\lambda$; None takes $1/L$, with the largest curvature of $f$ where the chains start for
            $L$, or 1 where $f$ is flat: name it there.

    Source: Durmus, Moulines, Pereyra 2018, Efficient Bayesian computation by proximal Markov chain Monte
    Carlo: when Langevin meets Moreau, arXiv 1612.07471.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> laplace = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.L1(1.0))
        >>> x = fr.solve(laplace, laplace.chains(jnp.zeros(1), 500), MYULA(0.05, 0.1), max_steps=1000).x
        >>> bool(abs(x.moments().variance[0] - 2) < 0.4)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox"})

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        uphill = _uphill(problem, x, problem.gradient(x), self.smoothing_at(curvature))
        return uphill, {"gradient": 1, "prox": 1}


def _uphill(problem: Density, x: PyTree[Array], gradient: PyTree[Array], smoothing: Any) -> PyTree[Array]:
    """The gradient of ``f`` plus that of the envelope of ``g``."""
    return tree.axpy(1 / smoothing, tree.subtract(x, problem.prox(x, smoothing)), gradient)


class MYMALA(MetropolisLangevin):
    r"""The Moreau-Yosida Metropolis-adjusted Langevin algorithm (MYMALA, P-MALA).

    A step of `MYULA` is proposed, and accepted or rejected by the density itself, $e^{-f-g}$, which is
    exactly invariant whatever $\lambda$ is. A move costs one value, one gradient and two proximal maps.

    Args:
        step_size: $\gamma$; None begins with $d^{-1/3}/L$ in $d$ dimensions, $L$ being the largest curvature
            of $f$ where the chains start, or 1 where it is flat, and follows the acceptance to 57.4 %, by
            changes that fade.
        smoothing: $\lambda$; None takes $\gamma$, so that the proposal is about
            $\mathrm{prox}_{\gamma g}(x) - \gamma\nabla f(x)$.

    Source: Pereyra 2016, Proximal Markov chain Monte Carlo algorithms, arXiv 1306.0187; Durmus, Moulines,
    Pereyra 2018, Efficient Bayesian computation by proximal Markov chain Monte Carlo: when Langevin meets
    Moreau, arXiv 1612.07471.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> laplace = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.L1(1.0))
        >>> x = fr.solve(laplace, laplace.chains(jnp.zeros(1), 500), MYMALA(), max_steps=500).x
        >>> bool(abs(x.moments().variance[0] - 2) < 0.2)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"potential", "gradient", "prox"})

    smoothing: Any = eqx.field(default=None, converter=positive_or_none)

    def look(self, problem: Density, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array], dict[str, int]]:
        return *problem.potential_and_gradient(x), {"value": 1, "gradient": 1}

    def direction(
        self, problem: Density, x: PyTree[Array], gradient: PyTree[Array], step: Scalar
    ) -> tuple[PyTree[Array], dict[str, int]]:
        smoothing = step if self.smoothing is None else self.smoothing
        return _uphill(problem, x, gradient, smoothing), {"prox": 1}
