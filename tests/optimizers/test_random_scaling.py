"""Random scaling: against NumPy with the same draws, against SGD without them, its sampler, its average."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.optimizers.random_scaling import (
    average_iterates,
    discounted_descent,
    online_to_nonconvex,
    random_scaling,
    scale_by_exponential,
)
from tests.optimizers.trajectory import trajectory


def _gradients(precision: Any) -> Any:
    rng = np.random.default_rng(0)
    g = {"w": rng.normal(size=(100, 4, 3)), "b": rng.normal(size=100)}
    return jax.tree.map(lambda v: jnp.asarray(v, precision), g)


def _draws(seed: int, n: int) -> np.ndarray:
    """The scales of a run, drawn by themselves."""
    found = trajectory(scale_by_exponential(seed), jnp.ones((n, 1)), jnp.zeros(1))[1]
    return np.asarray(found, np.float64)[:, 0]


def test_it_is_the_formula_over_a_hundred_random_gradients(precision):
    g, eta, beta, mu = _gradients(precision), 0.3, 0.9, 0.5
    start = jax.tree.map(lambda v: jnp.ones_like(v[0]), g)
    x, _, state = trajectory(
        optax.chain(random_scaling(eta, beta, mu, key=7), average_iterates(beta)), g, start
    )
    s = _draws(7, 100)
    for k in g:
        delta, at, mean = 0.0, np.ones(g[k].shape[1:]), 0.0
        for t in range(100):
            delta = beta / (1 + eta * mu) * (delta - eta * np.asarray(g[k][t], np.float64))
            at = at + s[t] * delta
            b = beta ** (t + 1)
            mean = (beta - b) / (1 - b) * mean + (1 - beta) / (1 - b) * at
            error = np.linalg.norm(x[k][t] - at) / np.linalg.norm(at)
            assert error < {"float32": 1e-6, "float64": 1e-12}[precision.name]
        average = optax.tree.get(state, "iterate_average")[k]
        assert np.linalg.norm(average - mean) / np.linalg.norm(mean) < 1e-6


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_without_the_scale_it_is_sgd_with_momentum(mu):
    with jax.enable_x64(True):
        g = _gradients(jnp.float64)
        start = jax.tree.map(lambda v: v[0], g)
        momentum = 0.9 / (1 + 0.3 * mu)
        ours = trajectory(discounted_descent(0.3, 0.9, mu), g, start)[0]
        sgd = trajectory(optax.sgd(0.3 * momentum, momentum), g, start)[0]
        assert all(np.max(np.abs(ours[k] - sgd[k])) < 1e-12 for k in g)


def test_a_schedule_enters_momentum_with_the_rate_of_its_time():
    rate = lambda t: 1.0 / (t + 1)  # noqa: E731
    updates = trajectory(discounted_descent(rate, 0.5), jnp.ones((2, 1)), jnp.zeros(1))[1]
    assert np.allclose(updates[:, 0], [-0.5, -0.5], atol=1e-7)  # the second: (-0.5 - 1/2) / 2


def test_scales_are_exponential_over_keys_and_over_steps():
    tx: Any = scale_by_exponential()
    of_key = lambda key: tx.update(jnp.ones(()), tx.init(None)._replace(key=key))[0]  # noqa: E731
    of_keys: Any = jax.jit(jax.vmap(of_key))(jax.random.split(jax.random.key(0), 100_000))
    # The sheet's bounds, 3 and 3.5 standard errors; the fourth moment of Exp(1) is 24.
    for s in (np.asarray(of_keys), _draws(0, 100_000)):
        assert abs(np.mean(s) - 1) < 0.01 and abs(np.mean(s**2) - 2) < 0.05
        assert np.min(s) > 0 and abs(np.mean(s > 1) - np.exp(-1)) < 4 * 0.48 / 100_000**0.5
    assert len(np.unique(of_keys)) > 99_000


def test_one_scale_for_all_leaves_and_another_each_step_and_key():
    g = {"w": jnp.ones((50, 4, 3)), "b": jnp.ones(50), "half": jnp.ones((50, 2), jnp.bfloat16)}
    u = trajectory(scale_by_exponential(3), g, jax.tree.map(lambda v: v[0], g))[1]
    assert np.all(u["w"] == u["w"][:, :1, :1]) and np.array_equal(u["w"][:, 0, 0], u["b"])
    assert np.array_equal(u["half"][:, 0], u["b"].astype(jnp.bfloat16))
    assert len(np.unique(u["b"])) == 50
    assert np.array_equal(_draws(3, 50), _draws(3, 50)) and not np.any(_draws(3, 50) == _draws(4, 50))


def test_a_key_may_be_given_as_such():
    tx = scale_by_exponential(jax.random.key(3))
    u = trajectory(tx, jnp.ones((5, 1)), jnp.zeros(1))[1]
    assert np.array_equal(u[:, 0], _draws(3, 5))
    problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 2))
    ends = [
        fr.solve(
            problem, jnp.zeros(1), fr.solvers.Optax(random_scaling(0.1, key=key)), max_steps=5, tol=0.0
        ).x
        for key in (3, jax.random.key(3))
    ]
    assert np.array_equal(*ends)


def test_the_whole_update_of_adamw_is_scaled_its_decay_included():
    g = _gradients(jnp.float32)
    start = jax.tree.map(lambda v: 3 * jnp.ones_like(v[0]), g)
    adamw = optax.adamw(0.1, weight_decay=0.5)
    u = trajectory(online_to_nonconvex(adamw, key=5), g, start)[1]
    first = jax.tree.map(lambda v: v[0], g)
    plain: Any = adamw.update(first, adamw.init(start), start)[0]
    assert all(np.allclose(u[k][0], _draws(5, 1)[0] * plain[k], rtol=1e-6) for k in g)
