"""Natural gradient descent of the free energy, on means and precisions."""

from collections.abc import Callable

from jaxtyping import Scalar

from frechet.problems.gaussian_expectations import Gaussian
from frechet.problems.gaussian_variational import GaussianVariational, precision
from frechet.solvers.variational.descent import VariationalDescent, VariationalState


class NaturalGradientVI(VariationalDescent):
    r"""Averages precisions and takes a Newton-like step of the mean; also called variational online Newton.

    $$S^{-1} \leftarrow (1 - \rho)\,S^{-1} + \rho\,\mathbb E\nabla^2 V, \qquad
        m \leftarrow m - \rho\,S\,\mathbb E\nabla V$$

    with the new $S$ for the mean. Invariant under linear maps of space, it does not suffer from bad
    conditioning: a Gaussian target takes one step with $\rho = 1$. There is no convergence theory for it as
    for `ForwardBackwardGVI`; where $\mathbb E\nabla^2 V$ is indefinite a precision may be too, and $\rho$ has
    to be small. A step costs one expectation of value, gradient and Hessian, and $O(d^3)$.

    Args:
        step_size: a constant $\rho$, at most 1; when left out 0.8, halved where the free energy would rise.

    Source:
        Khan, Nielsen, Tangkaratt, Lin, Gal, Srivastava 2018, Fast and scalable Bayesian deep learning by
        weight-perturbation in Adam, ICML, arXiv 1806.04854; Khan, Rue 2023, The Bayesian learning rule,
        arXiv 2107.04562.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> target = fr.problems.GaussianPotential(jnp.array([1.0]), jnp.array([[4.0]]))
        >>> solution = fr.solve(fr.GaussianVariational(target), jnp.zeros(1), NaturalGradientVI(), tol=1e-4)
        >>> solution.x.mean.round(3).tolist(), solution.x.covariance.round(3).tolist()
        ([1.0], [[0.25]])
    """

    def path(self, problem: GaussianVariational, state: VariationalState) -> Callable[[Scalar], Gaussian]:
        x, ahead, P = state.x, state.ahead, precision(state.x)

        def candidate(rate: Scalar) -> Gaussian:
            S = precision(Gaussian(x.mean, (1 - rate) * P + rate * ahead.hessian))
            return Gaussian(x.mean - rate * S @ ahead.gradient, S)

        return candidate

    def longest(self, state: VariationalState) -> float:
        return 0.8
