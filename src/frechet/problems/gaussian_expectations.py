"""Expectations of a potential and its derivatives under Gaussians: in closed form, or by nodes."""

import functools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import floating, parameter
from frechet.losses.linear_model import LinearModel


class Gaussian(NamedTuple):
    """A Gaussian measure.

    Attributes:
        mean: shape (d,).
        covariance: shape (d, d), symmetric and positive definite.
    """

    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]


class Expectation(NamedTuple):
    r"""What a potential $V$ is on average.

    Attributes:
        value: $\mathbb E\,V$.
        gradient: $\mathbb E\,\nabla V$, shape (d,).
        hessian: $\mathbb E\,\nabla^2 V$, shape (d, d).
    """

    value: Scalar
    gradient: Float[Array, " d"]
    hessian: Float[Array, "d d"]


# ------------------------------------------------------------------ potentials with closed forms


class GaussianPotential(eqx.Module):
    r"""$V(\theta) = \tfrac12(\theta - \mu)^\top A(\theta - \mu)$, the potential of a Gaussian measure.

    Args:
        mean: $\mu$, shape (d,).
        precision: $A$, shape (d, d); its symmetric part counts.

    Example:
        >>> V = GaussianPotential(jnp.zeros(2), jnp.diag(jnp.array([1.0, 4.0])))
        >>> float(V(jnp.ones(2))), float(V.expectation(Gaussian(jnp.ones(2), jnp.eye(2))).value)
        (2.5, 5.0)
    """

    mean: Float[Array, " d"] = eqx.field(converter=floating)
    precision: Float[Array, "d d"] = eqx.field(converter=floating)

    def __check_init__(self):
        if self.mean.ndim != 1 or self.precision.shape != 2 * self.mean.shape:
            raise ValueError(
                f"mean and precision must have shapes (d,) and (d, d), got {self.mean.shape} and "
                f"{self.precision.shape}"
            )

    def __call__(self, theta: Float[Array, " d"]) -> Scalar:
        off = theta - self.mean
        return 0.5 * off @ self.precision @ off

    def expectation(self, q: Gaussian) -> Expectation:
        """Exact."""
        A = (self.precision + self.precision.T) / 2
        off = q.mean - self.mean
        return Expectation(0.5 * (off @ A @ off + jnp.sum(A * q.covariance)), A @ off, A)


class GeneralisedLinear(eqx.Module):
    r"""$V(\theta) = \sum_i \ell(x_i^\top\theta, y_i) + \tfrac12\theta^\top\Lambda\theta$, of a posterior.

    Under a Gaussian each $x_i^\top\theta$ is a Gaussian number, so all that has to be integrated are
    functions of one variable, by Gauss-Hermite quadrature. An expectation costs $O(nd^2)$.

    Args:
        loss: minus the log-likelihood as a loss of a linear model, such as ``fr.losses.Logistic(X, y)``; the
            sum over rows counts, not the mean. ``X`` has to be dense.
        precision: $\Lambda$ of a Gaussian prior of mean zero: a number, or its diagonal of shape (d,).
        order: quadrature nodes, exact for polynomials up to degree ``2 * order - 1``.

    Raises:
        TypeError: ``loss`` is no loss of a dense linear model.
        ValueError: ``precision`` is negative.

    Example:
        >>> from frechet.losses import Squared
        >>> V = GeneralisedLinear(Squared(jnp.array([[2.0], [0.0]]), jnp.array([2.0, 0.0])))
        >>> float(V(jnp.zeros(1)))
        2.0
        >>> V.expectation(Gaussian(jnp.zeros(1), jnp.eye(1))).hessian.round(4).tolist()
        [[5.0]]
    """

    loss: LinearModel
    precision: Any = eqx.field(default=1.0, converter=lambda v: parameter("precision", v, least=0.0))
    order: int = eqx.field(default=40, static=True)

    def __check_init__(self):
        if not isinstance(self.loss, LinearModel):
            raise TypeError(f"loss must be one of frechet.losses, got {type(self.loss).__name__}")
        if not eqx.is_array(self.loss.X):
            raise TypeError("the design X of loss must be a dense array, got a sparse one; use X.todense()")

    def __call__(self, theta: Float[Array, " d"]) -> Scalar:
        return self.loss.count * self.loss(theta) + 0.5 * jnp.sum(
            jnp.asarray(self.precision) * jnp.square(theta)
        )

    def expectation(self, q: Gaussian) -> Expectation:
        """By quadrature on the line, a line for each row."""
        X: Any = self.loss.X
        weight = self.loss.sample_weight
        t, w = (jnp.asarray(v, X.dtype) for v in _hermite(self.order))
        spread = jnp.sqrt(jnp.sum((X @ q.covariance) * X, axis=1))
        z = (X @ q.mean)[:, None] + spread[:, None] * t

        def losses(z: Array) -> Array:
            return jax.vmap(lambda column: self.loss.pointwise(column, self.loss.y), 1, 1)(z)

        # Each loss is of its own number, so one pass gives the derivatives of all.
        slope = lambda z: jax.grad(lambda z: jnp.sum(losses(z)))(z)  # noqa: E731
        first, second = jax.jvp(slope, (z,), (jnp.ones_like(z),))
        value, first, second = (v @ w for v in (losses(z), first, second))
        if weight is not None:
            value, first, second = weight * value, weight * first, weight * second
        ridge = jnp.broadcast_to(jnp.asarray(self.precision, X.dtype), q.mean.shape)
        prior = 0.5 * jnp.sum(ridge * (q.mean**2 + jnp.diagonal(q.covariance)))
        return Expectation(
            jnp.sum(value) + prior, first @ X + ridge * q.mean, (X.T * second) @ X + jnp.diag(ridge)
        )


# ------------------------------------------------------------------ nodes


class Nodes(eqx.Module):
    r"""A rule $\mathbb E\,h(\theta) \approx \sum_k w_k\,h(m + S^{1/2}z_k)$ with fixed nodes $z_k$.

    Args:
        points: $z_k$, shape (k, d): nodes for a standard Gaussian.
        weights: $w_k$, shape (k,), with sum one; all alike when left out.

    Raises:
        ValueError: shapes that disagree.
    """

    points: Float[Array, "k d"]
    weights: Float[Array, " k"]

    def __init__(self, points: Any, weights: Any = None):
        self.points = floating(points)
        k = len(self.points)
        self.weights = jnp.full(k, 1 / k, self.points.dtype) if weights is None else floating(weights)

    def __check_init__(self):
        if self.points.ndim != 2 or self.weights.shape != self.points.shape[:1]:
            raise ValueError(
                f"points and weights must have shapes (k, d) and (k,), got {self.points.shape} and "
                f"{self.weights.shape}"
            )


def gauss_hermite(d: int, order: int) -> Nodes:
    """The product rule: ``order`` to the power ``d`` nodes, exact for polynomials up to degree 2 order - 1.

    Example:
        >>> rule = gauss_hermite(2, 3)
        >>> rule.points.shape, round(float(rule.weights @ rule.points[:, 0] ** 4), 4)
        ((9, 2), 3.0)
    """
    t, w = _hermite(order)
    points = np.stack(np.meshgrid(*[t] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = functools.reduce(np.multiply.outer, [w] * d).ravel()
    return Nodes(points, weights)


def quasi_monte_carlo(d: int, count: int = 1024, seed: int = 0) -> Nodes:
    """Scrambled Sobol points with their mirror images, made to have covariance one: exact for quadratics.

    Args:
        d: the dimension.
        count: how many, even and at least ``2 * d``.
        seed: of the scrambling.

    Example:
        >>> points = quasi_monte_carlo(3, 64).points
        >>> bool(jnp.allclose(points.T @ points / 64, jnp.eye(3), atol=1e-5))
        True
    """
    if count % 2 or count < 2 * d:
        raise ValueError(f"count must be even and at least {2 * d}, twice the dimension, got {count}")
    return Nodes(_sobol(d, count, seed))


def default_nodes(d: int) -> Nodes:
    """A product rule up to three dimensions, quasi-Monte Carlo beyond."""
    orders = {1: 32, 2: 16, 3: 10}
    return gauss_hermite(d, orders[d]) if d in orders else quasi_monte_carlo(d, max(1024, 4 * d))


@functools.cache
def _hermite(order: int) -> tuple[np.ndarray, np.ndarray]:
    t, w = np.polynomial.hermite_e.hermegauss(order)
    return t, w / math.sqrt(2 * math.pi)


@functools.cache
def _sobol(d: int, count: int, seed: int) -> np.ndarray:
    from scipy.special import ndtri
    from scipy.stats import qmc

    exponent = math.ceil(math.log2(count / 2))
    half = ndtri(qmc.Sobol(d, rng=np.random.default_rng(seed)).random_base2(exponent)[: count // 2])
    covariance = half.T @ half / len(half)
    half = np.linalg.solve(np.linalg.cholesky(covariance), half.T).T
    return np.concatenate([half, -half])
