"""Two time scales: the players' updates are those of their own optimizers, one of them ascending."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.ttur import check_time_scales, ttur, two_players

SHAPES = {"minimiser": {"w": (3, 4), "b": (4,)}, "maximiser": {"w": (5,)}}


def draw(shapes, seed, dtype, steps=100):
    rng = np.random.default_rng(seed)
    leaves, structure = jax.tree.flatten(shapes, is_leaf=lambda s: isinstance(s, tuple))
    return jax.tree.unflatten(structure, [rng.normal(size=(steps, *s)).astype(dtype) for s in leaves])


def run(tx, gradients):
    @jax.jit
    def trajectory(gradients):
        params = jax.tree.map(lambda g: g[0], gradients)

        def step(state, g):
            updates, state = tx.update(g, state, params)
            return state, updates

        return jax.lax.scan(step, tx.init(params), gradients)[1]

    return trajectory(gradients)


def adam(g, rate, b1=0.5, b2=0.9, eps=1e-8):
    rate, b1, b2, eps = (g.dtype.type(x) for x in (rate, b1, b2, eps))
    m = v = np.zeros_like(g[0])
    steps = []
    for t, g_t in enumerate(g, 1):
        m, v = b1 * m + (1 - b1) * g_t, b2 * v + (1 - b2) * g_t**2
        steps.append(-rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps))
    return np.array(steps)


def test_each_player_sees_its_own_adam(precision):
    """Not with b2 = 0.999, where the bias correction of Optax's Adam in float32 is itself off by 1e-5."""
    G = draw(SHAPES, 0, precision)
    found = run(ttur(1e-3, 5e-3, b1=0.5, b2=0.9), G)
    for player, rate, sign in (("minimiser", 1e-3, 1), ("maximiser", 5e-3, -1)):
        for k, g in G[player].items():
            expected = sign * adam(g, rate)
            error = np.abs(found[player][k] - expected).max() / np.abs(expected).max()
            assert found[player][k].dtype == precision
            assert error < (1e-12 if precision == "float64" else 1e-6)


def test_equal_rates_are_one_adam_with_a_sign_flipped_bit_for_bit():
    """Operation by operation: compiled together, the one and the two programs round differently."""
    params, *gradients = (
        jax.tree.map(lambda g: jnp.asarray(g[0]), draw(SHAPES, seed, np.float32, steps=1))
        for seed in range(6)
    )
    ours, adam = ttur(2e-3, 2e-3, b1=0.5), optax.adam(2e-3, b1=0.5)
    state, joint = ours.init(params), adam.init(params)
    with jax.disable_jit():
        for g in gradients:
            found, state = ours.update(g, state, params)
            flipped = {"minimiser": g["minimiser"], "maximiser": jax.tree.map(jnp.negative, g["maximiser"])}
            expected, joint = adam.update(flipped, joint, params)
            jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_labels_may_be_a_prefix_or_a_function():
    G = (np.ones((2, 3)), np.ones((2, 3)))
    players = optax.sgd(0.1), optax.sgd(0.5)
    for labels in (("maximiser", "minimiser"), lambda p: ("maximiser", "minimiser")):
        ascending, descending = run(two_players(*players, labels), G)
        np.testing.assert_allclose(ascending, 0.5, rtol=1e-6)
        np.testing.assert_allclose(descending, -0.1, rtol=1e-6)
    decayed = two_players(optax.sgd(0.1), optax.adamw(0.1, weight_decay=1.0), ("maximiser", "minimiser"))
    weights = (jnp.array(2.0), jnp.array(2.0))
    updates: Any = decayed.update((jnp.array(0.0), jnp.array(0.0)), decayed.init(weights), weights)[0]
    np.testing.assert_allclose(updates[0], -0.2, rtol=1e-6)  # ascent decays too, it does not grow weights


def test_the_minimiser_waits_for_the_critic():
    G = draw(SHAPES, 2, np.float32, steps=9)
    found = run(ttur(1e-3, 5e-3, b1=0.5, b2=0.9, maximiser_steps=3), G)
    for k, g in G["minimiser"].items():
        expected = np.zeros_like(g)
        expected[2::3] = adam(g[2::3], 1e-3)  # its state does not move in between
        np.testing.assert_allclose(found["minimiser"][k], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found["maximiser"]["w"], -adam(G["maximiser"]["w"], 5e-3), rtol=1e-5)


def test_schedules_on_two_time_scales_pass_and_others_do_not():
    check_time_scales(lambda n: 1 / n, lambda n: n**-0.6)
    check_time_scales(lambda n: 1 / (n * np.log(n)), lambda n: 1 / n)  # the ratio falls like 1 / log n
    shared = optax.exponential_decay(0.1, 1000, 0.5)
    for slow, fast in (
        (lambda n: 1e-4, lambda n: 3e-4),
        (lambda n: n**-0.6, lambda n: 1 / n),
        (lambda n: 0.1 * shared(n), shared),
        (optax.linear_schedule(0.1, 0.01, 10_000), lambda n: 0.1),
    ):
        with pytest.raises(ValueError, match="needs to go to zero"):
            check_time_scales(slow, fast)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"keys minimiser and maximiser.*got keys generator, critic"):
        ttur().init({"generator": jnp.ones(1), "critic": jnp.ones(1)})
    with pytest.raises(ValueError, match="maximiser_steps is a positive integer, got 0"):
        ttur(maximiser_steps=0)
