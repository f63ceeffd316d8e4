"""LV-HBA against its formulas in NumPy, and against MEHA where there are no constraints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.solve import prepare
from frechet.solvers.bilevel.lv_hba import LVHBA
from frechet.solvers.bilevel.meha import MEHA

RNG = np.random.default_rng(0)
A = np.diag([1.0, 0.8, 1.3])
B, T = RNG.normal(size=(3, 2)), np.array([1.0, -1.0, 0.5])
M, N = 0.5 * RNG.normal(size=(2, 2)), 0.5 * RNG.normal(size=(2, 3))
BOX = fr.convex.Box(-0.25, 0.7)


def outer(x, y):
    return 0.5 * jnp.sum((y - T) ** 2) + 0.3 * jnp.sum(x**2)


def inner(x, y):
    return 0.5 * y @ A @ y - y @ (B @ x) + 0.1 * jnp.sum(x) * jnp.sum(y**2)


def steps(problem, start, solver, n):
    problem, x0, solver = prepare(problem, start, solver)
    state = solver.init(problem, x0, key=jax.random.key(0))

    def turn(state, _):
        state = solver.step(problem, state, key=jax.random.key(0))
        return state, state

    return jax.jit(lambda s: jax.lax.scan(turn, s, None, length=n)[1])(state)


def test_steps_are_those_of_the_paper():
    eq, ineq = (lambda x, y: M[0] @ x + N[0] @ y), (lambda x, y: M[1] @ x + N[1] @ y - 0.1)
    solver = LVHBA(gamma=1.5, dual_gamma=0.7, centre_step=0.3, penalty=2.0, multiplier_bound=0.4)
    x, y = np.array([0.4, -0.2]), np.array([0.1, 0.5, -0.3])
    with jax.enable_x64():
        problem = fr.Bilevel(outer, inner, inner_g=BOX, eq=eq, ineq=ineq, joint=fr.convex.PerLeaf((BOX, BOX)))
        got = steps(problem, (jnp.asarray(x), jnp.asarray(y)), solver, 30)
    # A step is the same whatever the pairs are projected onto; a box has a closed form.
    clip = lambda v: np.clip(v, -0.25, 0.7)  # noqa: E731
    g_x = lambda x, y: -B.T @ y + 0.1 * np.sum(y**2)  # noqa: E731
    g_y = lambda x, y: A @ y - B @ x + 0.2 * np.sum(x) * y  # noqa: E731
    theta, lam, z = y, np.zeros(2), np.zeros(2)
    low, seen = np.array([-0.4, 0.0]), set()
    for k in range(30):
        c = 2.0 * (k + 1) ** 0.45
        slope = g_y(x, theta) + N.T @ lam + (theta - y) / 1.5
        rise = M @ x + N @ theta - np.array([0.0, 0.1]) - (lam - z) / 0.7
        theta, lam = clip(theta - 0.2 * slope), np.clip(lam + 0.2 * rise, low, 0.4)
        dx = 0.6 * x / c + g_x(x, y) - g_x(x, theta) - M.T @ lam
        dy = (y - T) / c + g_y(x, y) - (y - theta) / 1.5
        x, y = clip(x - 0.05 * dx), clip(y - 0.05 * dy)
        z = np.clip(z + 0.3 * (lam - z) / 0.7, low, 0.4)
        now = jax.tree.map(lambda v, k=k: np.asarray(v[k]), got)
        np.testing.assert_allclose(now.x.upper, x, atol=1e-12)
        np.testing.assert_allclose(now.x.lower, y, atol=1e-12)
        np.testing.assert_allclose([now.x.dual_eq, now.x.dual_ineq], lam, atol=1e-12)
        np.testing.assert_allclose(now.theta, theta, atol=1e-12)
        seen |= {"bound of a multiplier"} if np.any(np.abs(lam) == 0.4) else set()
        seen |= {"free multiplier"} if np.any((lam > 0) & (lam < 0.4)) else set()
        seen |= {"bound of y"} if np.any(y == -0.25) else set()
    assert seen == {"bound of a multiplier", "free multiplier", "bound of y"}


def test_without_constraints_it_is_meha_in_jacobi_order():
    parts = {"outer_g": fr.convex.L1(0.05), "inner_g": BOX}
    start = (jnp.array([0.4, -0.2]), jnp.array([0.1, 0.5, -0.3]))
    with jax.enable_x64():
        start = jax.tree.map(lambda v: v.astype(float), start)
        problem = fr.Bilevel(outer, inner, **parts)
        ours, other, sequential = (
            steps(problem, start, solver, 100)
            for solver in (LVHBA(), MEHA(order="jacobi"), MEHA(order="gauss-seidel"))
        )
    for a, b in zip(jax.tree.leaves(ours.x), jax.tree.leaves(other.x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert np.max(np.abs(ours.x.lower - sequential.x.lower)) > 1e-3


def test_the_default_solver_refuses_constraints_without_a_projection_in_one_line():
    problem = fr.Bilevel(outer, inner, eq=lambda x, y: x[0] - y[0])
    with pytest.raises(TypeError, match=r"needs the joint projection .* pass joint=") as error:
        fr.solve(problem, (jnp.zeros(2), jnp.zeros(3)), max_steps=1)
    assert "\n" not in str(error.value)
