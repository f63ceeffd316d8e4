"""Descent-ascent and the two time-scale update rule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.optimizers.ttur import ttur, two_players
from frechet.solvers.saddle.gradient_descent_ascent import GradientDescentAscent
from frechet.solvers.saddle.ttur import TTUR
from frechet.workbench.claims.iterates import states


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_on_a_bilinear_function_it_diverges_and_alternating_it_goes_round_in_circles():
    problem, s, start = fr.Saddle(lambda x, y: x * y), 0.3, (jnp.array(1.0), jnp.array(0.5))
    z = states(problem, GradientDescentAscent(step_size=s), start, 100).x
    size = z.minimiser**2 + z.maximiser**2
    np.testing.assert_allclose(size[1:] / size[:-1], 1 + s**2, rtol=1e-12)
    z = states(problem, GradientDescentAscent(alternating=True, step_size=s), start, 1000).x
    # What alternating steps conserve: x² + y² - s x y with a sign that the order of the players decides.
    kept = z.minimiser**2 + z.maximiser**2 - s * z.minimiser * z.maximiser
    np.testing.assert_allclose(kept, kept[0], rtol=1e-11)


def test_the_update_rule_with_equal_rates_is_descent_ascent():
    c = jnp.array([0.4, -1.0])
    problem = fr.Saddle(lambda x, y: jnp.sum((x - c) ** 2) + x @ y - y @ y, fr.convex.Box(-0.5, 0.5))
    start, s = (jnp.array([0.3, 0.1]), jnp.array([-0.2, 1.0])), 0.05
    plain = states(problem, GradientDescentAscent(step_size=s), start, 50).x
    rule = states(problem, TTUR(two_players(optax.sgd(s), optax.sgd(s))), start, 50).x
    for a, b in zip(plain, rule, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_adam_for_either_player_has_moments_and_a_rate_of_its_own():
    problem = fr.Saddle(lambda x, y: x**2 / 2 + x * y - y**2)
    got = states(problem, TTUR(ttur(0.01, 0.05, b1=0.9)), (jnp.array(1.0), jnp.array(0.5)), 30).x
    z, m, v = np.array([1.0, 0.5]), np.zeros(2), np.zeros(2)
    for t in range(1, 31):
        F = np.array([z[0] + z[1], 2 * z[1] - z[0]])
        m, v = 0.9 * m + 0.1 * F, 0.999 * v + 0.001 * F**2
        z = z - np.array([0.01, 0.05]) * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose([got.minimiser[-1], got.maximiser[-1]], z, atol=1e-12)


def test_a_saddle_problem_is_asked_for():
    with pytest.raises(TypeError, match="takes a Saddle, not a Inclusion"):
        fr.solve(fr.Inclusion(lambda z: z), jnp.ones(2), TTUR())
