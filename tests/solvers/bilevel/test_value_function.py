"""BOME and MEHA against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.solve import prepare
from frechet.solvers.bilevel.bome import BOME
from frechet.solvers.bilevel.meha import MEHA

RNG = np.random.default_rng(0)
A = np.diag([1.0, 0.8, 1.3])
B, T = RNG.normal(size=(3, 2)), np.array([1.0, -1.0, 0.5])
X0, Y0 = np.array([0.4, -0.2]), np.array([0.1, 0.5, -0.3])


def outer(x, y):
    return 0.5 * jnp.sum((y - T) ** 2) + 0.3 * jnp.sum(x**2)


def inner(x, y):
    return 0.5 * y @ A @ y - y @ (B @ x) + 0.1 * jnp.sum(x) * jnp.sum(y**2)


def g_x(x, y):
    return -B.T @ y + 0.1 * np.sum(y**2)


def g_y(x, y):
    return A @ y - B @ x + 0.2 * np.sum(x) * y


def states(problem, solver, n):
    problem, x0, solver = prepare(problem, (jnp.asarray(X0), jnp.asarray(Y0)), solver)

    def turn(state, _):
        state = solver.step(problem, state, key=jax.random.key(0))
        return state, state

    return jax.jit(lambda s: jax.lax.scan(turn, s, None, length=n)[1])(
        solver.init(problem, x0, key=jax.random.key(0))
    )


def soft(v, t):
    return np.sign(v) * np.maximum(np.abs(v) - t, 0)


@pytest.mark.parametrize("order", ["gauss-seidel", "jacobi"])
def test_meha_with_a_set_above_and_an_l1_norm_at_both_levels(order):
    problem = fr.Bilevel(outer, inner, outer_g=fr.convex.L1(0.2), inner_g=fr.convex.L1(0.3))
    with jax.enable_x64():
        got = states(problem, MEHA(gamma=1.5, penalty=2.0, lower_step_size=0.1, order=order), 40)
    x, y, theta = X0, Y0, Y0
    for k in range(40):
        c = 2.0 * (k + 1) ** 0.45
        theta = soft(theta - 0.2 * (g_y(x, theta) + (theta - y) / 1.5), 0.2 * 0.3)
        new = soft(x - 0.05 * (0.6 * x / c + g_x(x, y) - g_x(x, theta)), 0.05 * 0.2 / c)
        at = new if order == "gauss-seidel" else x
        y = soft(y - 0.1 * ((y - T) / c + g_y(at, y) - (y - theta) / 1.5), 0.1 * 0.3)
        x = new
        np.testing.assert_allclose(got.x.upper[k], x, atol=1e-12)
        np.testing.assert_allclose(got.x.lower[k], y, atol=1e-12)
        np.testing.assert_allclose(got.theta[k], theta, atol=1e-12)


def test_bome_is_that_of_the_paper():
    with jax.enable_x64():
        got = states(fr.Bilevel(outer, inner), BOME(inner_steps=4, lower_step=0.6, ratio=0.3), 60)
    x, y, inactive = X0, Y0, 0
    for k in range(60):
        lowest = y
        for _ in range(4):
            lowest = lowest - 0.6 * g_y(x, lowest)
        f = np.concatenate([0.6 * x, y - T])
        q = np.concatenate([g_x(x, y) - g_x(x, lowest), g_y(x, y)])
        weight = max(0.3 * (q @ q) - f @ q, 0) / (q @ q)
        inactive += weight == 0
        x, y = np.split(np.concatenate([x, y]) - 0.05 * (f + weight * q), [2])
        np.testing.assert_allclose(got.x.upper[k], x, atol=1e-10)
        np.testing.assert_allclose(got.x.lower[k], y, atol=1e-10)
    assert 0 < inactive < 60


def test_bome_at_a_lower_solution_has_no_division_by_zero():
    # grad q = 0 exactly: the step is along the upper gradient alone.
    problem = fr.Bilevel(lambda x, y: x + y, lambda x, y: 0.5 * y**2)
    found = fr.solve(problem, (1.0, 0.0), BOME(step_size=0.1, lower_step=1.0), max_steps=1)
    np.testing.assert_allclose([found.x.upper, found.x.lower], [0.9, -0.1], rtol=1e-6)


def test_bad_settings_say_what_is_right():
    with pytest.raises(ValueError, match="order must be one of gauss-seidel, jacobi, got 'random'"):
        MEHA(order="random")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="inner_steps must be a positive integer, got 0"):
        BOME(inner_steps=0)
    boxed = fr.Bilevel(outer, inner, outer_g=fr.convex.Box(0.0, 1.0))
    with pytest.raises(TypeError, match="it needs smooth upper level"):
        fr.solve(boxed, (jnp.zeros(2), jnp.zeros(3)), BOME(), max_steps=1)
