"""The Monge gap against all permutations, finite differences, and what it is known to be."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.metrics import monge_gap
from frechet.transport import Euclidean, PowerNorm

RNG = np.random.default_rng(0)
X, U = RNG.normal(size=(2, 6, 2))


@pytest.mark.parametrize(
    ("cost", "by_hand"),
    [
        (Euclidean(), lambda x, u: np.linalg.norm(x - u)),
        (PowerNorm(3.0), lambda x, u: np.sum(np.abs(x - u) ** 3) / 3),
        (lambda x, u: -x @ u, lambda x, u: -x @ u),
    ],
)
def test_exact_gap_is_over_all_permutations(cost, by_hand, precision):
    moved = [
        np.mean([by_hand(X[i], U[s]) for i, s in enumerate(p)]) for p in itertools.permutations(range(6))
    ]
    gap = monge_gap(jnp.asarray(X, precision), jnp.asarray(U, precision), cost=cost, epsilon=None)
    assert gap.dtype == precision
    np.testing.assert_allclose(gap, moved[0] - min(moved), rtol=100 * np.finfo(precision).eps)


@pytest.mark.parametrize("how", [{"epsilon": None}, {"epsilon": 0.3}, {"epsilon": 0.3, "debiased": True}])
def test_derivatives_are_those_of_finite_differences(how):
    with jax.enable_x64(True):
        how = {**how, "relative": False, "tol": 1e-10}
        gap = jax.jit(lambda u: monge_gap(jnp.asarray(X), u, **how))
        direction, h = RNG.normal(size=U.shape), 1e-5
        slope = np.sum(jax.grad(gap)(jnp.asarray(U)) * direction)
        np.testing.assert_allclose(
            slope, (gap(U + h * direction) - gap(U - h * direction)) / (2 * h), rtol=1e-6
        )


def test_debiased_gap_of_an_optimal_map_is_nearer_to_zero():
    x = jnp.asarray(RNG.normal(size=(48, 2)))
    u = x @ jnp.array([[2.0, 0.5], [0.5, 1.0]])
    plain, debiased = (float(monge_gap(x, u, debiased=d)) for d in (False, True))
    assert plain > 0 and abs(debiased) < plain / 5


def test_every_point_has_one_image():
    with pytest.raises(ValueError, match=r"one image each, got \(6, 2\) and \(5, 2\)"):
        monge_gap(jnp.asarray(X), jnp.asarray(U[:5]))
