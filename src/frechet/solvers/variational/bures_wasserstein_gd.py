"""Gradient descent of the free energy in the Bures-Wasserstein geometry."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, Scalar

from frechet.core.solver import Solver
from frechet.problems.gaussian_expectations import Gaussian
from frechet.problems.gaussian_variational import GaussianVariational, precision
from frechet.solvers.proximal.step_size import constant_or_none
from frechet.solvers.variational import descent
from frechet.solvers.variational.descent import VariationalState, spectral_radius


class BuresWassersteinGD(Solver):
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

    accepts: ClassVar[type] = GaussianVariational
    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    def init(self, problem: GaussianVariational, x0: Gaussian, *, key: PRNGKeyArray) -> VariationalState:
        return descent.start(problem, x0)

    def step(
        self, problem: GaussianVariational, state: VariationalState, *, key: PRNGKeyArray
    ) -> VariationalState:
        x, ahead, P = state.x, state.ahead, precision(state.x)
        longest = lambda _: 0.5 / jnp.maximum(spectral_radius(ahead.hessian), spectral_radius(P))  # noqa: E731

        def move(size: Scalar) -> Gaussian:
            M = jnp.eye(len(x.mean), dtype=x.mean.dtype) - size * (ahead.hessian - P)
            return Gaussian(x.mean - size * ahead.gradient, M @ x.covariance @ M.T)

        return descent.advance(problem, state, self.step_size, longest, move)

    def objective(self, problem: GaussianVariational, state: VariationalState) -> Scalar:
        return state.free_energy
