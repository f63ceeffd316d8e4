"""Learning rates from spectra: closed forms, dense eigenvalues, and the ball's recursion in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.optimizers.slq_lr import (
    heavy_ball_optimum,
    hessian_noise,
    scale_by_slq,
    slq_lr,
    spiked_eigenvalue,
    stable_learning_rate,
)

CURVATURES = np.array([1.0, 2.0, 5.0, 9.0])


def quadratic(x):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES, x.dtype) * x**2)


def test_calibration_inverts_the_outlier_map_on_both_branches():
    B, full = 16.0, 3.0
    for kappa in (0.0, 10.0, 140.0, 150.0, 4000.0):  # the outlier drowns at B * full**2 = 144
        batch = spiked_eigenvalue(full, np.sqrt(kappa / B))
        np.testing.assert_allclose(hessian_noise(B, batch, full), kappa, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(stable_learning_rate(B, full, kappa), 2 / batch, rtol=1e-6)


def test_the_stable_rate_grows_linearly_then_saturates():
    full, kappa = 1.0, 1e4
    rates = np.asarray(stable_learning_rate(np.array([1.1e4, 2.2e4, 1e9]), full, kappa))
    np.testing.assert_allclose(rates[2], 2, rtol=1e-4)
    # 2 / (1 + k / B) from B = 1.1 k to 2.2 k
    np.testing.assert_allclose(rates[1] / rates[0], (1 + 1 / 1.1) / (1 + 1 / 2.2), rtol=1e-5)
    # Where the noise drowns the outlier its own edge is what counts: the root of B.
    drowned = np.asarray(stable_learning_rate(np.array([100.0, 400.0]), full, kappa))
    np.testing.assert_allclose(drowned[1] / drowned[0], 2, rtol=1e-5)


def test_the_optimum_beats_its_neighbours_in_the_spectral_radius():
    L, ell = 9.0, 1.0
    eta, beta = (float(v) for v in heavy_ball_optimum(L, ell))

    def radius(eta, beta):
        return max(
            np.abs(np.linalg.eigvals([[1 + beta - eta * h, -beta], [1, 0]])).max()
            for h in np.linspace(ell, L, 50)
        )

    best = radius(eta, beta)
    np.testing.assert_allclose(best, np.sqrt(beta), atol=1e-6)
    for a, b in ((0.97, 1), (1.03, 1), (1, 0.95), (1, 1.05)):
        assert radius(a * eta, b * beta) > best + 1e-4


def run(tx, x0, steps, **given: Any):
    def step(carry, _):
        x, state = carry
        updates, state = tx.update(jax.grad(quadratic)(x), state, x, **given)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    return jax.jit(lambda c: jax.lax.scan(step, c, length=steps))((x0, tx.init(x0)))


def test_a_hundred_steps_are_the_heavy_ball_of_the_exact_spectrum(precision):
    x0 = jnp.asarray([1.0, -1.0, 2.0, 0.5], precision)
    tx = slq_lr(0.9, every=7, max_step=4.0, min_weight=1e-6, weight_decay=0.01)
    (_, state), got = run(tx, x0, 100, value_fn=quadratic)

    eta, beta = (2 / (3 + 1)) ** 2, ((3 - 1) / (3 + 1)) ** 2
    x, v, xs = np.asarray(x0, float), np.zeros(4), []
    for _ in range(100):
        v = beta * v + eta * CURVATURES * x
        x = x - 0.9 * (v + 0.01 * x)
        xs.append(x)
    error = np.abs(np.asarray(got) - xs).max() / np.abs(xs).max()
    # Four Lanczos steps in four dimensions are exact but for rounding.
    assert error < {"float32": 1e-6, "float64": 1e-12}[precision.name]
    assert int(state[0].estimates) == 15


def test_caps_and_a_fixed_momentum():
    x0 = jnp.ones(4)
    capped = run(scale_by_slq(max_step=1.0, max_momentum=0.1), x0, 1, value_fn=quadratic)[0][1]
    np.testing.assert_allclose([capped.learning_rate, capped.momentum], [1 / 9, 0.1], rtol=1e-5)
    fixed = run(scale_by_slq(momentum=0.8, max_step=4.0), x0, 1, value_fn=quadratic)[0][1]
    np.testing.assert_allclose([fixed.learning_rate, fixed.momentum], [1 / 9, 0.8], rtol=1e-5)


def test_only_the_positive_part_with_some_weight_counts():
    d = jnp.array([-20.0, -1.0, 4.0, 16.0])
    tx: Any = scale_by_slq(max_step=4.0)
    g = jnp.ones(4)
    update = jax.jit(lambda g, state, d: tx.update(g, state, hvp=lambda v: d * v))
    state = update(g, tx.init(g), d)[1]
    np.testing.assert_allclose([state.learning_rate, state.momentum], [1 / 9, 1 / 9], rtol=1e-4)
    tx = scale_by_slq(max_step=4.0, min_weight=0.3)  # each of the four has a weight of a quarter
    state = jax.jit(lambda g, state, d: tx.update(g, state, hvp=lambda v: d * v))(g, tx.init(g), d)[1]
    np.testing.assert_allclose([state.learning_rate, state.momentum], [1 / 16, 0], rtol=1e-4, atol=1e-6)


def test_without_a_positive_part_the_rates_stay_and_later_ones_are_averaged():
    tx: Any = scale_by_slq(every=1, decay=0.25, momentum=0.0, initial_learning_rate=0.5)
    update = jax.jit(lambda g, state, d: tx.update(g, state, hvp=lambda v: d * v))
    g = jnp.ones(3)
    state, rates = tx.init(g), []
    for d in (jnp.full(3, -1.0), jnp.zeros(3), jnp.full(3, 2.0), jnp.full(3, 4.0), jnp.full(3, jnp.nan)):
        updates, state = update(g, state, d)
        rates.append(float(state.learning_rate))
        np.testing.assert_allclose(updates, rates[-1] * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.5, 0.25 * 0.5 + 0.75 * 0.25, 0.3125], rtol=1e-5)


def test_as_a_solver_it_reaches_the_solution():
    problem = fr.Composite(lambda x: quadratic(x - 1))
    tx = slq_lr(max_step=4.0, min_weight=1e-6)
    solution = fr.solve(problem, jnp.zeros(4), fr.solvers.Optax(tx), tol=1e-5, max_steps=100)
    assert solution.steps <= 30  # the error halves every step
    np.testing.assert_allclose(solution.x, 1, atol=1e-5)


def test_what_is_missing_is_named():
    tx: Any = slq_lr()
    with pytest.raises(ValueError, match=r"slq_lr needs .*value_fn=loss\) or hvp=product"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"every must be 1 or more, got 0"):
        slq_lr(every=0)
