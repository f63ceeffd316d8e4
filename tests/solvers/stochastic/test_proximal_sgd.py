"""Proximal SGD: its schedules and averages by hand, its neighbourhood by many seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.stochastic.proximal_sgd import Constant, InverseSqrt, ProximalSGD, StronglyConvex

SCHEDULES = {
    "constant": (Constant(0.3), lambda t: 0.3, lambda t: 1.0),
    "inverse-sqrt": (InverseSqrt(0.3), lambda t: 0.3 / np.sqrt(t), lambda t: 1.0),
    "strongly-convex": (StronglyConvex(2.0), lambda t: 2 / (2.0 * (t + 1)), lambda t: float(t)),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("average", [False, True])
def test_steps_and_averages_are_those_of_the_formula(name, average, precision):
    """With one term there is nothing random: a NumPy loop must give the same."""
    schedule, size, weight = SCHEDULES[name]
    a = np.array([1.0, -2.0])
    problem = fr.FiniteSum(
        lambda x, d: jnp.sum((x - d) ** 2), jnp.asarray(a[None], precision), fr.convex.L1(0.5)
    )
    solver = ProximalSGD(schedule, average=average)
    solution = fr.solve(problem, jnp.zeros(2, precision), solver, tol=0.0, max_steps=40)
    x, points, weights = np.zeros(2), [], []
    for t in range(1, 41):
        points.append(x)
        weights.append(weight(t))
        z = x - size(t) * 2 * (x - a)
        x = np.sign(z) * np.maximum(np.abs(z) - 0.5 * size(t), 0)
    expected = np.average(points, axis=0, weights=weights) if average else x
    np.testing.assert_allclose(solution.x, expected, atol=200 * np.finfo(precision).eps)


def regression(n=16):
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((n, 2)))[0] * np.sqrt(n)  # Hessian I
    y = rng.standard_normal(n)
    X, y = jnp.asarray(X), jnp.asarray(y)
    return fr.FiniteSum(lambda w, d: 0.5 * (d[0] @ w - d[1]) ** 2, (X, y)), X.T @ y / n


def test_the_neighbourhood_of_a_constant_step_is_proportional_to_it():
    with jax.enable_x64(True):
        problem, solution = regression()
        sizes = jnp.array([0.002, 0.004, 0.008, 0.016])

        def mean_square(size, key):
            solver = ProximalSGD(Constant(size))
            state = solver.init(problem, solution, key=key)

            def one(state, t):
                state = solver.step(problem, state, key=jax.random.fold_in(key, t))
                return state, jnp.sum((state.x - solution) ** 2)

            # The memory of the start fades as (1 - size)^updates: 250 steps of 16 updates are 8 times 1/size.
            return jnp.mean(jax.lax.scan(one, state, jnp.arange(500))[1][250:])

        keys = jax.random.split(jax.random.key(1), 128)
        of_keys = jax.vmap(mean_square, (None, 0))
        squares = jnp.mean(jax.jit(jax.vmap(of_keys, (0, None)))(sizes, keys), axis=1)
        slope = np.polyfit(np.log(sizes), np.log(squares), 1)[0]
        assert abs(slope - 1) < 0.1


def test_a_batch_gradient_is_unbiased():
    with jax.enable_x64(True):
        problem, _ = regression()
        solver = ProximalSGD(Constant(0.5), batch_size=16)
        x = jnp.array([1.0, -1.0])
        state = solver.init(problem, x, key=jax.random.key(0))
        keys = jax.random.split(jax.random.key(3), 20_000)
        after = jax.jit(jax.vmap(lambda k: solver.step(problem, state, key=k).x))(keys)
        gradients = np.asarray((x - after) / 0.5)
        error = gradients.mean(0) - np.asarray(problem.gradient(x))
        assert np.all(np.abs(error) < 4.5 * gradients.std(0) / np.sqrt(len(keys)))


def test_averaging_and_decreasing_steps_beat_the_constant_step():
    with jax.enable_x64(True):
        problem, solution = regression()

        def error(schedule, average):
            def solve(key):
                solver = ProximalSGD(schedule, average)
                return fr.solve(problem, jnp.zeros(2), solver, tol=0.0, max_steps=200, key=key).x

            x = jax.vmap(solve)(jax.random.split(jax.random.key(0), 64))
            return float(jnp.mean(jnp.sum((x - solution) ** 2, axis=1)))

        constant = error(Constant(0.1), False)
        assert error(Constant(0.1), True) < 0.2 * constant
        # Lacoste-Julien et al.: E|x - x*|^2 = O(1/t); 3,200 updates against a floor of about 0.1 / 2.
        assert error(StronglyConvex(1.0), True) < 0.2 * constant


def test_counts_and_default_step_size():
    X = jnp.eye(6)
    problem = fr.Composite(fr.losses.Squared(X, jnp.ones(6)))
    solution = fr.solve(problem, jnp.zeros(6), ProximalSGD(batch_size=4), tol=0.0, max_steps=5)
    assert (int(solution.calls.sample), int(solution.calls.prox)) == (20, 5)
    largest = float(jnp.max(problem.f.lipschitz_terms()))
    smoothness = largest / 4 + 0.75 * float(problem.f.lipschitz())
    np.testing.assert_allclose(solution.state.step_size, 1 / (2 * smoothness), rtol=1e-6)


def test_errors():
    with pytest.raises(TypeError, match=r"a fixed step size is Constant\(step_size\)"):
        ProximalSGD(0.1)
    problem, _ = regression()
    with pytest.raises(TypeError, match=r"needs a step size.*pass step_size to InverseSqrt"):
        fr.solve(problem, jnp.zeros(2), ProximalSGD(InverseSqrt()))
