"""Gaussian variational inference: the Gaussian nearest to a measure that is known by its potential."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Scalar

from frechet.convex.parameters import known
from frechet.core import lift, tree
from frechet.core.problem import Problem
from frechet.problems.gaussian_expectations import Expectation, Gaussian, Nodes, default_nodes


class GaussianVariational(Problem):
    r"""The Gaussian $q = \mathcal N(m, S)$ that minimises $\mathrm{KL}(q \,\|\, e^{-V}/Z)$.

    The unknown is a `Gaussian`; a start may be any pair of mean and covariance, or a mean alone for
    covariance one. The objective is the free energy, minus the evidence lower bound,

    $$F(m, S) = \mathbb E_q V - H(q), \qquad H(q) = \tfrac12\log\det S + \tfrac d2\log(2\pi e),$$

    which is the divergence up to the unknown constant $\log Z$. The optimality map is its gradient in the
    Bures-Wasserstein geometry of Gaussians,

    $$\bigl(\mathbb E_q\nabla V,\ \mathbb E_q\nabla^2 V - S^{-1}\bigr).$$

    As a covariance has its entries twice, its antisymmetric part $(S - S^\top)/2$ is added, which keeps
    solutions isolated; all else sees the symmetric part alone. For convex $V$ the free energy is convex
    along geodesics, and the solution unique where $V$ is strongly convex.

    Args:
        potential: $V$, a callable from an array of shape (d,) to a scalar: minus the logarithm of a density
            up to a constant; twice differentiable. A module with a method ``expectation(gaussian)`` gives its
            expectations itself, as `GaussianPotential` and `GeneralisedLinear` do exactly.
        nodes: the rule for expectations of other potentials (see `gauss_hermite`, `quasi_monte_carlo`); when
            left out a product rule up to three dimensions, 1,024 quasi-Monte-Carlo nodes beyond.

    Raises:
        TypeError: ``potential`` is not callable, or a start that is neither a pair nor a mean.
        ValueError: shapes that disagree, or a covariance to start from that is not positive definite.

    Source:
        Lambert, Chewi, Bach, Bonnabel, Rigollet 2022, Variational inference via Wasserstein gradient flows,
        NeurIPS, arXiv 2205.15902; Opper, Archambeau 2009, The variational Gaussian approximation revisited
        (the stationarity conditions).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.GaussianVariational(lambda theta: jnp.sum(jnp.exp(theta) - 2.0 * theta))
        >>> q = fr.solve(problem, jnp.zeros(1), tol=1e-5).x
        >>> q.mean.round(3).tolist(), q.covariance.round(3).tolist()  # log 2 - 1/4 and 1/2
        ([0.443...], [[0.5]])
    """

    potential: Callable[[Float[Array, " d"]], Scalar]
    nodes: Nodes | None = None

    def __check_init__(self):
        if not callable(self.potential):
            raise TypeError(f"potential must be callable, got {type(self.potential).__name__}")
        if self.nodes is not None and not isinstance(self.nodes, Nodes):
            raise TypeError(f"nodes must be made by gauss_hermite or quasi_monte_carlo, got {self.nodes!r}")

    # What a solver may ask.

    def expectation(self, x: Gaussian) -> Expectation:
        r"""Means of the potential, its gradient and its Hessian under ``x``.

        With nodes the latter two are derivatives of the first, $\mathbb E\nabla^2 V$ being
        $2\partial_S\mathbb E V$: that takes gradients alone, and makes the optimality map the exact gradient
        of the objective.
        """
        x = symmetric(x)
        exact = getattr(self.potential, "expectation", None)
        if exact is not None:
            return exact(x)
        nodes = default_nodes(x.mean.size) if self.nodes is None else self.nodes
        points, weights = (v.astype(x.mean.dtype) for v in (nodes.points, nodes.weights))
        mean = lambda x: weights @ jax.vmap(self._potential)(_around(x, points))  # noqa: E731
        value, slopes = jax.value_and_grad(mean)(x)
        return Expectation(value, slopes.mean, slopes.covariance + slopes.covariance.T)

    def sampled_expectation(self, x: Gaussian, noise: Float[Array, "k d"]) -> Expectation:
        r"""The means over the draws $m + S^{1/2}z_k$ that standard normal ``noise`` makes."""
        derivatives = lambda theta: Expectation(  # noqa: E731
            *jax.value_and_grad(self._potential)(theta), jax.jacfwd(jax.grad(self._potential))(theta)
        )
        value, gradient, hessian = jax.vmap(derivatives)(_around(x, noise))
        return Expectation(*(jnp.mean(v, axis=0) for v in (value, gradient, hessian)))

    def expectation_from_gradients(self, x: Gaussian, noise: Float[Array, "k d"]) -> Expectation:
        r"""From gradients alone, as $\mathbb E\nabla^2 V = S^{-1}\mathbb E(\theta - m)\nabla V^\top$."""
        L = jnp.linalg.cholesky(x.covariance)
        value, gradient = jax.vmap(jax.value_and_grad(self._potential))(x.mean + noise @ L.T)
        towards = jax.scipy.linalg.solve_triangular(L, noise.T, trans=1, lower=True).T
        hessian = towards.T @ gradient / len(noise)
        return Expectation(jnp.mean(value), jnp.mean(gradient, axis=0), (hessian + hessian.T) / 2)

    def prox(self, x: Gaussian, step: Any) -> Gaussian:
        r"""The proximal map of ``step`` times minus the entropy, in the distance $W_2$ between Gaussians.

        In closed form it moves each eigenvalue $w$ of the covariance to $\frac12(w + 2s + \sqrt{w(w+4s)})$.
        """
        w, U = jnp.linalg.eigh(x.covariance)
        w = jnp.maximum(w, 0)  # which rounding makes negative where the covariance is singular
        return Gaussian(x.mean, (U * (0.5 * (w + 2 * step + jnp.sqrt(w * (w + 4 * step))))) @ U.T)

    def offers(self) -> dict[str, str]:
        return {
            "expectation": "means of the potential, its gradient and its Hessian under a Gaussian",
            "sampled expectation": "the same over draws",
            "prox": "the proximal map of minus the entropy",
        }

    # What it means to be solved.

    def objective(self, x: Gaussian) -> Scalar:
        return self.expectation(x).value - self.entropy(x)

    def entropy(self, x: Gaussian) -> Scalar:
        r"""$H(q)$, NaN where the covariance is not positive definite."""
        L = jnp.linalg.cholesky(x.covariance)
        return jnp.sum(jnp.log(jnp.diagonal(L))) + 0.5 * len(x.mean) * math.log(2 * math.pi * math.e)

    def optimality(self, x: Gaussian) -> Gaussian:
        ahead = GaussianVariational.expectation(self, x)
        skew = (x.covariance - x.covariance.T) / 2
        return Gaussian(ahead.gradient, ahead.hessian - precision(x) + skew)

    def start(self, x0: Any) -> Gaussian:
        x = _gaussian(x0)
        if known(*x):
            S = np.asarray(x.covariance, np.float64)
            if np.isfinite(S).all():  # what is not is reported by the solve
                off = np.max(np.abs(S - S.T))
                if off > 1e-3 * np.max(np.abs(S)) or np.linalg.eigvalsh((S + S.T) / 2)[0] <= 0:
                    raise ValueError("the covariance to start from must be symmetric and positive definite")
        return x

    def lifted(self, x: Any) -> "GaussianVariational":
        potential = lift.lift(self.potential, _gaussian(x).mean, what="potential")
        return self if potential is self.potential else lift.replaced(self, potential=potential)

    def sound(self) -> Bool[Array, ""]:
        return tree.all_finite((self.potential, self.nodes))

    def default_solver(self) -> str:
        return "frechet.solvers.variational.forward_backward_gvi:ForwardBackwardGVI"

    def _potential(self, theta: Float[Array, " d"]) -> Scalar:
        out = lift.call(self.potential, theta)
        if jnp.shape(out) != ():
            raise TypeError(f"the potential must return a scalar, got shape {jnp.shape(out)}")
        return out


def symmetric(x: Gaussian) -> Gaussian:
    """With the covariance's symmetric part."""
    return Gaussian(x.mean, (x.covariance + x.covariance.T) / 2)


def precision(x: Gaussian) -> Float[Array, "d d"]:
    """The inverse of the covariance's symmetric part; NaN where that is not positive definite."""
    factor = (jnp.linalg.cholesky(x.covariance), True)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(len(x.mean), dtype=x.mean.dtype))


def _around(x: Gaussian, points: Float[Array, "k d"]) -> Float[Array, "k d"]:
    if points.shape[1:] != x.mean.shape:
        raise ValueError(
            f"the nodes have shape {points.shape}, the mean {x.mean.shape}; they are (k, d) and (d,)"
        )
    return x.mean + points @ jnp.linalg.cholesky(x.covariance).T


def _gaussian(x: Any) -> Gaussian:
    if eqx.is_array(x):
        x = (x, jnp.eye(x.size, dtype=x.dtype))
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise TypeError("the point is a pair (mean, covariance), or a mean to start from covariance one")
    mean, covariance = x
    if jnp.ndim(mean) != 1 or jnp.shape(covariance) != 2 * jnp.shape(mean):
        raise ValueError(
            f"mean and covariance must have shapes (d,) and (d, d), got {jnp.shape(mean)} and "
            f"{jnp.shape(covariance)}"
        )
    return Gaussian(mean, covariance)
