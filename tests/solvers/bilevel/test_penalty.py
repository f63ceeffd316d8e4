"""The penalty methods against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.solve import prepare
from frechet.solvers.bilevel.penalty import PenaltyBilevel
from frechet.solvers.bilevel.penalty_single_loop import PenaltySingleLoop

RNG = np.random.default_rng(0)
A = np.diag([1.0, 0.6, 1.2])
B, T = 0.5 * RNG.normal(size=(3, 2)), np.array([1.0, -1.0, 0.5])
OUTER, INNER = (0.3 * RNG.normal(size=(n, 3)) for n in (5, 7))
X0, Y0 = np.array([0.4, -0.2]), np.array([0.1, 0.5, -0.3])
BOX = fr.convex.Box(-0.4, 0.5)
BOUNDS = (-0.3, 0.1)
RATE = 0.7


def outer_term(x, y, d):
    return 0.5 * jnp.sum((y - T - d) ** 2) + 0.3 * jnp.sum(x**2) + jnp.sum(d) * jnp.sum(x)


def inner_term(x, y, d):
    return 0.5 * y @ A @ y - y @ (B @ jnp.sin(x)) - jnp.sum(jnp.cos(x)) * (y @ d)


def f_grads(x, y, d):
    return 0.6 * x + np.sum(d), y - T - d


def g_grads(x, y, d):
    return -np.cos(x) * (B.T @ y) + np.sin(x) * (y @ d), A @ y - B @ np.sin(x) - np.sum(np.cos(x)) * d


def problem():
    return fr.FiniteSumBilevel(
        outer_term,
        inner_term,
        jnp.asarray(OUTER),
        jnp.asarray(INNER),
        outer_g=fr.convex.Box(*BOUNDS),
        inner_g=BOX,
    )


def states(solver, n):
    p, x0, solver = prepare(problem(), (jnp.asarray(X0), jnp.asarray(Y0)), solver)

    def turn(state, key):
        state = solver.step(p, state, key=key)
        return state, state

    keys = jax.random.split(jax.random.key(0), n)
    return jax.jit(lambda s: jax.lax.scan(turn, s, keys)[1])(solver.init(p, x0, key=keys[0]))


def lower_update(x, w, centres, s, rho, slopes):
    size = 1 / ((1 + s) / RATE + 1 / rho)
    pulled = s * slopes[0] + slopes[1], slopes[2]
    return [
        np.clip(v - size * (d + (v - c) / rho), -0.4, 0.5) for v, d, c in zip(w, pulled, centres, strict=True)
    ]


def double_loop(n, sigma, alpha, rho, share, T, shrink):
    """The states of the double loop with whole sums, a dictionary a step."""
    x, w, centres, s = X0, [Y0, Y0], [Y0, Y0], sigma
    d, e = OUTER.mean(0), INNER.mean(0)
    for _ in range(n):
        for _ in range(T):
            slopes = f_grads(x, w[0], d)[1], g_grads(x, w[0], e)[1], g_grads(x, w[1], e)[1]
            w = lower_update(x, w, centres, s, rho, slopes)
        slope = f_grads(x, w[0], d)[0] + (g_grads(x, w[0], e)[0] - g_grads(x, w[1], e)[0]) / s
        new = np.clip(x - alpha * slope, *BOUNDS)
        lag = np.linalg.norm(np.subtract(w, centres)) / rho
        settled = np.linalg.norm(new - x) / alpha < s and lag < s**2
        x, centres = new, [c + share * (v - c) for v, c in zip(w, centres, strict=True)]
        s = shrink * s if settled else s
        yield {"x": x, "w_y": w[0], "w_z": w[1], "sigma": s}


def test_the_double_loop_is_that_of_the_paper_and_shrinks_sigma_where_residuals_are_below_it():
    solver = PenaltyBilevel(sigma=0.5, step_size=0.4, rho=3.0, relaxation=0.4, inner_steps=3, lower_step=RATE)
    with jax.enable_x64():
        got = states(solver, 40)
    for k, at in enumerate(double_loop(40, 0.5, 0.4, 3.0, 0.4, 3, 1 / 3)):
        np.testing.assert_allclose(got.x.upper[k], at["x"], atol=1e-10)
        np.testing.assert_allclose(got.x.lower[k], at["w_y"], atol=1e-10)
        np.testing.assert_allclose(got.plain[k], at["w_z"], atol=1e-10)
        np.testing.assert_allclose(got.sigma[k], at["sigma"], rtol=1e-12)
    # It has shrunk, and bounds of both levels are active.
    assert at["sigma"] < 0.1 and np.any(at["x"] == BOUNDS[1]) and np.any(at["w_y"] == -0.4)


@pytest.mark.parametrize("momentum", [0.2, 1.0])
def test_momentum_estimators_are_those_of_the_paper(momentum, monkeypatch):
    # Batches that are the same in every step, though not in its two halves.
    batches = [np.array([[0, 3], [1, 1]]), np.array([[2, 4], [6, 0]])]
    drawn = iter(batches)
    monkeypatch.setattr(
        "frechet.solvers.bilevel.penalty_single_loop.both_batches",
        lambda *_: tuple(map(jnp.asarray, next(drawn))),
    )
    solver = PenaltySingleLoop(
        sigma=0.3, shrink=1.0, rho=3.0, relaxation=0.4, lower_step=RATE, momentum=momentum, batch_size=2
    )
    with jax.enable_x64():
        got = states(solver, 12)
    x, w, centres, s = X0, [Y0, Y0], [Y0, Y0], 0.3
    memory: list = [None, None]

    def tracked(place, which, x, w):
        (d, e) = (data[rows].mean(0) for data, rows in zip((OUTER, INNER), batches[place], strict=True))

        def at(x, w):
            return [f_grads(x, w[0], d)[which], g_grads(x, w[0], e)[which], g_grads(x, w[1], e)[which]]

        fresh = at(x, w)
        if memory[place] is not None:
            estimate, old = memory[place]
            fresh = [n + (1 - momentum) * (m - o) for n, m, o in zip(fresh, estimate, at(*old), strict=True)]
        memory[place] = fresh, (x, w)
        return fresh

    for k in range(12):
        w = lower_update(x, w, centres, s, 3.0, tracked(0, 1, x, w))
        slopes = tracked(1, 0, x, w)
        x = np.clip(x - 0.05 * s**0.5 * (slopes[0] + (slopes[1] - slopes[2]) / s), *BOUNDS)
        centres = [c + 0.4 * (v - c) for v, c in zip(w, centres, strict=True)]
        np.testing.assert_allclose(got.x.upper[k], x, atol=1e-10)
        np.testing.assert_allclose(got.x.lower[k], w[0], atol=1e-10)
        np.testing.assert_allclose(got.plain[k], w[1], atol=1e-10)


def test_batches_of_the_double_loop_average_to_whole_sums():
    size = 20_000
    solver = PenaltyBilevel(
        sigma=0.3, shrink=1.0, step_size=0.1, inner_steps=2, lower_step=RATE, batch_size=size
    )
    *_, whole = double_loop(10, 0.3, 0.1, 2.0, 0.5, 2, 1.0)
    got = states(solver, 10)
    # Means of so many terms of size 0.3 err by 0.002, which a division by sigma may raise tenfold.
    np.testing.assert_allclose(got.x.upper[-1], whole["x"], atol=0.02)
    assert np.any(np.abs(got.x.upper[-1] - whole["x"]) > 1e-5)
    assert int(got.calls.sample[-1]) == size * 10 * 6 and int(got.calls.outer_sample[-1]) == size * 10 * 3


def test_loops_of_no_steps_are_refused():
    with pytest.raises(ValueError, match="inner_steps must be a positive integer, got 0"):
        PenaltyBilevel(inner_steps=0)
