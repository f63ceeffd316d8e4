"""Denoising of a real signal."""

import jax.numpy as jnp
import numpy as np

from frechet.convex import TotalVariation1D
from frechet.problems import Composite
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "tv-denoising",
    title="Total-variation denoising of a row of a picture, 512 pixels",
    source='"camera" from scikit-image (photograph by L. van der Maaten, CC0), with Gaussian noise',
)
def tv_denoising() -> Case:
    """Grey values in [0, 1], noise of standard deviation 0.1, weight 0.2."""
    row = data.camera_row()
    noisy = jnp.asarray(row + 0.1 * np.random.default_rng(0).normal(size=row.shape))
    f = lambda x: 0.5 * jnp.sum(jnp.square(x - noisy))  # noqa: E731
    # optimum: scikit-learn's LassoLars on the jumps, an exact path
    return Case(Composite(f, TotalVariation1D(0.2)), jnp.zeros(len(row)), optimum=2.966318944036903)
