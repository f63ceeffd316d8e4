"""Batches: frozen members, isolated NaN, a status each, stragglers gathered, many starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core import batches
from frechet.solvers.proximal.gradient_descent import GradientDescent

N, P = 150, 3
SOLVER = GradientDescent(step_size=1.0)


def batch(curvature, target, compact, tol=1e-6):
    def one(c, b):
        problem = fr.Composite(lambda x: 0.5 * jnp.sum(c * (x - b) ** 2))
        s = fr.solve(problem, jnp.zeros(P, c.dtype), SOLVER, tol=tol, max_steps=3000, compact=compact)
        return s.x, s.status, s.residual, s.steps, s.calls

    return jax.jit(jax.vmap(one))(curvature, target)


@pytest.fixture
def data(precision):
    rng = np.random.default_rng(0)
    lowest = np.where(rng.permutation(N) < 12, 0.02, 0.5)
    curvature = lowest[:, None] ** np.linspace(0, 1, P)
    return jnp.asarray(curvature, precision), jnp.asarray(rng.normal(size=(N, P)), precision)


@pytest.mark.parametrize("compact", [False, True])
def test_members_are_frozen_and_nan_stays_at_home(data, compact):
    curvature, target = data
    tol = 1e-3 if target.dtype == np.float32 else 1e-6
    sound = batch(curvature, target, compact, tol)
    assert bool(jnp.all(sound[1].converged)) and len(np.unique(sound[3])) > 1
    # a member takes the steps it takes alone
    alone = batch(curvature[:1], target[:1], False, tol)
    assert int(alone[3][0]) == int(sound[3][0]) and int(alone[4].gradient[0]) == int(sound[4].gradient[0])
    spoiled = batch(curvature, target.at[5, 0].set(jnp.nan).at[17, 1].set(jnp.inf), compact, tol)
    others = np.delete(np.arange(N), [5, 17])
    for u, v in zip(jax.tree.leaves(sound), jax.tree.leaves(spoiled), strict=True):
        assert np.array_equal(u[others], v[others])
    for i in (5, 17):
        assert int(spoiled[1].code[i]) == fr.Ending.NONFINITE
        assert int(spoiled[1].origin[i]) == fr.Origin.DATA
        assert np.all(np.isfinite(spoiled[0][i]))


@pytest.mark.parametrize("size", [1, 7, 16, 17, N])
def test_gathering_stragglers_changes_no_result(data, size):
    curvature, target = (v[:size] for v in data)
    tol = 1e-3 if target.dtype == np.float32 else 1e-6
    plain, compact = (batch(curvature, target, c, tol) for c in (False, True))
    for u, v in zip(jax.tree.leaves(plain), jax.tree.leaves(compact), strict=True):
        assert np.array_equal(u, v)  # entrywise arithmetic does not depend on the batch


def test_stragglers_are_computed_at_their_own_width():
    """How many members each turn computes, counted while the program runs."""
    turns: list = []

    def turn(limit, n):
        jax.debug.callback(lambda _: turns.append(1), n)  # vmap repeats it for every member
        return n + 1

    limits = jnp.where(jnp.arange(64) < 3, 100, 2)
    loop = batches.Loop(lambda limit: limit * 0, turn, lambda n: n < 0, lambda limit, n: n)
    loop = loop._replace(begin=lambda limit: jnp.stack([limit * 0, limit]))
    loop = loop._replace(
        turn=lambda limit, c: c.at[0].set(turn(limit, c[0])),
        running=lambda c: c[0] < c[1],
        end=lambda limit, c: c[0],
    )
    out = jax.vmap(lambda limit: batches.compacting(loop, limit))(limits)
    jax.effects_barrier()
    assert np.array_equal(out, limits)
    assert len(turns) == 2 * 64 + 98 * 8


def test_batches_inside_batches_and_derivatives():
    with jax.enable_x64(True):
        curvature = jnp.linspace(0.2, 1.0, 4 * 20 * P).reshape(4, 20, P)

        def total(b, compact):
            def one(c):
                problem = fr.Composite(lambda x: 0.5 * jnp.sum(c * x**2) - jnp.sum(b * x))
                s = fr.solve(problem, jnp.zeros(P), SOLVER, tol=1e-9, compact=compact)
                return s.x

            return jnp.sum(jax.vmap(jax.vmap(one))(curvature) ** 2)

        b = jnp.array([1.0, -0.5, 2.0])
        exact = jnp.sum(2 * b / curvature**2, axis=(0, 1))
        np.testing.assert_allclose(jax.grad(total)(b, True), exact, rtol=1e-7)
        np.testing.assert_allclose(jax.jit(jax.jacfwd(total), static_argnums=1)(b, True), exact, rtol=1e-7)


# ------------------------------------------------------------------ many starts


def double_well(tilt):
    return fr.Composite(lambda x: jnp.sum(x**4 - 2 * x**2 + tilt * x))


def well(tilt, sign):
    return next(r.real for r in np.roots([4, 0, -4, tilt]) if r.real * sign > 0.5 and abs(r.imag) < 1e-9)


def test_the_best_of_many_starts_and_its_derivative(precision):
    starts = jnp.linspace(-2, 2, 9, dtype=precision)[:, None]
    tol = float(np.finfo(precision).eps) ** 0.5
    for tilt, sign in ((0.3, -1), (-0.3, 1)):
        found = fr.multistart(double_well(tilt), starts, tol=tol)
        assert found.members.status.code.shape == (9,) and found.members.x.shape == (9, 1)
        assert bool(found.best.status.converged)
        np.testing.assert_allclose(found.best.x, well(tilt, sign), atol=10 * tol)
        assert np.array_equal(found.best.x, found.members.x[found.index])
    if precision == np.float64:
        slope = jax.grad(lambda t: fr.multistart(double_well(t), starts, tol=1e-10).best.x[0])(0.3)
        np.testing.assert_allclose(slope, (well(0.3 + 1e-5, -1) - well(0.3 - 1e-5, -1)) / 2e-5, rtol=1e-6)


def test_what_did_not_converge_is_taken_only_where_nothing_did():
    problem = double_well(0.3)
    starts = jnp.array([[np.nan], [1.1], [-1.5]])
    found = fr.multistart(problem, starts, max_steps=2)
    assert int(found.index) == 2 and not bool(found.best.status.converged)
    # the worse well is at its minimum already, the better one out of reach in two steps
    starts = jnp.array([[np.nan], [float(well(0.3, 1))], [-3.0]])
    found = fr.multistart(problem, starts, max_steps=2, tol=1e-4)
    assert int(found.index) == 1 and bool(found.best.status.converged)
    assert int(found.members.status.code[0]) == fr.Ending.NONFINITE


@pytest.mark.parametrize("starts", [jnp.zeros(()), {"a": jnp.zeros((2, 1)), "b": jnp.zeros((3, 1))}])
def test_starts_need_a_leading_axis(starts):
    with pytest.raises(ValueError, match="leading axis"):
        fr.multistart(double_well(0.1), starts)
