"""BSVRB against the steps of its paper in NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.bilevel.bsvrb import BSVRB
from frechet.solvers.bilevel.msvr import gain
from frechet.solvers.bilevel.second_order_tracking import Adjoints, Hessians

M, P, D, STEPS = 5, 2, 2, 12
RNG = np.random.default_rng(0)
R = RNG.normal(size=(M, D, D))
A = np.eye(D) + 0.2 * R @ np.swapaxes(R, 1, 2)
B, C, T = RNG.normal(size=(M, D, P)), RNG.normal(size=(M, D)), RNG.normal(size=(M, D))
START = np.array([0.4, -0.2])
a, b, TAU, ETA, RADIUS, MODULUS = 0.2, 0.3, 0.1, 0.05, 0.8, 1.4


def problem() -> fr.MultiBlockBilevel:
    return fr.MultiBlockBilevel(
        lambda x, y, t: 0.5 * jnp.sum((y - t) ** 2) + 0.2 * x @ x,
        lambda x, y, e: 0.5 * (1 + x[0] ** 2) * y @ e[0] @ y - y @ (e[1] @ x + e[2]),
        jnp.asarray(T)[:, None],
        (jnp.asarray(A)[:, None], jnp.asarray(B)[:, None], jnp.asarray(C)[:, None]),
    )


def slopes(x, y):
    return (1 + x[0] ** 2) * np.einsum("mij,mj->mi", A, y) - B @ x - C


def hessians(x):
    return (1 + x[0] ** 2) * A


def crossed(x, y, v):
    """A row a block."""
    first = 2 * x[0] * np.einsum("mi,mij,mj->m", v, A, y)
    return np.stack([first, np.zeros(M)], axis=1) - np.einsum("mij,mi->mj", B, v)


def clipped(H):
    values, vectors = np.linalg.eigh(H)
    return vectors @ np.diag(np.maximum(values, MODULUS)) @ vectors.T


def in_numpy(version: str, drawn: list[np.ndarray], gamma: float):
    """The steps, each with its draw, from estimates that are exact but for those of the lower gradients."""
    x, y = START, np.zeros((M, D))
    s, v, H = slopes(x, y) + 1, np.zeros((M, D)), np.array([clipped(h) for h in hessians(x)])
    adjoint = lambda y, v, H: v if version == "v2" else np.linalg.solve(H, (y - T)[..., None])[..., 0]  # noqa: E731
    u = -(y - T)
    z = 0.4 * x - crossed(x, y, adjoint(y, v, H)).mean(axis=0)
    before = x, y, v, H
    for I in drawn:
        x0, y0, v0, H0 = before
        new = 0.4 * x - crossed(x, y, adjoint(y, v, H))[I].mean(axis=0)
        old = 0.4 * x0 - crossed(x0, y0, adjoint(y0, v0, H0))[I].mean(axis=0)
        z = (1 - b) * (z - old) + new
        s, u, v_next, H_next = s.copy(), u.copy(), v.copy(), H.copy()
        for i in I:
            s[i] = (1 - a) * s[i] + a * slopes(x, y)[i] + gamma * (slopes(x, y) - slopes(x0, y0))[i]
            now, then = hessians(x)[i] @ v[i] - y[i] + T[i], hessians(x0)[i] @ v0[i] - y0[i] + T[i]
            u[i] = (1 - a) * u[i] + a * now + gamma * (now - then)
            mixed = (1 - a) * H[i] + a * hessians(x)[i] + gamma * (hessians(x) - hessians(x0))[i]
            H_next[i] = clipped(mixed)
        for i in range(M):
            v_next[i] = v[i] - TAU * u[i]
            v_next[i] *= min(1, RADIUS / np.linalg.norm(v_next[i]))
        before = x, y, v, H
        x, y, v, H = x - ETA * z, y - TAU * s, v_next, H_next
    return x, y, s, v, H


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_steps_are_those_of_the_paper(version):
    tracking = Adjoints(RADIUS) if version == "v2" else Hessians(MODULUS)
    solver = BSVRB(2, None, momentum=a, outer_momentum=b, lower_step=TAU, outer_step=ETA, tracking=tracking)
    with jax.enable_x64():
        start = problem().start((jnp.asarray(START), jnp.zeros((M, D))))
        made: Any = problem().lifted(start)

        @jax.jit
        def run(key: jax.Array):
            def step(state, key):
                state = solver.step(made, state, key=key)
                return state, state

            first = solver.init(made, start, key=key)
            # Off by one, so that those drawn show.
            first = eqx.tree_at(lambda s: s.slopes, first, first.slopes + 1)
            return jax.lax.scan(step, first, jax.random.split(key, STEPS))[1]

        states = run(jax.random.key(0))
        s = np.concatenate([slopes(START, np.zeros((M, D)))[None] + 1, states.slopes])
        changed = np.any(np.abs(np.diff(s, axis=0)) > 1e-12, axis=2)
        drawn = [np.flatnonzero(row) for row in changed]
        assert {len(I) for I in drawn} == {2} and len({tuple(I) for I in drawn}) > 3
        expected = in_numpy(version, drawn, (M - 2) / (2 * (1 - a)) + 1 - a)
        last = jax.tree.map(lambda v: v[-1], states)
        held = expected[3] if version == "v2" else expected[4]
        found = (last.x.upper, last.x.lower, last.slopes, last.held)
        for got, want in zip(found, (*expected[:3], held), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-10)


def test_with_nothing_sampled_and_no_momentum_every_lower_problem_descends():
    """Exact gradient steps; where all blocks are drawn the weight of differences is finite for a = 1."""
    solver = BSVRB(None, None, momentum=1.0, lower_step=TAU, outer_step=0.0)
    assert not solver.stochastic and solver.converges and gain(M, M, 1.0) == 0
    with jax.enable_x64():
        start = (jnp.asarray(START), jnp.zeros((M, D)))
        found = fr.solve(problem(), start, solver, tol=0.0, max_steps=STEPS).x
        y = np.zeros((M, D))
        for _ in range(STEPS):
            y = y - TAU * slopes(START, y)
        np.testing.assert_allclose(found.lower, y, atol=1e-12)
        np.testing.assert_array_equal(found.upper, START)


def test_unsound_settings_say_what_is_wrong():
    with pytest.raises(ValueError, match="blocks must be a positive integer or None, got 0"):
        BSVRB(blocks=0)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        BSVRB(batch_size=0)
    with pytest.raises(ValueError, match="momentum must be below 1 where blocks are drawn, got 1"):
        BSVRB(momentum=1.0)
    single = fr.Bilevel(lambda x, y: (y - x) ** 2, lambda x, y: y**2)
    assert BSVRB().fits(single) == "takes a MultiBlockBilevel, not a Bilevel"
