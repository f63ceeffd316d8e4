"""Bilevel problems with a lower problem for each class or each example."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from frechet.problems import BilevelPoint, MultiBlockBilevel
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@functools.cache
def coarse_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """100 pictures of 4 x 4 pixels to train on, 300 to validate on, each with signs that tell ten digits."""
    X, y = data.digits()
    pixels = X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    signs = np.where(y == np.arange(10)[:, None], 1.0, -1.0)
    order = np.random.default_rng(0).permutation(len(y))
    train, valid = order[:100], order[100:400]
    return pixels[train], signs[:, train], pixels[valid], signs[:, valid]


@problem(
    "one-vs-rest",
    title="One ridge weight a pixel, shared by ten one-against-the-rest classifiers",
    source="Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn",
)
def one_vs_rest() -> Case:
    """Logistic regressions of 16 pixels; $x$ are logarithms of ridge weights, held near -3."""
    train, train_signs, valid, valid_signs = coarse_digits()

    def loss(w, datum):
        pixels, sign = datum
        return jax.nn.softplus(-sign * (pixels @ w))

    def outer(x, w, datum):
        return loss(w, datum) + 1e-3 * jnp.sum((x + 3) ** 2)

    def inner(x, w, datum):
        return loss(w, datum) + 0.5 * jnp.sum(jnp.exp(x) * w**2)

    def terms(pixels: np.ndarray, signs: np.ndarray) -> tuple:
        return jnp.broadcast_to(jnp.asarray(pixels), (10, *pixels.shape)), jnp.asarray(signs)

    made = MultiBlockBilevel(outer, inner, terms(valid, valid_signs), terms(train, train_signs))
    # optimum: NumPy's Newton method below, SciPy's BFGS and MINPACK above
    return Case(made, BilevelPoint(jnp.full(16, -2.0), jnp.zeros((10, 16))), optimum=0.2535717424778529)


@problem(
    "partial-auc",
    title="Ranking tumours: hard negatives count more, by a lower problem for each positive",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def partial_auc() -> Case:
    r"""$\frac1m\sum_i \log\frac1n\sum_j e^{\ell(w, p_i - n_j)}$ and a ridge, 50 positives and 100 negatives.

    The logarithm of positive $i$ is the minimiser in $y_i$ of $\frac1n\sum_j e^{\ell_{ij} - y_i} + y_i$,
    which makes it accessible to sampling.
    """
    X, y = data.breast_cancer()
    pairs = X[y == 0][:50, None] - X[y == 1][None, :100]

    def inner(w, y, difference):
        return jnp.exp(jax.nn.softplus(-(difference @ w)) - y) + y

    def outer(w, y, datum):
        return y + datum + 0.005 * (w @ w)

    made = MultiBlockBilevel(outer, inner, jnp.zeros((50, 1)), jnp.asarray(pairs))
    # optimum: SciPy's BFGS and MINPACK
    return Case(made, BilevelPoint(jnp.zeros(30), jnp.ones(50)), optimum=0.025300894985339467)
