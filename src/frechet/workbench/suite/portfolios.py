"""Least squares on the simplex."""

import jax.numpy as jnp

from frechet.convex import Simplex
from frechet.losses import Squared
from frechet.problems import Composite
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "portfolio",
    title="Portfolio of 7 shares that tracks the S&P 500, least squares on the simplex",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def portfolio() -> Case:
    """Monthly returns in percent, starting from equal weights."""
    shares, index = data.monthly_returns()
    count = shares.shape[1]
    return Case(Composite(Squared(shares, index), Simplex()), jnp.full(count, 1 / count), optimum=None)
