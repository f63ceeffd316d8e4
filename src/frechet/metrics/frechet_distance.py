"""The Fréchet distance between Gaussians, which of a network's features is the FID."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.derivatives.psd_root import psd_root


def gaussian_frechet_distance(
    mean1: Float[Array, " d"],
    cov1: Float[Array, "d d"],
    mean2: Float[Array, " d"],
    cov2: Float[Array, "d d"],
) -> Scalar:
    r"""The squared Fréchet distance between two Gaussians, which is their squared Wasserstein-2 distance.

    $$\|\mu_1 - \mu_2\|^2 + \mathrm{tr}\left(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2}\right)$$

    Both roots are of symmetric matrices, by eigen-decompositions clipped at zero: the root of $C_1 C_2$
    itself comes out complex where a covariance is nearly singular. Differentiable, also where eigenvalues
    coincide; along directions in which the product is singular, where no derivative exists, it is taken for
    constant. It can fall below zero by rounding.

    Args:
        mean1: $\mu_1$, shape (d,).
        cov1: $C_1$, positive semi-definite, shape (d, d).
        mean2: $\mu_2$, shape (d,).
        cov2: $C_2$, positive semi-definite, shape (d, d).

    Returns:
        A scalar in the square of the unit of the means. Half precision is computed in float32.

    Raises:
        ValueError: shapes do not fit.

    Source:
        Dowson, Landau 1982, The Fréchet distance between multivariate normal distributions, Journal of
        Multivariate Analysis. Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two
        time-scale update rule converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500.

    Example:
        >>> zero, one = jnp.zeros(2), jnp.array([1.0, 0.0])
        >>> gaussian_frechet_distance(zero, jnp.diag(jnp.array([1.0, 4.0])), one, jnp.eye(2)).round(4)
        Array(2., dtype=float32)
    """
    m1, c1, m2, c2 = map(jnp.asarray, (mean1, cov1, mean2, cov2))
    d = m1.shape[-1] if m1.ndim else 0
    shapes = m1.shape, c1.shape, m2.shape, c2.shape
    if shapes != ((d,), (d, d), (d,), (d, d)):
        raise ValueError(
            f"means are of shape (d,) and covariances of (d, d), got {', '.join(map(str, shapes))}"
        )
    dtype = jnp.promote_types(jnp.result_type(m1, c1, m2, c2), jnp.float32)
    m1, c1, m2, c2 = (x.astype(dtype) for x in (m1, c1, m2, c2))
    root = psd_root(c1)
    overlap = jnp.trace(psd_root(root @ c2 @ root))
    return jnp.sum((m1 - m2) ** 2) + jnp.trace(c1) + jnp.trace(c2) - 2 * overlap


def sample_frechet_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Scalar:
    r"""`gaussian_frechet_distance` of Gaussians fitted to two samples; of Inception features it is the FID.

    Covariances are the unbiased ones, divided by $n - 1$. The estimate is still biased upward, by about
    $1 / n$: two samples of 100 from the same normal distribution in 16 dimensions are 1.7 apart, of 1,000
    0.18 and of 10,000 0.016. So compare at the same sample size only, and with features computed alike.

    Args:
        x: a row a sample, shape (n, d), n at least 2; n above d where a gradient is needed.
        y: likewise, shape (m, d).

    Returns:
        A scalar in the square of the unit of the samples.

    Raises:
        ValueError: shapes do not fit, or a sample has fewer than two rows.

    Source:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two time-scale update rule
        converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500.

    Example:
        >>> x = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> sample_frechet_distance(x, x + 1.0).round(3)
        Array(2., dtype=float32)
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"samples are of shapes (n, d) and (m, d), n and m from 2, got {x.shape} and {y.shape}"
        )

    def moments(x: Array) -> tuple[Array, Array]:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = jnp.mean(x, axis=0)
        return mean, (x - mean).T @ (x - mean) / (len(x) - 1)

    return gaussian_frechet_distance(*moments(x), *moments(y))
