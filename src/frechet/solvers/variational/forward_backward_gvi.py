"""Forward-backward splitting for Gaussian variational inference."""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.problems.gaussian_expectations import Expectation, Gaussian
from frechet.problems.gaussian_variational import GaussianVariational
from frechet.solvers.variational.descent import VariationalDescent, VariationalState, spectral_radius


class ForwardBackwardGVI(VariationalDescent):
    r"""A gradient step on the potential, then the entropy's proximal map, both among Gaussians.

    $$m \leftarrow m - \eta\,\mathbb E\nabla V, \qquad M = I - \eta\,\mathbb E\nabla^2 V, \qquad
        S \leftarrow \mathrm{JKO}_\eta(M S M),$$

    where the second map moves each eigenvalue $w$ to $\frac12(w + 2\eta + \sqrt{w(w + 4\eta)})$. It is
    proximal gradient descent of the free energy in the Bures-Wasserstein geometry. For a $\beta$-smooth
    potential and $\eta \le 1/\beta$ the free energy falls in every step: where $V$ is convex its gap is
    $O(1/k)$, and with modulus $\alpha$ of strong convexity $W_2^2$ to the solution shrinks by
    $1 - \alpha\eta$ a step. The covariance stays above $\eta I$: no step size makes it singular. A step
    costs one expectation of value, gradient and Hessian, and $O(d^3)$.

    Left to itself it takes $\eta$ as 0.9 over the largest eigenvalue of $\mathbb E\nabla^2 V$, which may be
    far below $\beta$, and halves that where the free energy would rise.

    Args:
        step_size: a constant $\eta$.

    Source:
        Diao, Balasubramanian, Chewi, Salim 2023, Forward-backward Gaussian variational inference via JKO in
        the Bures-Wasserstein space, ICML, arXiv 2304.05398.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> target = fr.problems.GaussianPotential(jnp.array([1.0, 2.0]), jnp.diag(jnp.array([1.0, 4.0])))
        >>> problem = fr.GaussianVariational(target)
        >>> q = fr.solve(problem, jnp.zeros(2), ForwardBackwardGVI(), tol=1e-4).x
        >>> q.mean.round(3).tolist(), jnp.diag(q.covariance).round(3).tolist()
        ([1.0, 2.0], [1.0, 0.25])
    """

    cost: ClassVar[dict[str, int]] = {"prox": 1}

    def path(self, problem: GaussianVariational, state: VariationalState) -> Callable[[Scalar], Gaussian]:
        return lambda size: forward_backward(problem, state.x, state.ahead, size)

    def longest(self, state: VariationalState) -> Scalar:
        # At the inverse itself M is singular, and the prox takes the root of an eigenvalue that is rounding.
        return 0.9 / spectral_radius(state.ahead.hessian)


def forward_backward(problem: GaussianVariational, x: Gaussian, ahead: Expectation, size: Scalar) -> Gaussian:
    """The step from ``x`` with those expectations at it."""
    M = jnp.eye(len(x.mean), dtype=x.mean.dtype) - size * ahead.hessian
    return problem.prox(Gaussian(x.mean - size * ahead.gradient, M @ x.covariance @ M), size)
