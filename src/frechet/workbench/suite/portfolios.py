"""Least squares on the simplex."""

import jax.numpy as jnp
import numpy as np

from frechet.convex import Simplex
from frechet.losses import Squared
from frechet.problems import Composite
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "portfolio",
    title="Portfolio of least variance from 7 shares, least squares on the simplex",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def portfolio() -> Case:
    """Half the variance of the monthly return in percent, starting from equal weights."""
    returns = data.monthly_returns()
    months, count = returns.shape
    centred = returns - returns.mean(axis=0)
    # optimum: enumeration of the shares held, each by its normal equations
    return Case(
        Composite(Squared(centred, np.zeros(months)), Simplex()),
        jnp.full(count, 1 / count),
        optimum=12.506504399263662,
    )
