"""Problems with constraints that the iterates may violate on their way."""

import jax.numpy as jnp
import numpy as np

from frechet.convex import Box
from frechet.losses import Logistic
from frechet.problems import Constrained, QuadraticProgram
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "portfolio-qp",
    title="Portfolio of least variance with a demanded return, a quadratic program in 7 shares",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def portfolio_qp() -> Case:
    """Half the variance of the monthly return in percent, at least the mean return, at most 40 % a share."""
    returns = data.monthly_returns()
    mean, centred = returns.mean(axis=0), returns - returns.mean(axis=0)
    count = len(mean)
    # optimum: SciPy's SLSQP and an augmented Lagrangian to a residual of 1e-11
    return Case(
        QuadraticProgram(
            P=centred.T @ centred / len(returns),
            A=np.ones((1, count)),
            b=np.ones(1),
            G=-mean[None, :],
            h=-np.array([mean.mean()]),
            lower=0.0,
            upper=0.4,
        ),
        jnp.full(count, 1 / count),
        optimum=14.4938092845352,
    )


@problem(
    "portfolio-risk-budget",
    title="Portfolio of greatest return with a bound on its variance, 7 shares",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def portfolio_risk_budget() -> Case:
    """The mean monthly return in percent, a variance of at most 30, no short sales, from equal weights."""
    returns = data.monthly_returns()
    mean = jnp.asarray(returns.mean(axis=0))
    covariance = jnp.asarray(np.cov(returns.T, bias=True))
    # optimum: SciPy's SLSQP and an augmented Lagrangian to a residual of 1e-11
    return Case(
        Constrained(
            lambda w: -mean @ w,
            eq=lambda w: w.sum() - 1,
            ineq=lambda w: w @ covariance @ w - 30.0,
            g=Box(0.0, jnp.inf),
        ),
        jnp.full(len(mean), 1 / len(mean)),
        optimum=-1.7219219431320651,
    )


@problem(
    "fair-logistic",
    title="Logistic regression on a sphere, uncorrelated with one feature, 569 x 30",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def fair_logistic() -> Case:
    """Weights of norm at most 2 whose scores are uncorrelated with the mean radius."""
    X, y = data.breast_cancer()
    correlation = jnp.asarray((X - X.mean(axis=0)).T @ X[:, 0] / len(X))
    # optimum: SciPy's SLSQP and an augmented Lagrangian to a residual of 1e-11
    return Case(
        Constrained(Logistic(X, y), eq=lambda w: correlation @ w, ineq=lambda w: w @ w - 4.0),
        jnp.zeros(X.shape[1]),
        optimum=0.5632707244886457,
    )
