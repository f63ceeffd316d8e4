"""``jaxopt.loss``: losses with the label first, most of them those of Optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax.losses
from jax.nn import sparse_plus as sparse_plus
from jax.nn import sparse_sigmoid as sparse_sigmoid
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import floating
from frechet.losses.multinomial import cross_entropy


def huber_loss(target: Any, pred: Any, delta: Any = 1.0) -> Array:
    """Half the squared error up to ``delta``, linear beyond."""
    return optax.losses.huber_loss(floating(pred), floating(target), delta=delta)


def binary_logistic_loss(label: Any, logit: Any) -> Array:
    """Logistic loss of a label 0 or 1."""
    # Not Optax's, which multiplies by the label and so is NaN at infinite logits.
    return jax.nn.softplus(jnp.where(label, -logit, logit))


def binary_sparsemax_loss(label: Any, logit: Any) -> Array:
    """Sparsemax loss of a label 0 or 1."""
    return sparse_plus(jnp.where(label, -logit, logit))


def binary_hinge_loss(label: Any, score: Any) -> Array:
    """Hinge loss of a label 0 or 1."""
    return optax.losses.hinge_loss(score, 2 * label - 1)


def binary_perceptron_loss(label: Any, score: Any) -> Array:
    """Perceptron loss of a label 0 or 1."""
    return optax.losses.perceptron_loss(score, 2 * label - 1)


def multiclass_logistic_loss(label: Any, logits: Float[Array, " k"]) -> Scalar:
    """Cross entropy of the softmax with an integer label."""
    return cross_entropy(floating(logits), jnp.asarray(label))


def multiclass_sparsemax_loss(label: Any, scores: Float[Array, " k"]) -> Scalar:
    """Sparsemax loss of an integer label."""
    return optax.losses.multiclass_sparsemax_loss(floating(scores)[None], jnp.asarray(label)[None])[0]


def multiclass_hinge_loss(label: Any, scores: Float[Array, " k"]) -> Scalar:
    """The largest score plus one for a wrong label, less the right label's score."""
    return optax.losses.multiclass_hinge_loss(floating(scores), jnp.asarray(label))


def multiclass_perceptron_loss(label: Any, scores: Float[Array, " k"]) -> Scalar:
    """The largest score less the right label's."""
    return optax.losses.multiclass_perceptron_loss(floating(scores), jnp.asarray(label))


def make_fenchel_young_loss(max_fun: Callable[..., Scalar]) -> Callable[..., Scalar]:
    """``(y_true, scores) -> max_fun(scores) - <scores, y_true>``.

    Unlike `frechet.losses.fenchel_young_loss` it takes all axes together.
    """

    def loss(y_true: Array, scores: Array, *args: Any, **kwargs: Any) -> Scalar:
        return max_fun(scores, *args, **kwargs) - jnp.vdot(y_true, scores)

    return loss
