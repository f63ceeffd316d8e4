"""Maps of the suite: samples have the moments they should, and the right images are optimal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.metrics import monge_gap
from frechet.workbench import suite

NAMES = ("map-cells", "map-clusters", "map-clusters-icnn", "map-mahalanobis", "map-rotated")


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_drawn_and_right_images_have_no_gap(name):
    case = suite.load(name)
    assert isinstance(case.problem, fr.TransportMap)
    problem: Any = case.problem
    again = problem.initial(jax.random.key(1))
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, case.x0)
    x, y, *images = (v[:64] for v in problem.held_out)
    assert bool(problem.sound()) and x.shape == y.shape
    cost = problem.loss.terms.cost
    for right in images:
        # Cyclically monotone: no permutation of the images is cheaper.
        np.testing.assert_allclose(monge_gap(x, right, cost=cost, epsilon=None), 0, atol=1e-5)
    assert not images or problem.target.measure == "map_error"


def test_the_map_for_correlated_coordinates_carries_the_covariance():
    from frechet.workbench.suite import transport_maps

    A = transport_maps.metric_map()
    np.testing.assert_allclose(A @ A.T, np.diag([4.0, 0.25]), atol=1e-12)
    assert abs(A[0, 1] - A[1, 0]) > 0.1  # no gradient
    M = transport_maps.METRIC
    np.testing.assert_allclose(M @ A, (M @ A).T, atol=1e-12)  # but one in the metric
