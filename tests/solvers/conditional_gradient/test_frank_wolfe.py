"""Frank-Wolfe methods: their oracles by brute force, their rates, what they keep and refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet import convex
from frechet.solvers.conditional_gradient.away_step import AwayStepFrankWolfe
from frechet.solvers.conditional_gradient.frank_wolfe import FrankWolfe

RNG = np.random.default_rng(0)
SETS = {
    "simplex": convex.Simplex(2.0),
    "l1": convex.L1Ball(1.5),
    "l2": convex.L2Ball(1.5),
    "linf": convex.LinfBall(jnp.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])),
    "box": convex.Box(-1.0, jnp.array([1.0, 2.0, -0.5, 1.0, 3.0, 1.0])),
}


@pytest.mark.parametrize("name", SETS)
def test_the_least_point_is_in_the_set_and_least(name, precision):
    g = SETS[name]
    d = jnp.asarray(RNG.normal(size=6), precision)
    least = g.linear_min(d)
    assert least.dtype == precision and float(g(least)) == 0.0
    others = jax.vmap(lambda z: g.prox(z, 1.0))(jnp.asarray(5 * RNG.normal(size=(500, 6)), precision))
    assert float(jnp.min(others @ d)) >= float(least @ d) - 1e2 * float(jnp.finfo(precision).eps)
    assert np.all(np.isfinite(g.linear_min(jnp.zeros(6, precision))))


def test_parts_and_rows_have_their_own_least_points():
    x = {"a": jnp.array([1.0, -1.0]), "b": jnp.array([2.0, 0.5])}
    g = convex.PerLeaf({"a": convex.Simplex(), "b": convex.LinfBall(1.0)})
    assert g.compact and not convex.PerLeaf([convex.Simplex(), convex.Zero()]).compact
    least = g.linear_min(x)
    assert least["a"].tolist() == [0.0, 1.0] and least["b"].tolist() == [-1.0, -1.0]
    rows = convex.Rows(convex.Simplex()).linear_min(jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    assert rows.tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("g", [convex.Simplex(2.0), convex.L1Ball(1.5)], ids=["simplex", "l1"])
def test_a_point_is_the_combination_of_its_vertices(g, precision):
    x = {"a": jnp.asarray([0.9, 0.3], precision), "b": jnp.asarray([-0.1, 0.2], precision)}
    x = g.prox(x, 1.0)
    weights = g.vertex_weights(x)
    tiny = 10 * float(jnp.finfo(precision).eps)
    assert float(jnp.min(weights)) >= 0 and float(jnp.sum(weights)) == pytest.approx(1, abs=tiny)
    again = g.vertex_combination(weights, x)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, atol=tiny), again, x)
    d = jax.tree.map(lambda v: v + 1, x)
    vertices = [g.vertex_combination(w, x) for w in jnp.eye(weights.size, dtype=precision)]
    products = [sum(jnp.vdot(v[k], d[k]) for k in x) for v in vertices]
    np.testing.assert_allclose(g.vertex_products(d), products, rtol=tiny, atol=tiny)


def history(problem, x0, solver, steps):
    problem, key = problem.lifted(x0), jax.random.key(0)

    def turn(state, _):
        state = solver.step(problem, state, key=key)
        return state, (state.value, state.gap)

    run = jax.jit(lambda s: jax.lax.scan(turn, s, None, length=steps)[1])
    return [np.asarray(v) for v in run(solver.init(problem, x0, key=key))]


def test_frank_wolfe_is_of_first_order_and_no_better():
    with jax.enable_x64(True):
        n = 400
        problem = fr.Composite(lambda x: 0.5 * jnp.sum(x**2), convex.Simplex())
        values, gaps = history(problem, jnp.eye(n)[0], FrankWolfe(), 200)
        k, best = np.arange(1, 201), 0.5 / n
        # At most k + 1 vertices are used, so f is at least 1 / (2 (k + 1)); the bound is 2 L D^2 / (k + 2)
        # with D^2 = 2, and L at most 2 by backtracking.
        assert np.all(values >= 0.5 / (k + 1) - 1e-12)
        assert np.all(values - best <= 8 / (k + 2))
        # The gap of a step is that at its start, where it bounds the distance to the optimum.
        assert np.all(gaps[1:] >= values[:-1] - best - 1e-12)


def test_away_steps_make_it_linear():
    with jax.enable_x64(True):
        A, b = jnp.asarray(RNG.normal(size=(40, 20))), jnp.asarray(RNG.normal(size=40))
        problem = fr.Composite(lambda x: 0.5 * jnp.mean((A @ x - b) ** 2), convex.Simplex())
        x0 = jnp.full(20, 0.05)
        _, plain = history(problem, x0, FrankWolfe(), 600)
        _, away = history(problem, x0, AwayStepFrankWolfe(), 600)
        least = np.minimum.accumulate(away)
        assert least[-1] < 1e-8 * least[0] and np.min(plain) > 1e-5 * plain[0]
        # Four more decades cost a few times the steps of the first four; at O(1/k) it would be 10,000 times.
        first, second = (int(np.argmax(least < level * least[0])) for level in (1e-4, 1e-8))
        assert second - first < 4 * first


@pytest.mark.parametrize("g", [convex.Simplex(), convex.L1Ball(0.7)], ids=["simplex", "l1"])
def test_an_infeasible_start_is_left_at_once(g, precision):
    c = jnp.asarray([0.9, 0.5, -0.3], precision)
    problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - c) ** 2), g)
    for solver in (FrankWolfe(), AwayStepFrankWolfe()):
        s = fr.solve(problem, jnp.full(3, 10.0, precision), solver, max_steps=1, tol=0.0)
        assert float(g(s.x)) == 0.0
    s = fr.solve(problem, jnp.full(3, 10.0, precision), AwayStepFrankWolfe())
    assert s.status.converged
    np.testing.assert_allclose(s.x, g.prox(c, 1.0), atol=4 * float(jnp.finfo(precision).eps) ** 0.5)
    weights = s.state.weights
    assert float(jnp.min(weights)) >= 0 and float(jnp.sum(weights)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("g", [convex.L1(), convex.NonNegative(), convex.Box(0.0), convex.Zero()])
def test_unbounded_sets_are_refused(g):
    with pytest.raises(TypeError, match="needs linear_min"):
        fr.solve(fr.Composite(lambda x: jnp.sum(x**2), g), jnp.ones(2), FrankWolfe())
