"""Pruning against the formulas of the optimal brain surgeon with dense inverses, in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.optimizers.pruning import geometric_sparsities, m_fac_prune, obs_step

M, DAMPING = 16, 1e-2


@pytest.fixture(scope="module")
def drawn():
    """Weights and gradients of a layer with 6 x 5 weights and 5 biases, as trees of NumPy arrays."""
    rng = np.random.default_rng(0)
    draw = lambda *lead: {"bias": rng.normal(size=(*lead, 5)), "kernel": rng.normal(size=(*lead, 6, 5))}  # noqa: E731
    return draw(), draw(M)


def step(drawn, sparsity, kept):
    params, gradients = (jax.tree.map(jnp.asarray, t) for t in drawn)
    mask = {"bias": jnp.ones(5, bool), "kernel": jnp.asarray(kept)}
    prunable = {"bias": False, "kernel": True}
    return obs_step(params, gradients, sparsity, mask, prunable=prunable, damping=DAMPING)


def by_hand(drawn, number, kept):
    """The kernel after removing ``number`` weights, with the inverse among those that are left."""
    w, G = drawn[0]["kernel"].ravel().copy(), drawn[1]["kernel"].reshape(M, -1)
    left = np.flatnonzero(kept.ravel())
    F = DAMPING * np.eye(left.size) + G[:, left].T @ G[:, left] / M
    inverse = np.linalg.inv(F)
    cost = w[left] ** 2 / (2 * np.diag(inverse))
    gone = np.argsort(cost)[:number]
    w[left] -= inverse[:, gone] @ (w[left[gone]] / np.diag(inverse)[gone])
    w[left[gone]] = 0
    w[~kept.ravel()] = 0
    return w.reshape(6, 5), left[gone]


class TestStep:
    def test_one_weight_meets_the_optimality_conditions(self, drawn):
        with jax.enable_x64(True):
            params, mask = step(drawn, 1 / 30, np.ones((6, 5), bool))
            want, (q,) = by_hand(drawn, 1, np.ones((6, 5), bool))
            np.testing.assert_allclose(params["kernel"], want, rtol=0, atol=1e-10)
            assert params["kernel"].ravel()[q] == 0 and not mask["kernel"].ravel()[q]
            assert mask["kernel"].sum() == 29

    def test_several_weights_when_some_are_gone(self, drawn):
        kept = np.random.default_rng(1).random((6, 5)) < 0.7
        gone = int((~kept).sum())
        with jax.enable_x64(True):
            params, mask = step(drawn, (gone + 8) / 30, kept)
            want, _ = by_hand(drawn, 8, kept)
            np.testing.assert_allclose(params["kernel"], want, rtol=0, atol=1e-10)
            np.testing.assert_array_equal(mask["kernel"], want != 0)

    def test_what_must_stay_stays(self, drawn):
        params, mask = step(drawn, 0.9, np.ones((6, 5), bool))
        np.testing.assert_array_equal(params["bias"], drawn[0]["bias"].astype(np.float32))
        assert bool(mask["bias"].all()) and int(mask["kernel"].sum()) == 3

    def test_dtypes_are_kept(self, drawn):
        half = [jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), t) for t in drawn]
        params, mask = step(half, 0.5, np.ones((6, 5), bool))
        assert params["kernel"].dtype == jnp.bfloat16 and mask["kernel"].dtype == bool


class TestGradual:
    def test_every_step_prunes_on_and_sees_its_own_weights(self, drawn):
        seen = []

        def gradients(params, key):
            seen.append(params)
            return jax.tree.map(lambda p: jax.random.normal(key, (M, *p.shape)) + p, params)

        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), drawn[0])
        pruned, mask = m_fac_prune(params, gradients, 0.8, key=jax.random.key(0), steps=3, damping=DAMPING)
        seen.append(pruned)
        zeros = [np.asarray(p["kernel"]) == 0 for p in seen]
        # the density falls by a factor of 0.2^(1/3) a step: 30, 17.5, 10.3 and 6 weights
        assert [int(30 - z.sum()) for z in zeros] == [30, 18, 10, 6]
        assert all(np.all(b[a]) for a, b in itertools.pairwise(zeros))
        np.testing.assert_array_equal(mask["kernel"], ~zeros[-1])
        assert bool(mask["bias"].all())

    def test_the_schedule_goes_on_from_a_sparsity(self):
        assert geometric_sparsities(0.95, 1) == [pytest.approx(0.95)]
        np.testing.assert_allclose(geometric_sparsities(0.96, 2, start=0.36), [1 - 0.16, 0.96])

    @pytest.mark.parametrize("sparsity, start", [(1.0, 0.0), (0.5, 0.6), (0.5, -0.1)])
    def test_sparsities_that_do_not_rise(self, sparsity, start):
        with pytest.raises(ValueError, match="must rise within"):
            geometric_sparsities(sparsity, 2, start)

    def test_no_step(self):
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            geometric_sparsities(0.5, 0)
