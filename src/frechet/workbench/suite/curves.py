"""Nonlinear least squares with certified answers."""

import jax.numpy as jnp

from frechet.problems import LeastSquares
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

_NIST = "National Institute of Standards and Technology, Statistical Reference Datasets: "


@problem(
    "curve-misra1a", title="Curve fit: adsorption of a gas, 14 points, 2 parameters", source=_NIST + "Misra1a"
)
def misra1a() -> Case:
    """b1 (1 - exp(-b2 x)), from the first start; parameters in units of it, as b2 is 10^-6 of b1."""
    x, y = (jnp.asarray(v) for v in data.misra1a())
    start = jnp.array([500.0, 1e-4])

    def residual(u):
        b1, b2 = start * u
        return b1 * -jnp.expm1(-b2 * x) - y

    # optimum: half the certified sum of squares 1.2455138894E-01; further digits by SciPy's MINPACK
    return Case(LeastSquares(residual), jnp.ones(2), optimum=0.062275694472201215)


@problem(
    "curve-thurber", title="Curve fit: electron mobility, 37 points, 7 parameters", source=_NIST + "Thurber"
)
def thurber() -> Case:
    """A ratio of cubics, from the first start; parameters in units of it."""
    x, y = (jnp.asarray(v) for v in data.thurber())
    start = jnp.array([1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03])

    def residual(u):
        b = start * u
        above = b[0] + x * (b[1] + x * (b[2] + x * b[3]))
        below = 1 + x * (b[4] + x * (b[5] + x * b[6]))
        return above / below - y

    # optimum: half the certified sum of squares 5.6427082397E+03; further digits by SciPy's MINPACK
    return Case(LeastSquares(residual), jnp.ones(7), optimum=2821.3541198334715)
