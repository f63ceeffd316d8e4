"""Clipping the largest coordinates, against sorting the pooled moduli."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.optimizers.coordinate_clip import clip_largest_coordinates, coordinate_clip

SHAPES = {"a": (7, 3), "b": (), "c": (2, 5, 4), "d": (11,)}
SIZE = sum(int(np.prod(s)) for s in SHAPES.values())


def gradients(rng, dtype):
    """Leaves of sizes that differ by orders of magnitude, so that a threshold a leaf would be another."""
    scales = dict(zip(SHAPES, 10.0 ** np.arange(-2, 2), strict=True))
    return {k: np.asarray(scales[k] * rng.standard_t(2, size=s), dtype) for k, s in SHAPES.items()}


def pooled(tree):
    return np.concatenate([np.ravel(v) for v in tree.values()])


def clip(g, **options) -> Any:
    tx = clip_largest_coordinates(**options)
    return tx.update(jax.tree.map(jnp.asarray, g), tx.init(g))[0]


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.1, 0.5, 0.99, 1 - 1e-9])
def test_exactly_the_largest_change_to_the_largest_of_the_rest(precision, fraction):
    g = gradients(np.random.default_rng(0), precision)
    got, flat = pooled(clip(g, fraction=fraction)), pooled(g)
    k = int(SIZE * fraction)
    order = np.argsort(-np.abs(flat))
    np.testing.assert_array_equal(got[order[k:]], flat[order[k:]])
    np.testing.assert_array_equal(got[order[:k]], np.sign(flat[order[:k]]) * np.abs(flat[order[k]]))
    assert np.linalg.norm(got) <= np.linalg.norm(flat)


def test_everything_clipped_is_the_sign():
    g = gradients(np.random.default_rng(1), np.float32)
    np.testing.assert_array_equal(pooled(clip(g, fraction=1.0)), np.sign(pooled(g)))


def test_ties_and_zeros_at_the_threshold():
    g = {"a": np.array([3, -3, 3, 1.0]), "b": np.array([3, 0, 0, -0.0])}
    np.testing.assert_array_equal(pooled(clip(g, fraction=0.25)), pooled(g))  # the third largest is 3 too
    np.testing.assert_array_equal(pooled(clip(g, fraction=0.5)), np.sign(pooled(g)))
    np.testing.assert_array_equal(pooled(clip(g, fraction=0.75)), 0)


def test_scaled_threshold_and_unit_rms_a_leaf():
    g = gradients(np.random.default_rng(2), np.float32)
    clipped = clip(g, fraction=0.1, threshold_scale=0.5)
    threshold = np.sort(np.abs(pooled(g)))[::-1][int(SIZE * 0.1)] / 2
    np.testing.assert_array_equal(pooled(clipped), np.clip(pooled(g), -threshold, threshold))
    for k, v in clip(g, fraction=0.1, threshold_scale=0.5, normalize=True).items():
        want = np.asarray(clipped[k]) / np.sqrt(np.mean(np.float64(clipped[k]) ** 2))
        np.testing.assert_allclose(v, want, rtol=1e-6)


@pytest.mark.parametrize("dtypes", [("bfloat16",) * 4, ("float16", "bfloat16", "float32", "float16")])
def test_half_precision_and_mixed_trees_are_pooled_exactly(dtypes):
    g = gradients(np.random.default_rng(3), np.float32)
    g = {k: jnp.asarray(v, d) for (k, v), d in zip(g.items(), dtypes, strict=True)}
    got = clip(g, fraction=0.2)
    assert [v.dtype for v in got.values()] == [v.dtype for v in g.values()]
    flat = pooled({k: np.float32(v) for k, v in g.items()})
    threshold = np.sort(np.abs(flat))[::-1][int(SIZE * 0.2)]
    rounded = {k: np.float32(jnp.asarray(threshold, v.dtype)) for k, v in g.items()}
    want = np.concatenate([np.ravel(np.clip(np.float32(v), -rounded[k], rounded[k])) for k, v in g.items()])
    np.testing.assert_array_equal(pooled({k: np.float32(v) for k, v in got.items()}), want)


def test_fewer_passes_bound_the_threshold_from_below():
    g = gradients(np.random.default_rng(4), np.float32)
    exact, rough = (np.abs(pooled(clip(g, fraction=0.3, bits=b))).max() for b in (None, 14))
    assert exact * (1 - 2.0**-5) <= rough < exact


def test_a_traced_fraction_is_the_same():
    g = gradients(np.random.default_rng(5), np.float32)
    run = jax.jit(lambda q: clip(g, fraction=q))
    for q in (0.0, 0.1, 0.5, 1.0):
        np.testing.assert_array_equal(pooled(run(q)), pooled(clip(g, fraction=q)))


def test_a_hundred_steps_agree_with_sorting(precision):
    rng = np.random.default_rng(6)
    steps = [gradients(rng, precision) for _ in range(100)]
    tx = coordinate_clip(0.05, fraction=0.1, momentum=0.9, weight_decay=0.01)
    x0 = gradients(rng, precision)

    def step(carry, g):
        x, state = carry
        updates, state = tx.update(g, state, x)
        return (jax.tree.map(jnp.add, x, updates), state), None

    start = jax.tree.map(jnp.asarray, x0)
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *steps)
    (got, _), _ = jax.jit(lambda c, g: jax.lax.scan(step, c, g))((start, tx.init(start)), stacked)

    x = pooled(x0).astype(np.float64)
    m = np.zeros_like(x)
    for g in map(pooled, steps):
        threshold = np.sort(np.abs(g))[::-1][int(SIZE * 0.1)]
        m = 0.9 * m + np.clip(g, -threshold, threshold) + 0.01 * x
        x = x - 0.05 * m
    error = np.linalg.norm(pooled(got) - x) / np.linalg.norm(x)
    assert error < {"float32": 1e-6, "float64": 1e-12}[precision.name]


@pytest.mark.parametrize("options", [{"fraction": 1.5}, {"fraction": -0.1}, {"bits": 4}])
def test_what_is_no_fraction_is_refused(options):
    with pytest.raises(ValueError, match=r"must be .*, got"):
        clip_largest_coordinates(**options)
