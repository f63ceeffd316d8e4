"""Methods with one operator a step, with a constraint and other step sizes, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.saddle.optimistic_gradient import OptimisticGradient
from frechet.solvers.saddle.past_extragradient import PastExtragradient
from frechet.solvers.saddle.reflected_gradient import ReflectedGradient
from frechet.solvers.saddle.step_size import Harmonic
from frechet.workbench.claims.iterates import states

M = np.array([[0.2, 1.0, 0.3], [-1.0, 0.1, 0.5], [-0.3, -0.5, 0.3]])
Q = np.array([1.0, -0.4, 0.2])
START = np.array([0.5, -0.5, 1.0])
STEPS = [3.0 / (t + 6.0) for t in range(25)]


def project(z):
    return np.clip(z, -0.6, 0.9)


def past():
    x, v = project(START), 0.0
    for s in STEPS:
        h = project(x - s * v)
        v = M @ h + Q
        x = project(x - s * v)
    return x


def reflected():
    x = before = project(START)
    for s in STEPS:
        x, before = project(x - s * (M @ (2 * x - before) + Q)), x
    return x


def forward_reflected_backward():
    # Malitsky and Tam's form; the first point is the start itself, as the value before it counts as zero.
    z, v, last = project(START), np.zeros(3), 0.0
    for k, s in enumerate(STEPS):
        if k:
            now = M @ z + Q
            z, v = project(z - s * now - last * (now - v)), now
        last = s
    return z


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        (PastExtragradient, past),
        (ReflectedGradient, reflected),
        (OptimisticGradient, forward_reflected_backward),
    ],
)
def test_steps_of_decreasing_size_in_a_box(kind, reference):
    with jax.enable_x64(True):
        problem = fr.Inclusion(lambda z: jnp.asarray(M) @ z + Q, fr.convex.Box(-0.6, 0.9))
        got = states(problem, kind(step_size=Harmonic(3.0, 6.0)), jnp.asarray(START), len(STEPS)).x[-1]
        np.testing.assert_allclose(got, reference(), atol=1e-14)


def test_a_batch_is_evaluated_once_and_its_value_kept():
    # Of two components one is drawn a step: every iterate has to follow from the values that were drawn.
    data = np.array([[1.0], [-3.0]])
    with jax.enable_x64(True):
        problem = fr.FiniteSumInclusion(lambda z, d: z - d, jnp.asarray(data))
        got = states(problem, PastExtragradient(step_size=0.1, batch_size=1), jnp.array([0.3]), 30)
        leads, values = np.asarray(got.lead)[:, 0], np.asarray(got.value)[:, 0]
    drawn = leads - values
    assert set(np.round(drawn, 12)) == {1.0, -3.0}
    bases = np.concatenate([[0.3], 0.3 - 0.1 * np.cumsum(values)])
    np.testing.assert_allclose(leads[1:], bases[1:-1] - 0.1 * values[:-1], atol=1e-14)
    np.testing.assert_allclose(got.x[:, 0], bases[1:], atol=1e-14)


def test_running_away_from_an_operator_that_is_not_monotone_is_told():
    solution = fr.solve(fr.Inclusion(lambda z: -z), jnp.ones(2), PastExtragradient())
    assert int(solution.status.code) == Ending.NONMONOTONE


@pytest.mark.parametrize("kind", [PastExtragradient, ReflectedGradient, OptimisticGradient])
def test_a_step_that_was_far_too_long_is_undone(kind):
    # The slope at the start is a thousandth of that at the solution: the first step lands where F is 1e8.
    with jax.enable_x64(True):
        solution = fr.solve(fr.Inclusion(lambda z: 4 * z**3 - 1), jnp.array([0.01]), kind())
        assert solution.status.converged
        assert abs(float(solution.x[0]) - 0.25 ** (1 / 3)) < 1e-8
