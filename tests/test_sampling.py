"""`fr.sample` and its diagnostics."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.sampling.ula import ULA

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

PRECISION = np.array([[2.0, 0.8], [0.8, 1.0]])


def potential(x):
    v = jnp.stack([x["a"], x["b"][0]]) - 1
    return 0.5 * v @ jnp.asarray(PRECISION, v.dtype) @ v


POINT = {"a": jnp.zeros(()), "b": jnp.zeros(1)}


@pytest.fixture(scope="module")
def drawn():
    return fr.sample(fr.Density(potential), POINT, chains=20, draws=300, warmup=100)


def test_draws_have_the_form_of_points_and_the_right_moments(drawn):
    assert drawn.draws["a"].shape == (20, 300) and drawn.draws["b"].shape == (20, 300, 1)
    assert drawn.draws["a"].dtype == jnp.float32
    assert int(drawn.count) == 300 and drawn.status.code == fr.Ending.MAX_STEPS
    assert np.all(abs(np.asarray(drawn.acceptance) - 0.574) < 0.1)
    assert int(drawn.calls.gradient) == 20 * (1 + 400)
    found, error = drawn.moments(), drawn.standard_error()
    covariance = np.linalg.inv(PRECISION)
    for leaf, variance in (("a", covariance[0, 0]), ("b", covariance[1, 1])):
        assert np.all(abs(found.mean[leaf] - 1) < 4 * error[leaf])
        size = np.min(drawn.effective_sample_size()[leaf])
        assert 200 < size < 6000
        assert np.all(abs(found.variance[leaf] / variance - 1) < 5 * np.sqrt(2 / size))


def test_diagnostics_are_those_of_arviz(drawn):
    data = drawn.to_arviz()
    assert set(data.posterior.data_vars) == {"a", "b"}
    table = drawn.summary(round_to="none")
    np.testing.assert_allclose(table["ess_bulk"]["b[0]"], drawn.effective_sample_size()["b"][0])
    np.testing.assert_allclose(table["r_hat"]["a"], drawn.r_hat()["a"])
    np.testing.assert_allclose(table["mcse_mean"]["a"], drawn.standard_error()["a"])
    assert np.all(drawn.r_hat()["b"] < 1.05)


def test_without_arviz_the_error_names_what_to_install(drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r'pip install "frechet\[sampling\]"'):
        drawn.r_hat()


def test_moves_are_those_of_solve_and_keys_make_a_batch():
    density, start = fr.Density(potential), fr.Density(potential).chains(POINT, 3)
    options = {"draws": 5, "warmup": 10, "thin": 2}
    keys = jax.random.split(jax.random.key(3), 2)
    batch = jax.jit(jax.vmap(lambda k: fr.sample(density, start, ULA(0.1), key=k, **options)))(keys)
    assert batch.draws["a"].shape == (2, 3, 5) and batch.acceptance is None
    for i in range(2):
        x = fr.solve(density, start, ULA(0.1), key=keys[i], max_steps=20).x
        np.testing.assert_allclose(batch.draws["a"][i, :, -1], x.position["a"], rtol=1e-5)


def test_a_move_that_is_not_finite_ends_the_draws():
    step = jnp.where
    walled = fr.Density(lambda x: step(x[0] > 1.5, jnp.nan, 0.5) * jnp.sum(x**2))
    found = fr.sample(walled, jnp.zeros(2), ULA(0.1), chains=2, draws=300, warmup=0)
    count = int(found.count)
    assert 0 < count < 300 and found.status.code == fr.Ending.NONFINITE
    assert found.status.origin == fr.Origin.STEP
    assert np.all(np.isfinite(found.draws))
    np.testing.assert_array_equal(
        found.draws[:, count:], found.draws[:, count - 1 : count].repeat(300 - count, 1)
    )
    np.testing.assert_allclose(found.moments().mean, found.draws[:, :count].mean((0, 1)), atol=1e-6)


def test_bad_input_is_told():
    density = fr.Density(potential)
    with pytest.raises(TypeError, match=r"sample takes a frechet\.Density, got a Composite"):
        fr.sample(density.mode(), POINT)
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        fr.sample(density, POINT, draws=0)
    with pytest.raises(TypeError, match="needs smooth, which this Density does not offer"):
        fr.sample(fr.Density(potential, fr.convex.L1(1.0)), POINT, ULA())
    with pytest.raises(ValueError, match="at least one chain, got 0"):
        fr.sample(density, POINT, chains=0)


def autoregressive(chains, draws, rho, shift=0.0):
    """Gaussian chains with known correlation, unit variance, half of them shifted."""
    rng = np.random.default_rng(0)
    x = np.empty((draws, chains))
    x[0] = rng.normal(size=chains)
    for k in range(1, draws):
        x[k] = rho * x[k - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x + shift * (np.arange(chains) % 2)


@jax.jit
def watched(x):
    chains, _ = jax.lax.scan(lambda c, v: (c.moved(v), None), fr.Chains.at(jnp.zeros(x.shape[1])), x)
    return chains


def test_chains_measures_agree_with_arviz():
    """Weights of k^3 count the last half: 7/16 of the draws' worth."""
    with jax.enable_x64(True):
        x = autoregressive(200, 1000, 0.8)
        chains = watched(jnp.asarray(x))
        size = float(chains.effective_sample_size())
        peer = float(arviz.ess(x.T))
        # 199 degrees of freedom: a standard deviation of 10 %
        assert abs(size / (7 / 16 * peer) - 1) < 0.35
        weights = np.arange(1, 1001) * np.arange(2, 1002) * np.arange(3, 1003.0)
        weights /= weights.sum()
        np.testing.assert_allclose(chains.mean, weights @ x, atol=1e-10)
        np.testing.assert_allclose(chains.square, weights @ (x - weights @ x) ** 2, atol=1e-10)
        assert abs(float(chains.r_hat()) - np.sqrt(1 + 200 / size)) < 0.005
        apart = autoregressive(200, 1000, 0.8, shift=3.0)
        ours, theirs = float(watched(jnp.asarray(apart)).r_hat()), float(arviz.rhat(apart.T))
    # Variance 1 + 9/4 of all to 1 within; ranks compress it a little.
    assert abs(ours - np.sqrt(1 + 9 / 4)) < 0.05
    assert 1.5 < theirs < 2.1
