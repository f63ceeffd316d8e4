"""Gradient descent of the free energy in the Bures-Wasserstein geometry."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.problems.gaussian_expectations import Gaussian
from frechet.problems.gaussian_variational import GaussianVariational, precision
from frechet.solvers.variational.descent import VariationalDescent, VariationalState, spectral_radius


class BuresWassersteinGD(VariationalDescent):
    r"""Follows the whole gradient, that of the entropy too.

    $$m \leftarrow m - \eta\,\mathbb E\nabla V, \qquad M = I - \eta\,(\mathbb E\nabla^2 V - S^{-1}), \qquad
        S \leftarrow M S M$$

    The entropy is not smooth: from a covariance far below $\eta I$ a step of the size that suits the
    potential overshoots by orders of magnitude, where `ForwardBackwardGVI` does not. Near a solution both
    converge linearly. A step costs one expectation of value, gradient and Hessian, and $O(d^3)$.

    Args:
        step_size: a constant $\eta$; when left out half the inverse of the largest eigenvalue of either
            $\mathbb E\nabla^2 V$ or $S^{-1}$, halved again where the free energy would rise.

    Source:
        Lambert, Chewi, Bach, Bonnabel, Rigollet 2022, Variational inference via Wasserstein gradient flows,
        NeurIPS, arXiv 2205.15902.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> target = fr.problems.GaussianPotential(jnp.array([1.0]), jnp.array([[4.0]]))
        >>> q = fr.solve(fr.GaussianVariational(target), jnp.zeros(1), BuresWassersteinGD(), tol=1e-4).x
        >>> q.mean.round(3).tolist(), q.covariance.round(3).tolist()
        ([1.0], [[0.25]])
    """

    def path(self, problem: GaussianVariational, state: VariationalState) -> Callable[[Scalar], Gaussian]:
        x, ahead, P = state.x, state.ahead, precision(state.x)

        def candidate(size: Scalar) -> Gaussian:
            M = jnp.eye(len(x.mean), dtype=x.mean.dtype) - size * (ahead.hessian - P)
            return Gaussian(x.mean - size * ahead.gradient, M @ x.covariance @ M.T)

        return candidate

    def longest(self, state: VariationalState) -> Scalar:
        return 0.5 / jnp.maximum(spectral_radius(state.ahead.hessian), spectral_radius(precision(state.x)))
