"""diffGrad against its paper's formulas in NumPy: both forms of weight decay, friction that varies."""

import numpy as np
import pytest

from frechet.optimizers.diffgrad import diffgrad, scale_by_diffgrad
from tests.optimizers.trajectory import TOLERANCE, error, random_problem, updates_of


def reference(theta, grads, lr, b1, b2, eps, wd, decoupled):
    theta, out = theta.astype(np.float64), []
    m, v, last = 0.0, 0.0, 0.0
    for t, g in enumerate(grads.astype(np.float64), start=1):
        g = g if decoupled else g + wd * theta
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        friction = 1 / (1 + np.exp(-np.abs(last - g)))
        u = friction * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
        step = -lr * (u + wd * theta if decoupled else u)
        out.append(step)
        theta, last = theta + step, g
    return np.array(out)


@pytest.mark.parametrize("decoupled", [True, False])
def test_agrees_with_the_paper(precision: np.dtype, decoupled: bool) -> None:
    theta, grads = random_problem(precision)
    tx = diffgrad(0.01, eps=1e-3, weight_decay=0.5, decoupled=decoupled)
    want = reference(theta, grads, 0.01, 0.9, 0.999, 1e-3, 0.5, decoupled)
    assert error(updates_of(tx, grads, theta), want) < TOLERANCE[precision.name]


def test_friction_sees_the_previous_gradient() -> None:
    """The authors' first code compared a gradient with itself, and several ports drop the friction."""
    first, second = updates_of(scale_by_diffgrad(eps=0.0), np.array([[1.0], [1.0]], np.float32))
    np.testing.assert_allclose([first[0], second[0]], [1 / (1 + np.exp(-1)), 0.5], rtol=1e-5)


def test_friction_stays_finite_for_huge_changes() -> None:
    got = updates_of(scale_by_diffgrad(), np.array([[1e15], [-1e15], [0.0]], np.float32))
    assert np.all(np.isfinite(got)) and got[0, 0] == pytest.approx(1, rel=1e-5)
