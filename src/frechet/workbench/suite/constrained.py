"""Problems with nonlinear constraints: a portfolio of bounded risk, a fair classifier."""

import jax.numpy as jnp
import numpy as np

from frechet.convex import Box
from frechet.losses import Logistic
from frechet.problems import Constrained, KKTPoint
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "risk-budget",
    title="Portfolio of greatest return with a bound on its variance, in 7 weights",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def risk_budget() -> Case:
    """The mean monthly return in percent, with a variance of at most 30 and no short sales."""
    returns = data.monthly_returns()
    mean, covariance = jnp.asarray(returns.mean(axis=0)), jnp.asarray(np.cov(returns.T, bias=True))
    program = Constrained(
        lambda w: -mean @ w,
        eq=lambda w: w.sum() - 1,
        ineq=lambda w: w @ covariance @ w - 30.0,
        g=Box(0.0, jnp.inf),
    )
    # optimum: SciPy's SLSQP, then Newton's method on the equations of what it found active
    start = KKTPoint(jnp.full(7, 0.1), jnp.zeros(()), jnp.ones(()))
    return Case(program, start, optimum=-1.7219219431320736)


@problem(
    "fair-logistic",
    title="Logistic regression in a ball, uncorrelated with one feature, 569 x 30",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def fair_logistic() -> Case:
    """Weights of norm at most 2 whose scores are uncorrelated with the mean radius."""
    X, y = data.breast_cancer()
    correlation = jnp.asarray((X - X.mean(axis=0)).T @ X[:, 0] / len(X))
    program = Constrained(Logistic(X, y), eq=lambda w: correlation @ w, ineq=lambda w: w @ w - 4.0)
    # optimum: SciPy's SLSQP, then Newton's method on the equations of what it found active
    start = KKTPoint(jnp.full(X.shape[1], 0.1), jnp.zeros(()), jnp.ones(()))
    return Case(program, start, optimum=0.5632707244890434)
