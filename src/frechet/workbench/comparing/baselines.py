"""What training methods are measured against: Optax's own, with the hyperparameters that people tune."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

import optax

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.registry import Factory, Optimizer, declared, optimizer

_RATE = LogUniform(1e-4, 1e-1)


@optimizer(space={"learning_rate": LogUniform(1e-3, 1.0), "momentum": Choice(0.9, 0.0, 0.99)})
def sgd(learning_rate: float = 0.1, momentum: float = 0.9) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum.

    Source:
        Polyak 1964, Some methods of speeding up the convergence of iteration methods, USSR Computational
        Mathematics and Mathematical Physics 4.
    """
    return optax.sgd(learning_rate, momentum=momentum)


@optimizer(space={"learning_rate": _RATE, "decay": Choice(0.9, 0.99)})
def rmsprop(learning_rate: float = 1e-3, decay: float = 0.9) -> optax.GradientTransformation:
    """Gradients divided by the root of their mean square.

    Source:
        Tieleman, Hinton 2012, Lecture 6.5: rmsprop, COURSERA: Neural networks for machine learning.
    """
    return optax.rmsprop(learning_rate, decay=decay)


@optimizer(space={"learning_rate": _RATE, "b1": Choice(0.9, 0.95), "b2": Choice(0.999, 0.99)})
def adam(learning_rate: float = 1e-3, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adaptive moments.

    Source:
        Kingma, Ba 2015, Adam: a method for stochastic optimization, ICLR, arXiv 1412.6980.
    """
    return optax.adam(learning_rate, b1=b1, b2=b2)


@optimizer(space={"learning_rate": _RATE, "weight_decay": LogUniform(1e-4, 1e-1), "b2": Choice(0.999, 0.99)})
def adamw(
    learning_rate: float = 1e-3, weight_decay: float = 1e-2, b2: float = 0.999
) -> optax.GradientTransformation:
    """Adaptive moments with decoupled weight decay.

    Source:
        Loshchilov, Hutter 2019, Decoupled weight decay regularization, ICLR, arXiv 1711.05101.
    """
    return optax.adamw(learning_rate, weight_decay=weight_decay, b2=b2)


@optimizer(space={"learning_rate": LogUniform(1e-5, 1e-2), "weight_decay": LogUniform(1e-3, 1.0)})
def lion(learning_rate: float = 3e-4, weight_decay: float = 1e-2) -> optax.GradientTransformation:
    """The sign of an average of gradients, with decoupled weight decay.

    Source:
        Chen et al. 2023, Symbolic discovery of optimization algorithms, NeurIPS, arXiv 2302.06675.
    """
    return optax.lion(learning_rate, weight_decay=weight_decay)


@optimizer(space={"learning_rate": LogUniform(1e-3, 1e-1), "beta": Choice(0.95, 0.9)})
def muon(learning_rate: float = 2e-2, beta: float = 0.95) -> optax.GradientTransformation:
    """Orthogonalised momentum for matrices, Adam for everything else.

    Source:
        Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
        kellerjordan.github.io/posts/muon.
    """
    return optax.contrib.muon(learning_rate, beta=beta)


@functools.cache
def baselines() -> Mapping[str, Optimizer]:
    """The optimizers of this module, by name.

    Example:
        >>> sorted(baselines())
        ['adam', 'adamw', 'lion', 'muon', 'rmsprop', 'sgd']
    """
    factories: list[Factory] = [sgd, rmsprop, adam, adamw, lion, muon]
    entries = [entry for factory in factories if (entry := declared(factory))]
    return MappingProxyType({entry.name: entry for entry in entries})
