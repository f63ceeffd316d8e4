"""BO-REP: the length of its steps, when it touches the lower level, and what it is without its two ideas."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core import loop
from frechet.core.solve import prepare
from frechet.solvers.bilevel.bo_rep import BORep

RNG = np.random.default_rng(0)
A = np.diag([1.0, 0.5, 0.3]) + 0.1
B = RNG.normal(size=(3, 2))
T = np.array([1.0, -1.0, 0.5])
X0, Y0 = np.array([1.0, -2.0]), np.zeros(3)
STEPS = 9


def outer(x: Any, y: Any) -> Any:
    return 0.5 * jnp.sum((y - T) ** 2) + 0.1 * (x["a"] ** 2 + x["b"][0] ** 2)


def inner(x: Any, y: Any) -> Any:
    return 0.5 * y @ A @ y - y @ (B @ jnp.array([x["a"], x["b"][0]]))


PROBLEM = fr.Bilevel(outer, inner)


@eqx.filter_jit
def _states(problem: Any, solver: Any, x0: Any) -> Any:
    def turn(progress: Any, _: None) -> tuple:
        progress = loop.one_step(problem, solver, progress, jax.random.key(0), STEPS)
        return progress, progress.state

    return jax.lax.scan(turn, loop.begin(problem, x0, solver, jax.random.key(0)), None, length=STEPS)[1]


def states(solver: Any) -> Any:
    # The upper variable in two leaves, whose norms are one norm.
    x0 = ({"a": jnp.asarray(X0[0]), "b": jnp.asarray(X0[1:])}, jnp.asarray(Y0))
    problem, x0, solver = prepare(PROBLEM, x0, solver)
    return _states(problem, solver, x0)


def upper(s: Any) -> np.ndarray:
    return np.column_stack([s.x.upper["a"], s.x.upper["b"]])


def test_steps_have_one_length_and_the_lower_level_rests_between_periods():
    with jax.enable_x64():
        s = states(BORep(0.03, period=3, inner_steps=2, initial_steps=4))
    moves = np.diff(np.vstack([X0, upper(s)]), axis=0)
    # To a thousandth of what the sheet asks for: a square root and a division round three times.
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), 0.03, rtol=1e-12)
    y = np.vstack([Y0, s.x.lower])
    touched = [bool(np.any(y[t + 1] != y[t])) for t in range(STEPS)]
    assert touched == [t % 3 == 0 for t in range(STEPS)]
    assert s.calls.gradient.tolist() == [4, 4, 4, 6, 6, 6, 8, 8, 8]


def gauss_seidel(eta: float, r: float, beta: float) -> np.ndarray:
    """SOBA with each variable's step from the newest others and momentum; x by steps of eta / |m|."""
    x, y, v, m, out = X0.copy(), Y0.copy(), np.zeros(3), np.zeros(2), []
    for _ in range(STEPS):
        y = y - r * (A @ y - B @ x)
        v = v - r * (A @ v + y - T)
        m = beta * m + (1 - beta) * (0.2 * x - B.T @ v)
        x = x - eta / np.linalg.norm(m) * m
        out.append(x)
    return np.array(out)


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_with_updates_every_step_it_is_soba_in_gauss_seidel_order(beta):
    with jax.enable_x64():
        r = jnp.asarray(0.4)
        solver = BORep(0.03, r, r, jnp.asarray(beta), period=1, inner_steps=1, initial_steps=1)
        s = states(solver)
    np.testing.assert_allclose(upper(s), gauss_seidel(0.03, 0.4, beta), rtol=0, atol=1e-12)


def test_the_lower_level_stays_in_a_ball_around_where_a_period_began():
    with jax.enable_x64():
        free, held = (states(BORep(radius=jnp.asarray(R), initial_steps=20)) for R in (jnp.inf, 0.01))
    first = np.asarray(free.x.lower)[0] - Y0
    assert np.linalg.norm(first) > 0.1
    moves = np.linalg.norm(np.diff(np.vstack([Y0, held.x.lower]), axis=0), axis=1)
    assert np.all(moves < 0.01 * (1 + 1e-12)) and moves[0] > 0.00999


def test_a_period_is_a_positive_number_of_steps():
    with pytest.raises(ValueError, match="period must be a positive integer, got 0"):
        BORep(period=0)
