"""BlackJAX's kernels as samplers."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.sampling.black_jax import BlackJAX

PRECISION = np.array([[2.0, 0.8], [0.8, 1.0]])
POINT = {"a": jnp.zeros(()), "b": jnp.zeros(1)}


def potential(x):
    v = jnp.stack([x["a"], x["b"][0]]) - 1
    return 0.5 * v @ jnp.asarray(PRECISION, v.dtype) @ v


def test_nuts_draws_from_a_gaussian():
    variances = {"a": jnp.asarray(0.7), "b": jnp.asarray([1.5])}
    sampler = BlackJAX("nuts", variances=variances)
    found = fr.sample(fr.Density(potential), POINT, sampler, chains=4, draws=400, warmup=100)
    covariance, error = np.linalg.inv(PRECISION), found.standard_error()
    assert abs(float(found.moments().mean["a"]) - 1) < 4 * error["a"]
    assert abs(float(found.moments().variance["b"][0]) / covariance[1, 1] - 1) < 0.2
    assert np.all(abs(np.asarray(found.acceptance) - 0.8) < 0.1)
    assert np.min(found.effective_sample_size()["b"]) > 400


def test_without_blackjax_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(ImportError, match=r'pip install "frechet\[sampling\]"'):
        fr.sample(fr.Density(potential), POINT, BlackJAX("hmc"), draws=1, warmup=0)
    with pytest.raises(ValueError, match='algorithm must be "nuts" or "hmc"'):
        BlackJAX("mala")  # pyright: ignore[reportArgumentType]
