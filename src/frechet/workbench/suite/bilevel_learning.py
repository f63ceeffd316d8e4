"""Hyperparameters by the thousand: weights of examples and of penalties, features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Scalar

from frechet.convex import Box
from frechet.problems import FiniteSumBilevel
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

_DIGITS = "Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn"
_LOGARITHMS = Box(-12.0, 6.0)
"""Where logarithms of penalties stay: beyond, weights are free or nought."""


def digit_parts(sizes: tuple[int, int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Digits to train on, to validate on and, the rest, to test on."""
    X, y = data.digits()
    order = np.random.RandomState(seed).permutation(len(y))
    return [(X[part], y[part]) for part in np.split(order, np.cumsum(sizes))]


def _arrays(*parts: Any) -> Any:
    return jax.tree.map(jnp.asarray, parts)


def _entropy(y: Array, datum: Any) -> Scalar:
    """Of the softmax of the products with the columns of ``y``."""
    picture, digit = datum
    return optax.softmax_cross_entropy_with_integer_labels(picture @ y, digit)


def _drawn(*shape: int) -> Array:
    """A standard normal start; at weights of zero penalties would change nothing."""
    return jnp.asarray(np.random.RandomState(1).randn(*shape))


def _accuracy(scores: Array, digits: Array) -> Scalar:
    return jnp.mean(jnp.argmax(scores, axis=1) == digits, dtype=scores.dtype)


@problem(
    "ridge-per-feature",
    title="Bilevel: logistic regression with a ridge to tune for each of 30 features",
    source="Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian 1993), from scikit-learn",
)
def ridge_per_feature() -> Case:
    r"""300 tumours to train on with $\tfrac12\sum_j e^{x_j} y_j^2$, 150 to validate on, 119 to test on."""
    X, y = data.breast_cancer()
    order = np.random.RandomState(0).permutation(len(y))
    signs = 2.0 * y - 1
    train, validation, (X_test, test) = _arrays(*((X[p], signs[p]) for p in np.split(order, [300, 450])))

    def outer(x, y, datum):
        features, sign = datum
        return jax.nn.softplus(-sign * (features @ y))

    def inner(x, y, datum):
        return outer(x, y, datum) + 0.5 * jnp.exp(x) @ y**2

    def measure(x, y):
        return {"test_accuracy": jnp.mean(test * (X_test @ y) > 0, dtype=y.dtype)}

    made = FiniteSumBilevel(outer, inner, validation, train, outer_g=_LOGARITHMS, measure=measure)
    return Case(made, made.start((jnp.full(30, -2.0), _drawn(30))))


def _ridge(x0: float, shape: tuple[int, ...], sizes: tuple[int, int]) -> Case:
    """Softmax regression with penalties to tune, of logarithms that broadcast to the weights."""
    train, validation, (X_test, test) = _arrays(*digit_parts(sizes, seed=0))

    def inner(x, y, datum):
        return _entropy(y, datum) + 0.5 * jnp.sum(jnp.exp(x) * y**2)

    made = FiniteSumBilevel(
        lambda x, y, datum: _entropy(y, datum),
        inner,
        validation,
        train,
        outer_g=_LOGARITHMS,
        measure=lambda x, y: {"test_accuracy": _accuracy(X_test @ y, test)},
    )
    return Case(made, made.start((jnp.full(shape, x0), _drawn(64, 10))))


@problem(
    "ridge-per-class", title="Bilevel: softmax regression with a ridge to tune for each digit", source=_DIGITS
)
def ridge_per_class() -> Case:
    r"""800 digits to train on with $\tfrac12\sum_k e^{x_k}\|y_k\|^2$, 400 to validate on, 597 to test on."""
    return _ridge(-2.0, (10,), (800, 400))


@problem(
    "ridge-per-weight",
    title="Bilevel: softmax regression with a ridge to tune for each of 640 weights",
    source=_DIGITS,
)
def ridge_per_weight() -> Case:
    """300 digits to train on, 600 to validate on, 897 to test on; as many hyperparameters as weights."""
    return _ridge(-4.0, (64, 10), (300, 600))


@problem(
    "hyper-cleaning",
    title="Bilevel: weights for 800 digits, half of their labels random, by validation",
    source=_DIGITS,
)
def hyper_cleaning() -> Case:
    r"""The lower level weighs the entropy of picture $i$ with the sigmoid of $x_i$; 400 digits validate.

    47.75 % of the labels are wrong. Watched are the accuracy on 597 digits and how often a right label has
    more weight than a wrong one.
    """
    (X, right), validation, (X_test, test) = _arrays(*digit_parts((800, 400), seed=32))
    labels = noisy_labels()
    kept = np.asarray(right) == labels
    good, bad = np.flatnonzero(kept), np.flatnonzero(~kept)
    labels = jnp.asarray(labels)

    def inner(x, y, datum):
        picture, label, i = datum
        return jax.nn.sigmoid(x[i]) * _entropy(y, (picture, label)) + 0.5e-3 * jnp.sum(y**2)

    def measure(x, y):
        above = jnp.sign(x[good][:, None] - x[bad])
        return {
            "test_accuracy": _accuracy(X_test @ y, test),
            "right_above_wrong": jnp.mean(0.5 + 0.5 * above),
        }

    train = (X, labels, jnp.arange(len(X)))
    made = FiniteSumBilevel(lambda x, y, datum: _entropy(y, datum), inner, validation, train, measure=measure)
    return Case(made, made.start((jnp.zeros(len(X)), jnp.zeros((64, 10)))))


def noisy_labels() -> np.ndarray:
    """The labels of the pictures to clean."""
    rng = np.random.RandomState(32)
    labels = data.digits()[1][rng.permutation(1797)[:800]]
    chosen = rng.rand(800) < 0.5
    labels[chosen] = rng.randint(0, 10, chosen.sum())
    return labels


@problem(
    "hyper-representation",
    title="Bilevel: eight features of a digit to learn, a ridge regression on them below",
    source=_DIGITS,
)
def hyper_representation() -> Case:
    r"""Features $\tanh(x^\top z)$ of pixels $z$; 300 digits fit the head, 600 the features, 897 test.

    Raw pixels do better; it is the mechanics of a network's last layer that is to be seen.
    """
    train, validation, (X_test, test) = (
        (X, np.eye(10)[y]) if i < 2 else (X, y) for i, (X, y) in enumerate(digit_parts((300, 600), seed=0))
    )
    train, validation, X_test, test = _arrays(train, validation, X_test, test)

    def outer(x, y, datum):
        picture, digit = datum
        return 0.5 * jnp.sum((jnp.tanh(picture @ x) @ y - digit) ** 2)

    def inner(x, y, datum):
        return outer(x, y, datum) + 0.5e-2 * jnp.sum(y**2)

    def measure(x, y):
        return {"test_accuracy": _accuracy(jnp.tanh(X_test @ x) @ y, test)}

    made = FiniteSumBilevel(outer, inner, validation, train, measure=measure)
    return Case(made, made.start((_drawn(64, 8) / 8, jnp.zeros((8, 10)))))
