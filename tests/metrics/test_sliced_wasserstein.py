"""Transport on the line and its mean over directions: SciPy, linear programming, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from frechet import metrics


def measures(m=9, n=6, d=None):
    rng = np.random.default_rng(0)
    shape = (lambda k: (k,)) if d is None else (lambda k: (k, d))
    x, y = rng.normal(size=shape(m)), rng.normal(size=shape(n)) + 1
    return x, y, rng.dirichlet(np.ones(m)), rng.dirichlet(np.ones(n))


def test_on_the_line_it_is_the_least_cost(precision):
    x, y, a, b = measures()
    rows = np.kron(np.eye(9), np.ones(6))
    columns = np.kron(np.ones(9), np.eye(6))
    rtol = 1e-9 if precision == "float64" else 1e-5
    for p in (1.0, 2.0, 3.5):
        C = np.abs(x[:, None] - y) ** p
        program = scipy.optimize.linprog(
            C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b])
        )
        found = metrics.wasserstein_1d(*(jnp.asarray(v, precision) for v in (x, y, a, b)), p=p)
        assert found.dtype == precision
        np.testing.assert_allclose(found, program.fun, rtol=rtol)
    one = metrics.wasserstein_1d(jnp.asarray(x, precision), jnp.asarray(y, precision), p=1)
    np.testing.assert_allclose(one, scipy.stats.wasserstein_distance(x, y), rtol=rtol)


def test_derivatives_are_those_of_differences():
    with jax.enable_x64(True):
        x, y, a, b = map(jnp.asarray, measures())
        rng, h = np.random.default_rng(1), 1e-6
        d = [rng.normal(size=v.shape) * s for v, s in ((x, 1), (y, 1), (a, 0.01))]

        def along(t):
            return metrics.wasserstein_1d(x + t * d[0], y + t * d[1], a + t * d[2], b)

        np.testing.assert_allclose(jax.grad(along)(0.0), (along(h) - along(-h)) / (2 * h), rtol=1e-7)
        same = jax.grad(lambda x: metrics.wasserstein_1d(x, x[::-1] + 0.0, p=1.5))(x)
        assert jnp.all(same == 0)  # not NaN


def test_slices_of_a_translate_average_the_squares_of_shadows():
    x, y, a, _ = measures(d=3)
    shift = np.array([1.0, -2.0, 2.0])
    found = metrics.sliced_wasserstein(jnp.asarray(x), jnp.asarray(x + shift), directions=4000)
    # <shift, u>^2 has mean 9 / 3 and standard deviation 9 sqrt(4 / 45) over the sphere.
    assert abs(float(found) - 3) < 4 * 9 * np.sqrt(4 / 45 / 4000)
    order = np.random.default_rng(2).permutation(9)
    twice = metrics.sliced_wasserstein(*map(jnp.asarray, (x, x[order], a, a[order])))
    assert abs(float(twice)) < 1e-10
    assert float(metrics.sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), key=jax.random.key(1))) > 0


def test_bad_input_is_refused():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"p must be at least 1, got 0\.5"):
        metrics.wasserstein_1d(x, x, p=0.5)
    with pytest.raises(ValueError, match=r"a has shape \(2,\) for points of shape \(3,\)"):
        metrics.wasserstein_1d(x, x, jnp.ones(2))
    with pytest.raises(ValueError, match=r"clouds have shapes \(m, d\) and \(n, d\)"):
        metrics.sliced_wasserstein(jnp.zeros((3, 2)), jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"directions have shape \(k, 2\)"):
        metrics.sliced_wasserstein(jnp.zeros((3, 2)), jnp.zeros((3, 2)), directions=jnp.ones((5, 3)))
