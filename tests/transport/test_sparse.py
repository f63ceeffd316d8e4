"""Best potentials of sparse plans against sorting, and at the edges of what floats hold."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.transport.quadratic import Quadratic, TopK


def _sorted_threshold(z, mass):
    ordered = np.sort(z)[::-1]
    candidates = (np.cumsum(ordered) - mass) / np.arange(1, z.size + 1)
    return -np.max(candidates[ordered > candidates])


def test_best_potential_gives_a_column_its_mass():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for gamma in (1e-6, 0.1, 10.0, 1e4):
            z, b = rng.normal(size=30), 0.3
            g = float(Quadratic(gamma).best(jnp.asarray(z), jnp.ones(30), jnp.asarray(b)))
            assert np.isclose(g, _sorted_threshold(z, gamma * b), rtol=1e-13, atol=1e-13)
            few = np.sort(z)[-2:]
            g = float(TopK(2, gamma).best(jnp.asarray(z), jnp.ones(30), jnp.asarray(b)))
            assert np.isclose(g, _sorted_threshold(few, gamma * b), rtol=1e-13, atol=1e-13)


def test_far_entries_do_not_cancel_and_barred_ones_do_not_count():
    z = jnp.array([1e6, 1e6 - 1, -jnp.inf], jnp.float32)
    slope = jax.grad(lambda z: Quadratic(1.0).best(z, jnp.ones(3), jnp.float32(3.0)))(z)
    assert np.allclose(slope, [-0.5, -0.5, 0])
    g = Quadratic(1.0).best(z, jnp.ones(3), jnp.float32(3.0))
    assert np.isclose(float(jnp.sum(jnp.maximum(z + g, 0))), 3.0)
