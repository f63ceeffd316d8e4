"""Mirror descent: closed forms, the bound of relative smoothness, geometries of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet import convex
from frechet.solvers.mirror.mirror_descent import MirrorDescent
from frechet.solvers.proximal.proximal_gradient import ProximalGradient

RNG = np.random.default_rng(0)


def iterates(problem, x0, solver, steps):
    problem, key = problem.lifted(x0), jax.random.key(0)

    def turn(state, _):
        state = solver.step(problem, state, key=key)
        return state, state.x

    run = jax.jit(lambda s: jax.lax.scan(turn, s, None, length=steps)[1])
    return run(solver.init(problem, x0, key=key))


def quadratic(n, m=30):
    A, b = jnp.asarray(RNG.normal(size=(m, n))), jnp.asarray(RNG.normal(size=m))
    return lambda x: 0.5 * jnp.mean((A @ x - b) ** 2)


@pytest.mark.parametrize("gap", [1e-9, 1e-3, 0.019, 0.021, 0.5, -0.9])
def test_the_divergence_keeps_its_digits(gap):
    with jax.enable_x64(True):
        x = np.array([0.3, 2.0])
        u = x * (1 + gap)
        # With r = u / x - 1 it is x times the sum over k from 2 of (-r)^k / (k (k - 1)), where |r| < 1.
        r = (u - x) / x
        k = np.arange(2, 2000)
        want = np.sum(x * [np.sum((-v) ** k / (k * (k - 1.0))) for v in r])
        got = convex.Entropy().divergence(jnp.asarray(u), jnp.asarray(x))
        assert float(got) == pytest.approx(want, rel=1e-10)
        zero = convex.Entropy().divergence(jnp.zeros(2), jnp.asarray(x))
        assert float(zero) == pytest.approx(2.3, rel=1e-14)


def test_on_the_simplex_it_is_the_exponentiated_gradient_method():
    with jax.enable_x64(True):
        f = quadratic(6)
        x = x0 = jnp.full(6, 0.5)
        xs = iterates(fr.Composite(f, convex.Simplex(3.0)), x0, MirrorDescent(step_size=0.7), 20)
        for step in xs:
            x = x * jnp.exp(-0.7 * jax.grad(f)(x))
            x = 3 * x / jnp.sum(x)
            np.testing.assert_allclose(step, x, rtol=1e-12)


def test_in_the_euclidean_geometry_it_is_the_proximal_gradient_method():
    with jax.enable_x64(True):
        problem = fr.Composite(quadratic(6), convex.L1(0.1))
        plain = iterates(problem, jnp.ones(6), ProximalGradient(), 30)
        np.testing.assert_allclose(
            iterates(problem, jnp.ones(6), MirrorDescent(convex.Euclidean()), 30), plain, rtol=1e-10
        )


def test_the_bound_of_relative_smoothness_holds_where_the_gradient_is_not_lipschitz():
    # f(x) = sum_i (A x)_i - b_i log (A x)_i is |b|_1-smooth relative to the Burg entropy -sum_j log x_j.
    class Burg(convex.Geometry):
        def divergence(self, u, x):
            return jnp.sum(u / x - jnp.log(u / x) - 1)

        def mirror(self, x):
            return -1 / x

        def prox(self, g, dual, step):
            return -1 / dual

    with jax.enable_x64(True):
        A, truth = jnp.asarray(RNG.uniform(0.1, 1, size=(20, 5))), jnp.asarray(RNG.uniform(0.5, 2, size=5))
        b = A @ truth
        problem = fr.Composite(lambda x: jnp.sum(A @ x - b * jnp.log(A @ x)))
        L, x0 = float(jnp.sum(b)), jnp.full(5, 0.3)
        bound = L * float(Burg().divergence(truth, x0)) / np.arange(1, 301)
        for solver, factor in ((MirrorDescent(Burg(), step_size=1 / L), 1), (MirrorDescent(Burg()), 2)):
            xs = iterates(problem, x0, solver, 300)
            gap = np.asarray(jax.vmap(problem.objective)(xs) - problem.objective(truth))
            assert np.all(gap <= factor * bound) and np.all(np.diff(gap) <= 1e-12)
            assert np.all(np.asarray(xs) > 0)


def test_a_step_may_be_given_as_a_whole_and_its_size_as_a_schedule():
    class Halving(convex.Geometry):
        def divergence(self, u, x):
            return jnp.sum((u - x) ** 2)

        def step(self, g, x, gradient, step):
            return g.prox(x - step * gradient, step)

    problem = fr.Composite(lambda x: 0.5 * jnp.sum(x**2), convex.NonNegative())
    solver = MirrorDescent(Halving(), step_size=lambda k: 1 / (k + 2.0))
    xs = iterates(problem, jnp.ones(2), solver, 3)
    # 1 - 1 / (k + 2) for k = 0, 1, 2: the products telescope to 1 / (k + 2).
    np.testing.assert_allclose(xs[:, 0], [1 / 2, 1 / 3, 1 / 4], rtol=1e-6)


def test_products_of_simplices(precision):
    C = jnp.asarray(RNG.normal(size=(3, 4)), precision)
    problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - C) ** 2), convex.Rows(convex.Simplex()))
    parts = fr.Composite(
        lambda x: 0.5 * jnp.sum((jnp.stack(x) - C) ** 2), convex.PerLeaf([convex.Simplex()] * 3)
    )
    s = fr.solve(problem, jnp.full((3, 4), 0.25, precision), MirrorDescent())
    t = fr.solve(parts, [jnp.full(4, 0.25, precision)] * 3, MirrorDescent())
    atol = 10 * float(jnp.finfo(precision).eps) ** 0.5
    for i in range(3):
        want = convex.Simplex().prox(C[i], 1.0)
        np.testing.assert_allclose(s.x[i], want, atol=atol)
        np.testing.assert_allclose(t.x[i], want, atol=atol)


def test_a_function_that_the_geometry_cannot_take_is_refused():
    with pytest.raises(TypeError, match="needs entropy prox"):
        fr.solve(fr.Composite(jnp.sum, convex.L2Ball(1.0)), jnp.ones(2), MirrorDescent())
