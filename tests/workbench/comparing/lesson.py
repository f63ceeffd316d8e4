"""A user's file: a small model to train and optimizers of their own, which comparisons in the tests run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import frechet as fr
from frechet.core.space import Choice, LogUniform
from frechet.optimizers.registry import optimizer


def _data():
    X = jnp.asarray(np.random.default_rng(0).standard_normal((40, 3)))
    return X, jnp.asarray(X @ jnp.array([1.0, -2.0, 0.5]) > 0, X.dtype)


def _loss(w, data):
    X, y = data
    return jnp.mean(optax.sigmoid_binary_cross_entropy(X @ w, y))


def _measure(w, data):
    return {"accuracy": jnp.mean((data[0] @ w > 0) == (data[1] > 0.5)), "held_out_loss": _loss(w, data)}


def _model(**changes):
    X, y = _data()
    settings = {
        "batch_size": 8,
        "held_out": (X[30:], y[30:]),
        "measure": _measure,
        "target": fr.Target("held_out_loss", 0.35),
        "initial": lambda key: jax.random.normal(key, (3,), X.dtype),
        **changes,
    }
    return fr.Training(_loss, (X[:30], y[:30]), **settings)


def model():
    """Which side of a plane."""
    return _model()


def aimless():
    """A model without a target, a start of its own or a measure."""
    return _model(target=None, initial=None, measure=None), jnp.zeros(3)


def wrong_target():
    return _model(target=fr.Target("acuracy", 0.9))


def ridge():
    """The same loss with a penalty, as a problem that can be solved."""
    data = _data()
    return fr.Composite(lambda w: _loss(w, data) + 0.5 * jnp.sum(w**2)), jnp.zeros(3)


@optimizer(space={"learning_rate": LogUniform(1e-2, 1e8)})
def wild(learning_rate=0.5):
    """Descent that is tried with learning rates at which it diverges."""
    return optax.chain(optax.add_decayed_weights(1.0), optax.sgd(learning_rate))


def plain(learning_rate=0.3):
    """Descent, undeclared."""
    return optax.sgd(learning_rate)


def needy(learning_rate):
    return optax.sgd(learning_rate)


@optimizer(space={"wrapped": Choice(optax.sgd, optax.adam)})
def choosy(wrapped=optax.sgd):
    """Its space cannot be written down."""
    return wrapped(0.1)
