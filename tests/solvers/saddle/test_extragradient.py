"""Extragradient: its rate, step sizes that are derived, averages, and operators that are not monotone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.saddle.extragradient import Extragradient
from frechet.workbench.claims.iterates import states


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_the_residual_of_a_bilinear_game_falls_faster_than_one_over_the_root():
    A = np.random.default_rng(0).normal(size=(30, 30))
    L = np.linalg.norm(A, 2)
    A = jnp.asarray(A)
    problem = fr.Saddle(lambda x, y: x @ A @ y)
    start = (jnp.ones(30), jnp.linspace(-1.0, 1.0, 30))
    z = states(problem, Extragradient(step_size=0.9 / L), start, 10_000).x
    t = np.array([10, 100, 1000, 10_000])
    x, y = np.asarray(z.minimiser)[t - 1], np.asarray(z.maximiser)[t - 1]
    residual = np.sqrt(np.sum((y @ A.T) ** 2, axis=1) + np.sum((x @ A) ** 2, axis=1))
    # Every pair of singular vectors shrinks by a factor of its own.
    U, sizes, Vt = np.linalg.svd(A)
    part = (U.T @ start[0]) ** 2 + (Vt @ start[1]) ** 2
    s = 0.9 / L * sizes
    exact = np.sqrt(np.sum(part * sizes**2 * (1 - s**2 + s**4) ** t[:, None], axis=1))
    np.testing.assert_allclose(residual, exact, rtol=1e-9)
    scaled = residual * np.sqrt(t) / (L * np.sqrt(part.sum()))
    assert np.all(scaled < 1)
    assert scaled[-1] < scaled[1] / 2


def test_average_is_of_the_leading_points():
    shift, s = np.array([1.0, -2.0]), 0.5
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    problem = fr.Inclusion(lambda z: jnp.asarray(turn) @ z, fr.convex.Box(-1.5, 1.5))
    got = states(problem, Extragradient(step_size=s, average=True), jnp.asarray(shift), 20)
    z, leads = np.clip(shift, -1.5, 1.5), []
    for _ in range(20):
        leads.append(np.clip(z - s * turn @ z, -1.5, 1.5))
        z = np.clip(z - s * turn @ leads[-1], -1.5, 1.5)
    np.testing.assert_allclose(got.x[-1], np.mean(leads, axis=0), atol=1e-14)
    np.testing.assert_allclose(got.iterate[-1], z, atol=1e-14)


def test_a_flat_start_tells_nothing_of_the_steepness_and_does_no_harm():
    # The slope at the start is 1e-12, at the solution 5.
    problem = fr.Inclusion(lambda z: jnp.tanh(5 * z))
    solution = fr.solve(problem, jnp.array([3.0]), Extragradient())
    assert solution.status.converged
    assert abs(float(solution.x[0])) < 1e-8


@pytest.mark.parametrize(
    ("operator", "ending"),
    [
        (lambda z: -z, Ending.NONMONOTONE),
        # Nonmonotone around the start, but it gets to a solution.
        (lambda z: z**3 - z, Ending.CONVERGED),
        (lambda z: z - 1, Ending.CONVERGED),
    ],
)
def test_status_of_operators_that_are_not_monotone(operator, ending):
    solution = fr.solve(fr.Inclusion(operator), jnp.array([0.01, -0.02]), Extragradient())
    assert int(solution.status.code) == ending


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="step_size must be above zero"):
        Extragradient(step_size=0.0)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        Extragradient(batch_size=0)
    with pytest.raises(TypeError, match="needs sample"):
        fr.solve(fr.Inclusion(lambda z: z), jnp.ones(2), Extragradient(batch_size=1))
