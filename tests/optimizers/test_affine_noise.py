"""RMSProp and Adam without bias correction against NumPy, and the rates that a horizon gives."""

import math

import numpy as np
import optax
import pytest

from frechet.optimizers.affine_noise import (
    affine_noise_adam,
    affine_noise_hyperparameters,
    affine_noise_rmsprop,
)
from tests.optimizers.trajectory import TOLERANCE, error, random_problem, updates_of


def reference(grads, lr, b1, b2, zeta, v):
    out, m = [], 0.0
    for g in grads.astype(np.float64):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        out.append(-lr * m / (np.sqrt(v) + zeta))
    return np.array(out)


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_agrees_with_the_paper(precision: np.dtype, b1: float) -> None:
    _, grads = random_problem(precision)
    tx = affine_noise_adam(0.01, b1, 0.99, 0.1, 2.0) if b1 else affine_noise_rmsprop(0.01, 0.99, 0.1, 2.0)
    want = reference(grads, 0.01, b1, 0.99, 0.1, 2.0)
    assert error(updates_of(tx, grads), want) < TOLERANCE[precision.name]


def test_rmsprop_is_the_one_of_optax() -> None:
    _, grads = random_problem(np.float32)
    theirs = optax.rmsprop(0.01, decay=0.99, eps=0.1, initial_scale=2.0, eps_in_sqrt=False)
    ours = affine_noise_rmsprop(0.01, 0.99, 0.1, 2.0)
    assert error(updates_of(ours, grads), updates_of(theirs, grads)) < 1e-7


def test_rates_of_a_horizon() -> None:
    short, long = (affine_noise_hyperparameters(T, 0.5, b1=2.0, b2=3.0) for T in (400, 6400))
    assert short == pytest.approx((0.025, 0.9, 0.85), rel=1e-14)
    assert long == pytest.approx((0.025 / 4, 1 - 0.1 / 4, 1 - 0.15 / 4), rel=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 100, "learning_rate": 0.0}, "learning rate's constant must be positive, got 0"),
        ({"steps": 100, "b1": 11.0}, r"constant of b1 must lie in \(0, 10\]"),
        ({"steps": 0}, "constant of b1 must lie"),
        ({"steps": 100, "b2": math.nan}, "constant of b2 must lie"),
    ],
)
def test_bad_constants_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        affine_noise_hyperparameters(**arguments)
