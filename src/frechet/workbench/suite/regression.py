"""Linear regression with penalties, constraints and outliers."""

import jax.numpy as jnp
import numpy as np

from frechet.convex import L1, ElasticNet, GroupLasso, NonNegative
from frechet.losses import Huber, Squared
from frechet.problems import Composite
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

_DIABETES = "Diabetes progression (Efron, Hastie, Johnstone and Tibshirani 2004), from scikit-learn"
_DIGITS = "Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn"


@problem("lasso", title="Lasso, 442 x 10", source=_DIABETES)
def lasso() -> Case:
    """Standardised features and target, weight 0.05."""
    X, y = data.diabetes()
    # optimum: scikit-learn's Lasso, duality gap 1e-15
    return Case(Composite(Squared(X, y), L1(0.05)), jnp.zeros(X.shape[1]), optimum=0.29703828352077233)


@problem("elastic-net", title="Elastic net, 442 x 10", source=_DIABETES)
def elastic_net() -> Case:
    """Standardised features and target, l1 weight 0.05 and l2 weight 0.05."""
    X, y = data.diabetes()
    # optimum: scikit-learn's ElasticNet, duality gap 1e-15
    return Case(
        Composite(Squared(X, y), ElasticNet(0.05, 0.05)), jnp.zeros(X.shape[1]), optimum=0.3022201227021325
    )


@problem("robust-regression", title="Regression with the Huber loss, 442 x 10", source=_DIABETES)
def robust_regression() -> Case:
    """Standardised features and target, linear beyond half a standard deviation."""
    X, y = data.diabetes()
    # optimum: the normal equations of the rows inside and outside, iterated until they no longer change
    return Case(Composite(Huber(X, y, delta=0.5)), jnp.zeros(X.shape[1]), optimum=0.1775053200569647)


@problem("nnls", title="Nonnegative least squares: a pixel from the others, 1797 x 60", source=_DIGITS)
def nnls() -> Case:
    """A central pixel (row 4, column 4) from all that vary, scaled to mean square 1; no intercept."""
    X, _ = data.digits()
    y = X[:, 36]
    X = np.delete(X, 36, axis=1)
    X = X[:, X.max(axis=0) > X.min(axis=0)]
    X = X / np.sqrt(np.mean(X**2, axis=0))
    # optimum: SciPy's nnls, an active set method
    return Case(Composite(Squared(X, y), NonNegative()), jnp.zeros(X.shape[1]), optimum=0.027322669508935592)


@problem(
    "group-lasso", title="Group lasso: which pixels tell the digit, 1797 x 61, 10 targets", source=_DIGITS
)
def group_lasso() -> Case:
    """Centred class indicators, standardised pixels; a group is the ten weights of a pixel, weight 0.05."""
    X, digit = data.digits()
    X = data.standardised(X)
    Y = np.eye(10)[digit]
    Y = Y - Y.mean(axis=0)
    pixels = np.broadcast_to(np.arange(X.shape[1])[:, None], (X.shape[1], 10))
    g = GroupLasso(pixels, 0.05)
    # optimum: scikit-learn's MultiTaskLasso, duality gap 1e-14
    return Case(Composite(Squared(X, Y), g), jnp.zeros((X.shape[1], 10)), optimum=0.3061951219070716)
