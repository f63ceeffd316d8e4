"""Logistic and multinomial regression."""

import jax
import jax.numpy as jnp

from frechet.convex import L1, SquaredL2
from frechet.losses import Logistic, Multinomial
from frechet.problems import Composite, FiniteSum
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

_BREAST_CANCER = (
    "Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn"
)


@problem("l1-logistic", title="Logistic regression with an l1 penalty, 569 x 30", source=_BREAST_CANCER)
def l1_logistic() -> Case:
    """Standardised features, no intercept, weight 0.01."""
    X, y = data.breast_cancer()
    # optimum: scikit-learn's liblinear, tolerance 1e-11
    return Case(Composite(Logistic(X, y), L1(0.01)), jnp.zeros(X.shape[1]), optimum=0.1642463716942927)


@problem("l2-logistic", title="Logistic regression with a ridge, smooth, 569 x 30", source=_BREAST_CANCER)
def l2_logistic() -> Case:
    """Standardised features, no intercept, ridge 0.01 inside every term: smooth, and can be sampled."""
    X, y = data.breast_cancer()

    def loss(w, datum):
        x, sign = datum
        return jax.nn.softplus(-sign * (x @ w)) + 0.005 * (w @ w)

    terms = (jnp.asarray(X), jnp.asarray(2.0 * y - 1))
    # optimum: scikit-learn's newton-cholesky, tolerance 1e-12
    return Case(FiniteSum(loss, terms), jnp.zeros(X.shape[1]), optimum=0.10241656575570424)


@problem(
    "multinomial",
    title="Multinomial logistic regression with a ridge, 1797 x 64, 10 classes",
    source="Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn",
)
def multinomial() -> Case:
    """Grey values in [0, 1], no intercept, ridge 0.001."""
    X, y = data.digits()
    # optimum: scikit-learn's newton-cg, tolerance 1e-10
    return Case(
        Composite(Multinomial(X, y), SquaredL2(1e-3)), jnp.zeros((X.shape[1], 10)), optimum=0.2645544391190467
    )
