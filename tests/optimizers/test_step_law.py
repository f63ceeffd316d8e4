"""Step Law: its published values, AdamW by hand, and laws planted in synthetic runs."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.step_law import (
    deepseek_batch_size,
    deepseek_learning_rate,
    scale_by_step_law,
    step_law,
    step_law_batch_size,
    step_law_learning_rate,
    step_law_schedule,
)
from frechet.optimizers.step_law_fit import fit_step_law


def runs(noise=1e-3, seed=0):
    """Losses of a grid of runs: a bowl in the logarithms around the law's optimum, and noise."""
    sizes, tokens = np.geomspace(6e7, 7e9, 4), np.geomspace(2e9, 1e12, 4)
    grid = np.meshgrid(sizes, tokens, np.geomspace(5e-5, 5e-2, 60), np.geomspace(3e4, 2e7, 60))
    n, d, lr, b = (axis.ravel() for axis in grid)
    off = np.log(lr / (1.79 * n**-0.713 * d**0.307)) ** 2 + np.log(b / (0.58 * d**0.571)) ** 2
    loss = (2 + n**-0.1) * (1 + 0.2 * off)
    return n, d, lr, b, loss * (1 + noise * np.random.default_rng(seed).normal(size=n.size))


class TestLaw:
    @pytest.mark.parametrize(
        "parameters, tokens, rate, batch",
        [(1e9, 1e11, 1.6325e-3, 1.1077e6), (6e7, 1e10, 5.9845e-3, 2.9746e5), (7e9, 1e12, 8.266e-4, 4.125e6)],
    )
    def test_values(self, parameters, tokens, rate, batch):
        assert step_law_learning_rate(parameters, tokens) == pytest.approx(rate, rel=1e-4)
        assert step_law_batch_size(tokens) == pytest.approx(batch, rel=1e-4)

    def test_homogeneous(self):
        ratio = step_law_learning_rate(3e9, 1e11) / step_law_learning_rate(1e9, 1e11)
        assert ratio == pytest.approx(3**-0.713, rel=1e-12)

    @pytest.mark.parametrize("parameters", [5.9e7, 7.1e9])
    def test_outside_its_range_it_warns(self, parameters):
        with pytest.warns(UserWarning, match="was fitted to models of 6e\\+07 to 7e\\+09 parameters"):
            step_law_learning_rate(parameters, 1e10)

    def test_deepseeks(self):
        # a decade of compute changes the learning rate by 10^-0.125 and the batch by 10^0.3271
        assert deepseek_learning_rate(1e21) / deepseek_learning_rate(1e20) == pytest.approx(10**-0.125)
        assert deepseek_batch_size(1e21) / deepseek_batch_size(1e20) == pytest.approx(10**0.3271)
        assert deepseek_learning_rate(1.0) == 0.3118 and deepseek_batch_size(1.0) == 0.2920


class TestSchedule:
    @pytest.mark.parametrize("peak", [1e-3, 4e-2])
    def test_the_end_does_not_depend_on_the_peak(self, peak):
        schedule = step_law_schedule(peak, 10_000)
        want = {
            0: 0,
            500: peak / 4,
            2000: peak,
            4000: 1e-5 + (peak - 1e-5) * (1 + np.cos(np.pi / 4)) / 2,
            10_000: 1e-5,
            20_000: 1e-5,
        }
        np.testing.assert_allclose([schedule(t) for t in want], list(want.values()), rtol=1e-5, atol=1e-12)

    def test_without_warmup_it_starts_at_the_peak(self):
        assert float(step_law_schedule(0.5, 10, warmup_steps=0)(0)) == 0.5

    @pytest.mark.parametrize("total", [10, 2000])
    def test_too_short(self, total):
        with pytest.raises(ValueError, match=f"more steps than its warm-up, got {total} and 2000"):
            step_law_schedule(1e-3, total)
        with pytest.raises(ValueError, match="more steps than its warm-up"):
            step_law(total_steps=total)


class TestOptimizer:
    def test_hundred_steps_of_adamw_by_hand(self, precision):
        rng = np.random.default_rng(0)
        x, grads = rng.normal(size=8).astype(precision), rng.normal(size=(100, 8)).astype(precision)
        tx = step_law(1e4, 0.1, total_steps=80, warmup_steps=20)

        def step(carry, g):
            x, state = carry
            updates, state = tx.update(g, state, x)
            return (optax.apply_updates(x, updates), state), x

        with warnings.catch_warnings(action="ignore"):
            start = jnp.asarray(x), tx.init(jnp.asarray(x))
        (got, _), _ = jax.jit(lambda c, g: jax.lax.scan(step, c, g))(start, jnp.asarray(grads))
        peak = 0.1 * 1.79 * 8**-0.713 * 1e4**0.307
        x, m, v = x.astype(np.float64), np.zeros(8), np.zeros(8)
        for t, g in enumerate(grads.astype(np.float64)):
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            u = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8) + 0.1 * x
            fallen = min((t - 20) / 60, 1)
            rate = peak * t / 20 if t < 20 else 1e-5 + (peak - 1e-5) * (1 + np.cos(np.pi * fallen)) / 2
            x = x - rate * u
        error = np.linalg.norm(np.asarray(got, np.float64) - x) / np.linalg.norm(x)
        assert error < (1e-12 if precision == np.float64 else 1e-6)

    @pytest.mark.parametrize(
        "counted", [{"embedding": False, "hidden": True}, lambda p: {k: k != "embedding" for k in p}]
    )
    def test_embeddings_do_not_count(self, counted):
        params = {
            "embedding": jnp.zeros((100, 8)),
            "hidden": {"kernel": jnp.zeros((8, 8)), "bias": jnp.zeros(8)},
        }
        state = scale_by_step_law(counted=counted).init(params)
        assert float(state.peak) == pytest.approx(1.79 * 72**-0.713 * (20 * 72) ** 0.307, rel=1e-6)

    def test_it_warns_when_told_the_tokens(self):
        with pytest.warns(UserWarning, match="not of 4.0e\\+00"):
            step_law(1e10).init(jnp.zeros(4))


class TestFit:
    def test_recovers_planted_exponents(self):
        fit = fit_step_law(*runs(), resamples=100)
        rate, batch = fit.learning_rate, fit.batch_size
        assert abs(rate.parameters + 0.713) < 0.01 and abs(rate.tokens - 0.307) < 0.01
        assert abs(batch.tokens - 0.571) < 0.01 and abs(batch.parameters) < 0.01
        assert fit.kept.sum() > 48 and fit.spread.shape == (2, 3)

    def test_least_squares_by_numpy(self):
        n, d, lr, b, loss = runs()
        fit = fit_step_law(n, d, lr, b, loss, resamples=400)
        kept = np.zeros(n.size, bool)
        for group in set(zip(n, d, strict=True)):
            inside = (n == group[0]) & (d == group[1])
            kept |= inside & (loss <= 1.0025 * loss[inside].min())
        np.testing.assert_array_equal(fit.kept, kept)
        design = np.stack([np.ones(kept.sum()), np.log(n[kept]), np.log(d[kept])], axis=1)
        want = np.linalg.solve(design.T @ design, design.T @ np.log(lr[kept]))
        got = [np.log(fit.learning_rate.scale), fit.learning_rate.parameters, fit.learning_rate.tokens]
        # the mean over resamples scatters by its spread over the root of their number
        assert np.all(np.abs(got - want) < 5 * fit.spread[0] / 20)

    def test_the_plateau_has_less_variance_than_the_best_run(self):
        tables = [runs(seed=s) for s in range(12)]
        scatter = {}
        for plateau in (0.0, 0.0025):
            laws = [fit_step_law(*t, plateau=plateau, resamples=10).learning_rate for t in tables]
            scatter[plateau] = np.hypot(*np.std([(law.parameters, law.tokens) for law in laws], axis=0))
        assert scatter[0.0025] < scatter[0.0]

    def test_what_cannot_be_fitted(self):
        n, d, lr, b, loss = runs()
        with pytest.raises(ValueError, match="at least two model sizes"):
            fit_step_law(np.full_like(n, 1e8), d, lr, b, loss)
        with pytest.raises(ValueError, match="one number a run"):
            fit_step_law(n[:3], d, lr, b, loss)
