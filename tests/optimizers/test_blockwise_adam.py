"""Adam by blocks, against NumPy with the blocks as index sets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.blockwise_adam import blockwise_adam, scale_by_blockwise_adam
from frechet.optimizers.layout import EQUINOX

SHAPES = {"dense": (4, 3), "filters": (2, 2, 3, 5), "bias": (3,), "scale": ()}
LABELS = {"dense": "kernels", "filters": "kernels", "bias": "rest", "scale": "rest"}


def draw(rng, dtype: Any = np.float64):
    return {k: np.asarray(rng.normal(size=s) * 10.0**i, dtype) for i, (k, s) in enumerate(SHAPES.items())}


def block_ids(blocks):
    """For each leaf an array of block ids, written down independently of the library's reductions."""
    ids = {}
    for i, (k, s) in enumerate(SHAPES.items()):
        n = int(np.prod(s))
        if blocks == "coordinate":
            ids[k] = np.array([f"{k}{j}" for j in range(n)]).reshape(s)
        elif blocks in ("last", "first"):
            axis = np.indices(s)[-1 if blocks == "last" else 0] if s else np.zeros(())
            ids[k] = np.vectorize(lambda j, k=k: f"{k}{int(j)}")(axis)
        else:
            ids[k] = np.full(s, {"leaf": str(i), "tree": "all", "labels": LABELS[k]}[blocks])
    return ids


CASES = {
    "coordinate": {"blocks": "coordinate"},
    "last": {"blocks": "channel"},
    "first": {"blocks": "channel", "channel_axis": EQUINOX},
    "leaf": {"blocks": "leaf"},
    "tree": {"blocks": "tree"},
    "labels": {"blocks": LABELS},
}


def flat(tree):
    return np.concatenate([np.ravel(tree[k]) for k in SHAPES])


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_agree_with_blocks_as_index_sets(precision, case):
    rng = np.random.default_rng(0)
    steps, x0 = [draw(rng, precision) for _ in range(100)], draw(rng, precision)
    tx = blockwise_adam(0.05, 0.9, 0.99, 1e-3, 0.02, **CASES[case])

    def step(carry, g):
        x, state = carry
        updates, state = tx.update(g, state, x)
        return (optax.apply_updates(x, updates), state), None

    start = jax.tree.map(jnp.asarray, x0)
    gs = jax.tree.map(lambda *v: jnp.stack(v), *steps)
    (got, state), _ = jax.jit(lambda c, g: jax.lax.scan(step, c, g))((start, tx.init(start)), gs)

    ids = flat(block_ids(case))
    x, m, v = flat(x0).astype(float), np.zeros(ids.size), dict.fromkeys(ids, 0.0)
    for t, g in enumerate(map(flat, steps), 1):
        m = 0.9 * m + 0.1 * g
        for b in v:
            v[b] = 0.99 * v[b] + 0.01 * float(np.mean(g[ids == b].astype(float) ** 2))
        root = np.sqrt(np.array([v[b] for b in ids]) / (1 - 0.99**t))
        x = x * (1 - 0.05 * 0.02) - 0.05 / (1 - 0.9**t) * m / (root + 1e-3)
    error = np.linalg.norm(flat(got) - x) / np.linalg.norm(x)
    assert error < {"float32": 1e-6, "float64": 1e-12}[precision.name]
    assert sum(n.size for n in jax.tree.leaves(state[0].nu)) == len(v)


def test_singletons_are_adamw():
    with jax.enable_x64(True):
        g, x = (jax.tree.map(jnp.asarray, draw(np.random.default_rng(i))) for i in (1, 2))
        ours, theirs = blockwise_adam(blocks="coordinate"), optax.adamw(1e-3, weight_decay=1e-2)
        mine, other = ours.init(x), theirs.init(x)
        for _ in range(3):
            (a, mine), (b, other) = ours.update(g, mine, x), theirs.update(g, other, x)
            np.testing.assert_allclose(flat(a), flat(b), rtol=1e-12)


def test_one_block_is_one_whatever_the_tree():
    g = draw(np.random.default_rng(3), np.float32)
    tx: Any = scale_by_blockwise_adam(blocks="tree")
    whole = jnp.asarray(flat(g))
    apart = tx.update(jax.tree.map(jnp.asarray, g), tx.init(g))[0]
    np.testing.assert_allclose(flat(apart), tx.update(whole, tx.init(whole))[0], rtol=1e-6)


def test_without_bias_correction_the_first_step_is_the_theory_s():
    g = jnp.array([3.0, -4.0])
    tx: Any = scale_by_blockwise_adam(0.0, 0.99, 0.0, 1e-4, blocks="leaf", debias=False)
    u = tx.update(g, tx.init(g))[0]
    np.testing.assert_allclose(u, np.array([3, -4]) / np.sqrt(0.01 * 12.5 + 1e-4), rtol=1e-6)


def test_labels_may_be_a_prefix_or_a_function_and_the_masked_have_none():
    x = {"a": {"w": jnp.ones(2), "v": jnp.ones(3)}, "b": jnp.full(4, 2.0)}
    g = jax.tree.map(lambda v: 3 * v, x)

    def by_size(params):
        return jax.tree.map(lambda v: v.size < 4, params)

    for blocks in ({"a": 0, "b": 1}, by_size):
        tx: Any = scale_by_blockwise_adam(blocks=blocks)
        updates, state = tx.update(g, tx.init(x))
        np.testing.assert_allclose(sorted(jax.tree.leaves(state.nu)), [0.009, 0.036], rtol=1e-5)
        for v in jax.tree.leaves(updates):
            np.testing.assert_allclose(v, 1, rtol=1e-5)
    masked: Any = optax.masked(scale_by_blockwise_adam(blocks={"a": 0, "b": 1}), {"a": True, "b": False})
    updates, state = masked.update(g, masked.init(x))
    assert len(jax.tree.leaves(state.inner_state.nu)) == 1
    np.testing.assert_array_equal(updates["b"], g["b"])


def test_half_precision_keeps_its_blocks_in_single():
    g = jnp.full(4, 1e-4, jnp.float16)  # its square is nothing in float16
    tx: Any = scale_by_blockwise_adam(blocks="leaf")
    u, state = tx.update(g, tx.init(g))
    assert (u.dtype, state.mu.dtype, state.nu.dtype) == (jnp.float16, jnp.float16, jnp.float32)
    np.testing.assert_allclose(u, 1, rtol=1e-3)


def test_blocks_that_are_none_are_named():
    with pytest.raises(ValueError, match=r"blocks must be coordinate, .* got 'row'"):
        blockwise_adam(blocks="row")
