"""AdaMomentum against its paper's formulas in NumPy."""

import numpy as np

from frechet.optimizers.adamomentum import adamomentum, scale_by_adamomentum
from tests.optimizers.trajectory import TOLERANCE, error, random_problem, updates_of


def reference(theta, grads, lr, b1, b2, eps, wd):
    theta, out, m, v = theta.astype(np.float64), [], 0.0, 0.0
    for t, g in enumerate(grads.astype(np.float64), start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * m**2 + eps
        step = -lr * (m / (1 - b1**t) / np.sqrt(v / (1 - b2**t)) + wd * theta)
        out.append(step)
        theta = theta + step
    return np.array(out)


def test_agrees_with_the_paper(precision: np.dtype) -> None:
    theta, grads = random_problem(precision)
    want = reference(theta, grads, 0.01, 0.9, 0.999, 1e-6, 0.5)
    got = updates_of(adamomentum(0.01, eps=1e-6, weight_decay=0.5), grads, theta)
    assert error(got, want) < TOLERANCE[precision.name]


def test_early_steps_are_large() -> None:
    got = updates_of(scale_by_adamomentum(eps=1e-16), np.ones((10, 1), np.float32))
    np.testing.assert_allclose(got[[0, 9], 0], [10, 2.2222], rtol=2e-5)


def test_epsilon_of_1e_16_counts_in_float32() -> None:
    """Gradients of zero leave a second moment of eps alone: steps are zero, not 0 / 0."""
    assert np.all(updates_of(scale_by_adamomentum(eps=1e-16), np.zeros((5, 3), np.float32)) == 0)
