"""Gaussian variational inference: the Gaussians nearest to some posteriors."""

import math

import jax.numpy as jnp
import numpy as np

from frechet.losses import Logistic
from frechet.problems import Gaussian, GaussianPotential, GaussianVariational, GeneralisedLinear
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "gvi-gaussian",
    title="Gaussian variational inference: a Gaussian of condition number 200, 10 dimensions",
    source="drawn; Diao, Balasubramanian, Chewi, Salim 2023, arXiv 2304.05398",
)
def gaussian() -> Case:
    """The answer is known; how fast a method gets there is not."""
    rng, precisions = np.random.default_rng(0), np.geomspace(5e-3, 1, 10)
    Q = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    target = GaussianPotential(jnp.asarray(rng.normal(size=10)), jnp.asarray(Q @ np.diag(precisions) @ Q.T))
    # optimum: the target's own free energy, minus the logarithm of its mass
    optimum = 0.5 * float(np.sum(np.log(precisions))) - 5 * math.log(2 * math.pi)
    return Case(GaussianVariational(target), Gaussian(jnp.zeros(10), jnp.eye(10)), optimum=optimum)


@problem(
    "gvi-breast-cancer",
    title="Gaussian variational inference: Bayesian logistic regression on breast cancer, 30 weights",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg, Mangasarian 1993), from scikit-learn",
)
def breast_cancer() -> Case:
    """A standard normal prior; classes are nearly separable, so the posterior is far from a Gaussian."""
    X, y = data.breast_cancer()
    smoothness = np.linalg.norm(X, 2) ** 2 / 4 + 1
    target = GeneralisedLinear(Logistic(jnp.asarray(X), jnp.asarray(y)))
    start = Gaussian(jnp.zeros(30), jnp.eye(30) / smoothness)
    # optimum: fixed-point iteration on the stationarity conditions in NumPy, 40 nodes
    return Case(GaussianVariational(target), start, optimum=27.115913795178642)
