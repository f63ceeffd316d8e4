"""Densities to draw from, with their true moments wherever those are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import stats

from frechet.convex import L1, Box, TotalVariation1D
from frechet.problems.density import Chains, Density, Moments
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

CHAINS = 8


def _started(density: Density, centre: np.ndarray, spread: np.ndarray) -> Case:
    """Chains that start wider than the density."""
    apart = centre + 2 * spread * np.random.default_rng(1).normal(size=(CHAINS, len(centre)))
    return Case(density, Chains.at(jnp.asarray(apart)))


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), float)


def _moments(mean: np.ndarray, variance: np.ndarray) -> Moments:
    return Moments(jnp.asarray(mean), jnp.asarray(variance))


@problem(
    "gaussian-100", title="Density: a Gaussian of condition number 100, 10 dimensions", source="generated"
)
def gaussian() -> Case:
    """Precisions from 1 to 100, in random directions."""
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    precisions = np.geomspace(1, 100, 10)
    variance = np.diagonal(Q @ np.diag(1 / precisions) @ Q.T)
    K = jnp.asarray(Q @ np.diag(precisions) @ Q.T)
    density = Density(lambda x: 0.5 * x @ K @ x, moments=_moments(np.zeros(10), variance))
    return _started(density, np.zeros(10), np.sqrt(variance))


@problem(
    "anisotropic-laplace",
    title="Density: Laplace with scales from 1 to 1/10, 10 dimensions",
    source="generated",
)
def anisotropic_laplace() -> Case:
    r"""$\prod_i e^{-i |x_i|}$."""
    rates = np.arange(1.0, 11.0)
    moments = _moments(np.zeros(10), 2 / rates**2)
    density = Density(lambda x: 0 * jnp.sum(x), L1(jnp.asarray(rates)), moments=moments)
    return _started(density, np.zeros(10), 1 / rates)


@problem("truncated-gaussian", title="Density: Gaussians cut off by a box, 10 dimensions", source="generated")
def truncated_gaussian() -> Case:
    """Half of the coordinates have their mean outside of the box, where only a tail is left."""
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(-2, 2, 10), np.geomspace(0.5, 2, 10)
    lower, upper = np.full(10, -1.0), np.full(10, 1.0)
    true = stats.truncnorm((lower - mean) / deviation, (upper - mean) / deviation, mean, deviation)
    at, scale = jnp.asarray(mean), jnp.asarray(deviation)
    density = Density(
        lambda x: 0.5 * jnp.sum(((x - at) / scale) ** 2),
        Box(jnp.asarray(lower), jnp.asarray(upper)),
        moments=_moments(true.mean(), true.var()),
    )
    start = np.random.default_rng(1).uniform(-1, 1, (CHAINS, 10))
    return Case(density, Chains.at(jnp.asarray(start)))


@problem(
    "l1-posterior",
    title="Density: linear regression with a Laplace prior, 10 coefficients",
    source="Diabetes (Efron, Hastie, Johnstone and Tibshirani 2004), from scikit-learn",
)
def l1_posterior() -> Case:
    r"""Noise of variance 0.5 and prior $e^{-20\|w\|_1}$; the mode is a lasso, the mean is not sparse."""
    X, y = (jnp.asarray(v) for v in data.diabetes())
    # Gibbs sampling of Park and Casella (2008), 4 chains of 60,000 draws: means to 0.4 % of a deviation
    mean = _numbers(
        """
        -0.000183 -0.105821 0.320714 0.174113 -0.050073 -0.025716 -0.108522 0.041663 0.296295 0.034915
        """
    )
    variance = _numbers(
        """
        0.000773 0.00141 0.001676 0.001596 0.003182 0.002227 0.002983 0.002981 0.002461 0.001176
        """
    )
    density = Density(lambda w: jnp.sum((X @ w - y) ** 2), L1(20.0), moments=_moments(mean, variance))
    return _started(density, mean, np.sqrt(variance))


@problem(
    "tv-posterior",
    title="Density: a row of a picture under noise and a total-variation prior, 64 pixels",
    source='"camera" from scikit-image (photograph by L. van der Maaten, CC0), with Gaussian noise',
)
def tv_posterior() -> Case:
    """Noise of standard deviation 0.1; the weight is that of `tv-denoising`. Moments are not known."""
    row = data.camera_row()[192:256]
    noisy = row + 0.1 * np.random.default_rng(0).normal(size=row.shape)
    seen = jnp.asarray(noisy)
    density = Density(lambda x: 50 * jnp.sum((x - seen) ** 2), TotalVariation1D(20.0))
    return _started(density, noisy, np.full(64, 0.05))


def logistic(w: Array, X: Array, signs: Array) -> Array:
    """Minus the log likelihood and log prior, standard normal, of logistic regression."""
    return jnp.sum(jax.nn.softplus(-signs * (X @ w))) + 0.5 * w @ w


@problem(
    "logistic-posterior",
    title="Density: logistic regression with a normal prior, 30 coefficients",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def logistic_posterior() -> Case:
    """569 tumours, standardised features, standard normal prior."""
    X, y = data.breast_cancer()
    A, signs = jnp.asarray(X), jnp.asarray(2.0 * y - 1)
    # the no-U-turn sampler, 4 chains of 10,000 draws: means to 0.5 % of a deviation
    mean = _numbers(
        """
        -0.41455 -0.44896 -0.40063 -0.58382 -0.19786 0.60706 -1.00599 -1.08814 0.09296 0.38769 -1.45963
        0.32752 -0.81868 -1.2721 -0.46798 0.75786 0.3367 -0.2524 0.26389 0.77974 -1.13655 -1.4817
        -0.91762 -1.22436 -0.72285 -0.00375 -0.97777 -1.02613 -1.02698 -0.55354
        """
    )
    variance = _numbers(
        """
        0.78712 0.30507 0.8002 0.83607 0.37319 0.63054 0.67191 0.67718 0.25672 0.4477 0.61614 0.24622
        0.61511 0.82129 0.21069 0.44483 0.37693 0.41506 0.28303 0.47767 0.85202 0.41992 0.85655 0.82788
        0.37606 0.60079 0.58476 0.63524 0.30772 0.50324
        """
    )
    density = Density(lambda w: logistic(w, A, signs), moments=_moments(mean, variance))
    return _started(density, mean, np.sqrt(variance))
