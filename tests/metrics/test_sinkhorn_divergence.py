"""Sinkhorn divergences against NumPy's Sinkhorn, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet import metrics


def entropic(x, y, a, b, epsilon):
    """The optimal value by many scalings with NumPy."""
    C = ((x[:, None] - y) ** 2).sum(-1)
    K, v = np.exp(-C / epsilon), np.ones(len(y))
    for _ in range(20_000):
        u = 1 / (K @ (b * v))
        v = 1 / (K.T @ (a * u))
    P = a[:, None] * u[:, None] * K * v * b
    return (P * C).sum() + epsilon * (P * np.log(u[:, None] * K * v)).sum()


def clouds(rng, m=7, n=5):
    x, y = rng.normal(size=(m, 2)), rng.normal(size=(n, 2)) + 0.5
    return x, y, rng.dirichlet(np.ones(m) * 5), rng.dirichlet(np.ones(n) * 5)


def divergence(x, y, a, b, tol: float | None = 1e-10):
    return metrics.sinkhorn_divergence(x, y, a, b, epsilon=0.5, relative=False, tol=tol)


def test_it_is_the_sum_of_its_three_terms(precision):
    x, y, a, b = clouds(np.random.default_rng(0))
    expected = entropic(x, y, a, b, 0.5) - entropic(x, x, a, a, 0.5) / 2 - entropic(y, y, b, b, 0.5) / 2
    found = divergence(*(jnp.asarray(v, precision) for v in (x, y, a, b)), tol=None)
    assert found.dtype == precision
    np.testing.assert_allclose(found, expected, rtol=1e-12 if precision == "float64" else 1e-5)


@pytest.fixture(scope="module")
def case():
    with jax.enable_x64(True):
        x, y, a, b = map(jnp.asarray, clouds(np.random.default_rng(1)))
        yield x, y, a, b, jax.jit(jax.value_and_grad(divergence, (0, 1, 2)))


def test_first_and_second_derivatives_are_those_of_differences(case):
    x, y, a, b, value_and_grad = case
    rng = np.random.default_rng(2)
    dx, dy, da = (rng.normal(size=v.shape) for v in (x, y, a))
    da = (da - da.mean()) / 50  # weights keep their sum
    h = 1e-5

    def at(t):
        return value_and_grad(x + t * dx, y + t * dy, a + t * da, b)

    slope = sum(jnp.vdot(g, d) for g, d in zip(at(0)[1], (dx, dy, da), strict=True))
    np.testing.assert_allclose(slope, (at(h)[0] - at(-h)[0]) / (2 * h), rtol=1e-8)
    bend = jax.jit(lambda: jax.jvp(lambda t: at(t)[1][0], (0.0,), (1.0,))[1])()
    np.testing.assert_allclose(bend, (at(h)[1][0] - at(-h)[1][0]) / (2 * h), atol=1e-8)


def test_it_is_zero_and_flat_where_measures_agree_and_knows_no_order(case):
    x, _, a, _, value_and_grad = case
    y, b = jnp.concatenate([x, x[:1]])[::-1], jnp.concatenate([a, a[:1] / 2]).at[0].multiply(0.5)[::-1]
    value, slopes = value_and_grad(x, y, a, b)  # a point of x is two points of y
    assert abs(value) < 1e-12 and jnp.max(jnp.abs(slopes[0])) < 1e-9
    away = value_and_grad(x, y + 3.0, a, b)[0]
    np.testing.assert_allclose(away, 18.0, rtol=1e-10)  # moving a measure by v: |v|^2 of squared distances


def test_a_derivative_of_an_unfinished_solve_warns():
    x, y, _, _ = map(jnp.asarray, clouds(np.random.default_rng(3)))
    loss = jax.grad(lambda x: metrics.sinkhorn_divergence(x, y, epsilon=0.01, max_steps=2))
    with pytest.warns(fr.DerivativeWarning, match="did not converge"):
        jax.block_until_ready(loss(x))
        jax.effects_barrier()


def test_costs_of_ones_own_are_differentiated_in_what_they_hold(case):
    x, y, a, b, _ = case

    def scaled(s):
        return metrics.sinkhorn_divergence(x, y, a, b, cost=lambda u, v: s * jnp.sum((u - v) ** 2))

    # Relative to the mean cost epsilon scales as the cost does; it is a constant for derivatives.
    with jax.enable_x64(True):
        np.testing.assert_allclose(scaled(2.0), 2 * scaled(1.0), rtol=1e-10)
        epsilon = 0.05 * jnp.mean(jnp.sum((x[:, None] - y) ** 2, -1))
        fixed = lambda s: metrics.sinkhorn_divergence(  # noqa: E731
            x, y, a, b, cost=lambda u, v: s * jnp.sum((u - v) ** 2), epsilon=epsilon, relative=False
        )
        expected = (fixed(1.0001) - fixed(0.9999)) / 0.0002
        np.testing.assert_allclose(jax.grad(scaled)(1.0), expected, rtol=1e-6)


def test_bad_input_is_refused():
    x = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match="points of x have 2 coordinates, those of y 3"):
        metrics.sinkhorn_divergence(x, jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"a has shape \(2,\)"):
        metrics.sinkhorn_divergence(x, x + 1, jnp.ones(2) / 2)
