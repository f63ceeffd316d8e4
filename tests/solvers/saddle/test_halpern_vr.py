"""Halpern iteration, sampled and not, and sampled resolvents, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.anchor import SHARE
from frechet.solvers.fixed_point.halpern import Halpern
from frechet.solvers.saddle.components import steepness
from frechet.solvers.saddle.halpern_cocoercive_vr import CocoerciveVRHalpern
from frechet.solvers.saddle.halpern_monotone_vr import MonotoneVRHalpern
from frechet.solvers.saddle.sampled_resolvent import Inner, resolvent
from frechet.workbench.claims.iterates import states

RNG = np.random.default_rng(0)
SCALES = RNG.uniform(0.1, 1.0, size=(6, 4))
SHIFTS = RNG.normal(size=(6, 4))
START = RNG.uniform(-0.5, 0.5, size=4)
SKEW = RNG.normal(size=(4, 4))
M = SKEW - SKEW.T + 0.1 * np.eye(4)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def quadratics(n=6):
    """Gradients of quadratics in a box, with an eigenbasis in common."""
    data = (jnp.asarray(SCALES[:n]), jnp.asarray(SHIFTS[:n]))
    return fr.FiniteSumInclusion(lambda z, d: d[0] * z - d[1], data, fr.convex.Box(-0.5, 0.5))


@pytest.mark.parametrize(("n", "batch_size"), [(6, 6), (1, None)], ids=["b = n", "n = 1"])
def test_with_all_components_it_is_halpern_iteration(n, batch_size):
    L = SCALES[:n].max()
    solver = CocoerciveVRHalpern(lipschitz=L, batch_size=batch_size, restarts=False)
    path = states(quadratics(n), solver, jnp.asarray(START), 40).x
    z = START
    for k in range(40):
        weight = 2 / (k + 4)
        F = SCALES[:n].mean(0) * z - SHIFTS[:n].mean(0)
        z = np.clip(weight * START + (1 - weight) * z - F / (4 * L), -0.5, 0.5)
        np.testing.assert_allclose(path[k], z, rtol=0, atol=1e-12)


def test_the_estimate_is_exact_where_components_share_their_jacobian():
    """Then batches see exact differences, if both their terms come from the same components."""
    data = jnp.asarray(SHIFTS)
    problem = fr.FiniteSumInclusion(lambda z, d: jnp.asarray(M) @ z - d, data)
    made = states(problem, CocoerciveVRHalpern(lipschitz=4.0, restarts=False), jnp.asarray(START), 60)
    assert int(made.calls.sample[-1]) > 0
    F = np.asarray(made.previous) @ M.T - SHIFTS.mean(0)
    np.testing.assert_allclose(made.estimate, F, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(made.anchor.point, np.broadcast_to(START, (60, 4)))


def test_the_anchor_moves_only_when_the_residual_has_fallen():
    problem = fr.FixedPoint(lambda x: jnp.asarray([0.9, -0.5, 0.3, 0.0]) * x)
    made = states(problem, Halpern(), jnp.asarray(START), 60)
    residual = np.linalg.norm(np.asarray(made.x) * [0.1, 1.5, 0.7, 1.0], axis=1)
    moved = np.flatnonzero(np.asarray(made.anchor.steps)[1:] <= np.asarray(made.anchor.steps)[:-1])
    assert len(moved) >= 2
    np.testing.assert_allclose(made.anchor.first[moved + 1], residual[moved], rtol=1e-12)
    before = np.asarray(made.anchor.first)
    assert np.all(before[moved + 1] <= SHARE * before[moved])
    assert np.all(np.diff(before)[np.setdiff1d(np.arange(59), moved)] == 0)


def test_a_resolvent_that_always_refreshes_is_forward_reflected_backward():
    problem = fr.FiniteSumInclusion(lambda z, d: jnp.asarray(M) @ z - d, jnp.asarray(SHIFTS[:1]), BOX)
    eta, tau, steps = 0.7, 0.1, 25
    u = np.array([0.6, -0.2, 0.1, 0.9])
    how = Inner(1.0, 0.0, tau)
    got = resolvent(problem, jnp.asarray(u), jnp.asarray(eta), how, steps, 0.0, jax.random.key(0))
    B = lambda v: eta * (M @ v - SHIFTS[0])  # noqa: E731
    v = before = u
    for _ in range(steps):
        s = v - tau * (2 * B(v) - B(before))
        v, before = np.clip((s + tau * u) / (1 + tau), -0.5, 0.5), v
    np.testing.assert_allclose(got.point, v, rtol=0, atol=1e-12)
    assert (int(got.steps), int(got.refreshes)) == (steps, steps + 1)


BOX = fr.convex.Box(-0.5, 0.5)


def test_resolvents_are_accurate_where_they_end_by_themselves():
    problem = fr.FiniteSumInclusion(lambda z, d: jnp.asarray(M) @ z - d, jnp.asarray(SHIFTS))
    eta, u = 0.7, RNG.normal(size=4)
    how = Inner(0.2, 0.8, 0.1)
    got = resolvent(problem, jnp.asarray(u), jnp.asarray(eta), how, 10_000, 1e-6, jax.random.key(0))
    exact = np.linalg.solve(np.eye(4) + eta * M, u + eta * SHIFTS.mean(0))
    assert int(got.steps) < 10_000
    # The resolvent's equation is 1-strongly monotone.
    assert np.linalg.norm(got.point - exact) <= 1.01e-6 * np.linalg.norm(exact - u)


def test_steepness_is_that_of_the_components():
    """Seen in the steepest direction of the mean, or said by the components."""
    steep = np.concatenate([np.full((6, 1), 1.5) + 0.3 * SHIFTS[:, :1], 0.2 * SCALES[:, 1:]], axis=1)
    problem = fr.FiniteSumInclusion(lambda z, d: d * z, jnp.asarray(steep))
    seen = steepness(problem, jnp.asarray(START))
    square, mean = np.mean(steep[:, 0] ** 2), np.mean(steep[:, 0])
    np.testing.assert_allclose([seen.lipschitz, seen.cocoercive], [np.sqrt(square), square / mean], rtol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        CocoerciveVRHalpern(batch_size=0)
    with pytest.raises(ValueError, match="effort must be above zero, got 0"):
        MonotoneVRHalpern(effort=0.0)
