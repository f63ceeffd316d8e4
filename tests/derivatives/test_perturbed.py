"""Perturbed optimisers against closed forms: Gumbel noise makes softmax, normal noise Gaussian integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from frechet.derivatives import perturbed, perturbed_max
from frechet.derivatives.perturbed import Normal

SAMPLES, SIGMA = 100_000, 0.5
X = jnp.array([0.3, 0.1, -0.4])
KEY = jax.random.key(0)


def hardmax(x):
    return jax.nn.one_hot(jnp.argmax(x), x.size, dtype=x.dtype)


# A mean of numbers in [-b, b] strays by 6 b / sqrt(n) less than once in 10^8 times.
TOLERANCE = 6 / np.sqrt(SAMPLES)


def test_argmax_with_gumbel_noise_is_the_softmax(precision):
    soft = jax.jit(perturbed(hardmax, samples=SAMPLES, sigma=SIGMA))
    x = X.astype(precision)
    found = soft(x, KEY)
    assert found.dtype == precision
    np.testing.assert_allclose(found, jax.nn.softmax(x / SIGMA), atol=TOLERANCE)
    # A term of the score function's estimate is the centred value times the score, over sigma.
    J, expected = (jax.jacrev(f)(x) for f in (lambda x: soft(x, KEY), lambda x: jax.nn.softmax(x / SIGMA)))
    np.testing.assert_allclose(J, expected, atol=2 * TOLERANCE / SIGMA)


def test_max_with_gumbel_noise_is_the_log_sum_exp():
    soft = perturbed_max(hardmax, samples=SAMPLES, sigma=SIGMA)
    value, gradient = jax.value_and_grad(soft)(X, KEY)
    expected = SIGMA * (jax.nn.logsumexp(X / SIGMA) + np.euler_gamma)
    np.testing.assert_allclose(value, expected, atol=TOLERANCE)
    np.testing.assert_allclose(gradient, jax.nn.softmax(X / SIGMA), atol=TOLERANCE)
    np.testing.assert_allclose(gradient, perturbed(hardmax, samples=SAMPLES, sigma=SIGMA)(X, KEY), atol=1e-6)


def test_second_derivatives_of_the_max():
    hessian = jax.hessian(perturbed_max(hardmax, samples=SAMPLES, sigma=SIGMA))(X, KEY)
    p = np.asarray(jax.nn.softmax(X / SIGMA))
    np.testing.assert_allclose(hessian, (np.diag(p) - np.outer(p, p)) / SIGMA, atol=2 * TOLERANCE / SIGMA)


def test_a_step_with_normal_noise_is_the_distribution_function():
    step = perturbed(lambda x: (x > 0).astype(x.dtype), samples=SAMPLES, sigma=SIGMA, noise=Normal())
    at = jnp.array([-0.4, 0.0, 0.7])
    found, slope = jax.jvp(jax.vmap(lambda x: step(x, KEY)), (at,), (jnp.ones(3),))
    np.testing.assert_allclose(found, scipy.stats.norm.cdf(at / SIGMA), atol=TOLERANCE)
    np.testing.assert_allclose(slope, scipy.stats.norm.pdf(at / SIGMA) / SIGMA, atol=TOLERANCE / SIGMA)


def test_pytrees_batches_and_baselines():
    def best(x):
        flat = hardmax(jnp.concatenate([x["a"], x["b"]]))
        return {"a": flat[:1], "b": flat[1:]}

    x = {"a": X[:1], "b": X[1:]}
    for baseline in (True, False):
        soft = perturbed(best, samples=SAMPLES, sigma=SIGMA, baseline=baseline)
        many = jax.vmap(soft, (None, 0))(x, jax.random.split(KEY, 2))
        joined = jnp.concatenate([many["a"], many["b"]], axis=1)
        np.testing.assert_allclose(joined, jnp.stack([jax.nn.softmax(X / SIGMA)] * 2), atol=TOLERANCE)
