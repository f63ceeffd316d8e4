"""Optimal transport between samples, pictures, colours and domains."""

import jax.numpy as jnp
import numpy as np

from frechet.problems import Potentials, Transport
from frechet.transport import Entropic, Grid, PointCloud, Quadratic, TopK
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


def _from_zero(problem: Transport, optimum: float) -> Case:
    # optima: Newton's method on the dual in NumPy
    return Case(problem, problem.initial(), optimum=optimum)


@problem(
    "ot-gaussians",
    title="Two samples of 200 from Gaussians in the plane, entropic at 5% of the mean cost",
    source="generated, seed 0: N(0, I) and N((2, 1), diag(4, 1/4)), whose squared distance is 5 + 1.25",
)
def gaussians() -> Case:
    """Easy: Sinkhorn needs tens of steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = rng.normal(size=(200, 2)) * [2, 0.5] + [2, 1]
    return _from_zero(Transport(PointCloud(x, y), regulariser=Entropic(0.05)), -7.767083315800037)


@problem(
    "ot-pictures",
    title="The light of a photograph to that of a micrograph, 32 x 32, entropic at 2% of the mean cost",
    source='"camera" and "cell" from scikit-image, in the manner of DOTmark',
)
def pictures() -> Case:
    """Separable costs on a grid, weights over three decades."""
    _, cell, camera, _ = data.grey_pictures()
    problem = Transport(Grid.squared((32, 32)), camera.ravel(), cell.ravel(), Entropic(0.02))
    return _from_zero(problem, -0.04468218111998245)


@problem(
    "ot-digits",
    title="Pictures of the digit 3 to those of 8, points in 64 dimensions, entropic at 0.5% of the mean cost",
    source="scikit-learn's digits, the first 150 of each",
)
def digits() -> Case:
    """Little regularisation: Sinkhorn needs many steps."""
    X, y = data.digits()
    problem = Transport(PointCloud(X[y == 3][:150], X[y == 8][:150]), regulariser=Entropic(0.005))
    return _from_zero(problem, -5.85128953912122)


@problem(
    "ot-histograms",
    title="The mean picture of the digit 3 to that of 5, 8 x 8, quadratic regularisation",
    source="scikit-learn's digits",
)
def histograms() -> Case:
    """A plan with many zeros; the dual is piecewise quadratic."""
    X, y = data.digits()
    three, five = (X[y == k].mean(axis=0) + 1e-3 for k in (3, 5))
    problem = Transport(Grid.squared((8, 8)), three / three.sum(), five / five.sum(), Quadratic(2.0))
    return _from_zero(problem, -0.03145193334642572)


@problem(
    "ot-colours",
    title="Colours of one photograph to those of another, at most 20 sources to a target",
    source='150 pixels each of "china" and "flower" from scikit-learn, seed 0',
)
def colours() -> Case:
    """The bound binds on the way; the optimum keeps it, so it solves the problem without it too."""
    rng = np.random.default_rng(0)
    china, flower = (v.reshape(-1, 3)[rng.choice(427 * 640, 150)] for v in data.photographs())
    return _from_zero(Transport(PointCloud(china, flower), regulariser=TopK(20, 2.0)), -0.3725940978474832)


@problem(
    "ot-domains",
    title="Pictures of digits to turned ones, 100 points in 64 dimensions, exact",
    source="scikit-learn's digits, the next hundred turned by a quarter",
)
def domains() -> Case:
    """A linear program, whose plan is a matching; it starts from the independent plan."""
    X, _ = data.digits()
    turned = np.rot90(X[100:200].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    problem = Transport(PointCloud(X[:100], turned), regulariser=None)
    nearest = ((X[:100, None] - turned) ** 2).sum(-1).min(axis=1)
    x0 = Potentials(jnp.asarray(nearest), jnp.zeros(100), jnp.full((100, 100), 1e-4))
    # optimum: SciPy's HiGHS
    return Case(problem, x0, optimum=15.02)


@problem(
    "ot-cells",
    title="Cells of three kinds before and after a treatment in 20 dimensions, unbalanced",
    source="generated, seed 0: mixtures whose shares and means have moved, 200 and 150 cells",
)
def cells() -> Case:
    """Kinds grow and shrink, so marginals are penalised, not prescribed."""
    rng = np.random.default_rng(0)
    means, moves = 3 * rng.normal(size=(3, 20)), rng.normal(size=(3, 20))
    before, after = rng.choice(3, 200, p=[0.5, 0.3, 0.2]), rng.choice(3, 150, p=[0.2, 0.3, 0.5])
    x = means[before] + rng.normal(size=(200, 20))
    y = (means + moves)[after] + rng.normal(size=(150, 20))
    return _from_zero(
        Transport(PointCloud(x, y), regulariser=Entropic(0.02), unbalanced=50.0), -47.24647770924716
    )


@problem(
    "ot-random",
    title="A random matrix of costs, 200 x 200, entropic at 1/500 of the largest",
    source="generated, seed 0: uniform on (0, 1)",
)
def random() -> Case:
    """No geometry: Sinkhorn needs thousands of steps."""
    C = np.random.default_rng(0).uniform(size=(200, 200))
    return _from_zero(Transport(C, regulariser=Entropic(0.002, relative=False)), -0.017697300707869536)
