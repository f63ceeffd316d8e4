"""SAGA and SVRG: solutions, rates, unbiasedness, exact counts."""

from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.stochastic.saga import SAGA
from frechet.solvers.stochastic.svrg import SVRG

BOTH = (SAGA(), SVRG(), SAGA(batch_size=4), SVRG(batch_size=4))
NAMES = ("SAGA", "SVRG", "SAGA-4", "SVRG-4")


def data(n=60, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) / np.sqrt(p)
    y = np.sign(X @ rng.standard_normal(p) + 0.3 * rng.standard_normal(n))
    return X, y


def newton(X, y, mu):
    """The minimiser of mean log(1 + exp(-y Xw)) + mu/2 |w|^2, in NumPy."""
    w = np.zeros(X.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(y * (X @ w)))
        gradient = -X.T @ (y * p) / len(y) + mu * w
        w -= np.linalg.solve((X.T * (p * (1 - p))) @ X / len(y) + mu * np.eye(len(w)), gradient)
    return w


@pytest.mark.parametrize("solver", BOTH, ids=NAMES)
def test_reaches_the_optimum_of_l2_logistic_regression(solver, precision):
    X, y = data()
    problem = fr.Composite(fr.losses.Logistic(X.astype(precision), y), fr.convex.SquaredL2(0.1))
    reference = newton(X, y, 0.1)
    tol = 20 * np.finfo(precision).eps
    solution = fr.solve(problem, jnp.zeros(5, precision), solver, tol=tol)
    # |x - x*| <= |gradient| / mu, and the forward-backward residual is within 1 + L of the gradient.
    assert solution.status.converged
    np.testing.assert_allclose(solution.x, reference, atol=2 * tol / 0.1 + 100 * np.finfo(precision).eps)


@pytest.mark.parametrize("solver", BOTH, ids=NAMES)
def test_reaches_the_closed_form_of_an_orthogonal_lasso(solver, precision):
    rng = np.random.default_rng(1)
    X = np.linalg.qr(rng.standard_normal((30, 4)))[0] * np.sqrt(30)
    y = X @ np.array([2.0, -0.05, 0.0, 0.7]) + 0.1 * rng.standard_normal(30)
    correlation = X.T @ y / 30
    reference = np.sign(correlation) * np.maximum(np.abs(correlation) - 0.2, 0)
    problem = fr.Composite(fr.losses.Squared(X.astype(precision), y.astype(precision)), fr.convex.L1(0.2))
    scale = float(problem.f.curvature)  # the loss is scale/2 (z - y)^2 for some scale
    problem = fr.Composite(problem.f, fr.convex.L1(0.2 * scale))
    solution = fr.solve(problem, jnp.zeros(4, precision), solver, tol=30 * np.finfo(precision).eps)
    np.testing.assert_allclose(solution.x, reference, atol=500 * np.finfo(precision).eps)
    assert (np.asarray(solution.x) == 0).tolist() == (reference == 0).tolist()


def distances(solver, problem, reference, steps):
    """Distance to the solution after every step."""
    state = solver.init(problem, jnp.zeros_like(reference), key=jax.random.key(0))

    def one(state, t):
        state = solver.step(problem, state, key=jax.random.fold_in(jax.random.key(1), t))
        return state, jnp.linalg.norm(state.x - reference)

    return np.asarray(jax.jit(lambda s: jax.lax.scan(one, s, jnp.arange(steps))[1])(state))


@pytest.mark.parametrize("solver", [SAGA(), SVRG()], ids=["SAGA", "SVRG"])
def test_the_rate_is_linear_over_eight_decades(solver):
    with jax.enable_x64(True):
        X, y = data()
        mu = 0.05
        problem = fr.Composite(fr.losses.Logistic(X, y), fr.convex.SquaredL2(mu))
        d = distances(solver, problem, jnp.asarray(newton(X, y, mu)), 300)
        used = d > 1e-12
        decades = np.log10(d[used])
        assert decades.max() - decades.min() > 8
        t = np.arange(len(d))[used]
        slope, start = np.polyfit(t, decades, 1)
        assert slope < 0
        assert 1 - np.var(decades - slope * t - start) / np.var(decades) > 0.98
        # Defazio et al., corollary 1, the quadratic moved from g into the terms: per update the expected
        # squared distance falls by min(1/4n, mu/3L) at least; the prox of mu/2 |x|^2 contracts as fast.
        n, largest = len(y), float(jnp.max(problem.f.lipschitz_terms()))
        guaranteed = 0.5 * n * np.log10(1 - min(1 / (4 * n), mu / (3 * (largest + mu))))
        assert slope <= guaranteed


def test_a_step_is_unbiased_however_old_the_table():
    with jax.enable_x64(True):
        X, y = data(n=12)
        problem = fr.Composite(fr.losses.Logistic(X, y))
        solver = SAGA(step_size=0.3, batch_size=12)  # a step is one update
        state = solver.init(problem, jnp.ones(5), key=jax.random.key(0))
        state = eqx.tree_at(lambda s: s.x, state, -0.5 * jnp.ones(5))
        keys = jax.random.split(jax.random.key(2), 20_000)
        x = jax.jit(jax.vmap(lambda k: solver.step(problem, state, key=k).x))(keys)
        directions = np.asarray((state.x - x) / 0.3)
        error = directions.mean(0) - np.asarray(problem.gradient(state.x))
        assert np.all(np.abs(error) < 4.5 * directions.std(0) / np.sqrt(len(keys)))
        assert directions.std(0).min() > 1e-3


def test_svrg_with_one_update_is_a_gradient_step():
    X, y = data()
    problem = fr.Composite(fr.losses.Logistic(X, y), fr.convex.L1(0.01))
    solver = SVRG(step_size=0.7, inner=1)
    x = jnp.linspace(-1.0, 1.0, 5)
    state = solver.step(problem, solver.init(problem, x, key=jax.random.key(0)), key=jax.random.key(3))
    expected = problem.prox(x - 0.7 * problem.gradient(x), 0.7)
    np.testing.assert_allclose(state.x, expected, atol=1e-6)


def test_the_table_of_numbers_is_the_table_of_gradients():
    """The same draws give the same iterates, whether f is known to be a linear model or not."""
    with jax.enable_x64(True):
        X, y = data(n=20)
        weight = np.linspace(0.5, 1.5, 20)
        linear = fr.Composite(fr.losses.Logistic(X, y, sample_weight=weight), fr.convex.L1(0.01))
        general = fr.FiniteSum(
            lambda w, d: d[2] * jnp.logaddexp(0.0, -d[1] * (d[0] @ w)), (X, y, weight), fr.convex.L1(0.01)
        )
        for batch_size in (1, 7):
            solver = SAGA(step_size=0.5, batch_size=batch_size)
            a, b = (fr.solve(p, jnp.zeros(5), solver, tol=0.0, max_steps=7) for p in (linear, general))
            np.testing.assert_allclose(a.x, b.x, atol=1e-12)
            np.testing.assert_allclose(a.state.table[:, None] * linear.f.X, b.state.table, atol=1e-12)


def test_the_table_holds_the_latest_gradients_and_its_mean_is_theirs():
    """A brute-force SAGA in NumPy, with the draws of the solver."""
    with jax.enable_x64(True):
        X, y = data(n=9)
        problem = fr.Composite(fr.losses.Logistic(X, y), fr.convex.SquaredL2(0.1))
        solver = SAGA(step_size=0.4, batch_size=4)  # two updates a step, draws repeat
        state = solver.init(problem, jnp.zeros(5), key=jax.random.key(0))
        gradient = lambda w, i: -y[i] * X[i] / (1 + np.exp(y[i] * (X[i] @ w)))  # noqa: E731
        w, table = np.zeros(5), np.stack([gradient(np.zeros(5), i) for i in range(9)])
        step = jax.jit(lambda state, key: solver.step(problem, state, key=key))
        for t in range(20):
            key = jax.random.key(t)
            state = step(state, key)
            for batch in np.asarray(jax.random.randint(key, (2, 4), 0, 9)):
                new = np.stack([gradient(w, i) for i in batch])
                direction = np.mean(new - table[batch], axis=0) + table.mean(0)
                table[batch] = new
                w = (w - 0.4 * direction) / (1 + 0.4 * 0.1)
        np.testing.assert_allclose(state.x, w, atol=1e-12)


seen: Counter = Counter()


def note(name, n):
    seen[name] += int(n)


class Watched(fr.FiniteSum):
    """Counts what is asked of it while the program runs."""

    def sample_value_and_gradient(self, x, indices):
        jax.debug.callback(lambda i: note("sample", np.size(i)), indices)
        return super().sample_value_and_gradient(x, indices)

    def gradient(self, x):
        jax.debug.callback(lambda _: note("gradient", 1), jax.tree.leaves(x)[0])
        return super().gradient(x)

    def prox(self, x, step):
        jax.debug.callback(lambda _: note("prox", 1), jax.tree.leaves(x)[0])
        return super().prox(x, step)


@pytest.mark.parametrize("solver", [SAGA(0.1), SVRG(0.1), SAGA(0.1, 3), SVRG(0.1, 3, 5)], ids=NAMES)
def test_calls_are_what_the_problem_saw(solver):
    X, y = data(n=10)
    problem = Watched(lambda w, d: (d[0] @ w["w"] + w["b"] - d[1]) ** 2, (X, y), fr.convex.L1(0.1))
    problem = problem.lifted({"w": jnp.zeros(5), "b": jnp.zeros(())})
    seen.clear()

    @jax.jit
    def three(problem, x):
        state = solver.init(problem, x, key=jax.random.key(0))
        for t in range(3):
            state = solver.step(problem, state, key=jax.random.key(t))
        return state

    state = three(problem, {"w": jnp.zeros(5), "b": jnp.zeros(())})
    jax.effects_barrier()
    assert {k: int(v) for k, v in state.calls.asdict().items() if v} == dict(seen)


class CountingLogistic(fr.losses.Logistic):
    def pointwise(self, z, y):
        jax.debug.callback(lambda z: note("sample", np.size(z)), z)
        return super().pointwise(z, y)


def test_calls_on_a_linear_model_are_the_losses_evaluated():
    X, y = data(n=10)
    problem = fr.Composite(CountingLogistic(X, y), fr.convex.L1(0.1))
    solver = SAGA(batch_size=3)
    seen.clear()
    run = jax.jit(
        lambda x: solver.step(problem, solver.init(problem, x, key=jax.random.key(0)), key=jax.random.key(1))
    )
    state = run(jnp.zeros(5))
    jax.effects_barrier()
    assert int(state.calls.sample) == seen["sample"] == 10 + 9


@pytest.mark.parametrize("solver", [SAGA(), SVRG()], ids=["SAGA", "SVRG"])
def test_sparse_designs_give_the_dense_solution(solver):
    import scipy.sparse

    X, y = data(n=20)
    X[np.abs(X) < 0.3] = 0
    dense, sparse = (
        fr.solve(
            fr.Composite(fr.losses.Logistic(D, y), fr.convex.SquaredL2(0.1)), jnp.zeros(5), solver, tol=1e-5
        )
        for D in (X.astype("f4"), scipy.sparse.csr_array(X.astype("f4")))
    )
    np.testing.assert_allclose(dense.x, sparse.x, atol=1e-5)


@pytest.mark.parametrize("solver", [SAGA(), SVRG()], ids=["SAGA", "SVRG"])
def test_jit_vmap_and_the_implicit_derivative(solver):
    with jax.enable_x64(True):
        X, y = data(n=20)

        def x_of(mu):
            problem = fr.Composite(fr.losses.Logistic(X, y), fr.convex.SquaredL2(mu))
            return fr.solve(problem, jnp.zeros(5), solver, tol=1e-11).x

        mus = jnp.array([0.1, 0.3])
        one_by_one = jnp.stack([x_of(mu) for mu in mus])
        np.testing.assert_allclose(jax.jit(jax.vmap(x_of))(mus), one_by_one, atol=1e-10)
        expected = (newton(X, y, 0.1 + 1e-5) - newton(X, y, 0.1 - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.jacrev(x_of)(0.1), expected, rtol=1e-6)


def test_multinomial_tables_have_a_row_of_numbers_a_term():
    with jax.enable_x64(True):
        X, _ = data(n=30)
        y = np.arange(30) % 3
        problem = fr.Composite(fr.losses.Multinomial(X, y), fr.convex.SquaredL2(0.1))
        solution = fr.solve(problem, jnp.zeros((5, 3)), SAGA(), tol=1e-10)
        assert solution.status.converged and solution.state.table.shape == (30, 3)


@pytest.mark.parametrize("solver", [SAGA, SVRG])
def test_errors_name_what_is_missing(solver):
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        solver(batch_size=0)
    X, y = data()
    general = fr.FiniteSum(lambda w, d: (d[0] @ w - d[1]) ** 2, (X, y))
    with pytest.raises(TypeError, match=f"needs a step size.*pass step_size to {solver.__name__}"):
        fr.solve(general, jnp.zeros(5), solver())
    counts = fr.Composite(fr.losses.Poisson(X, np.ones(60)))
    with pytest.raises(TypeError, match="gradient of f is not Lipschitz"):
        fr.solve(counts, jnp.zeros(5), solver())
    with pytest.raises(TypeError, match="needs sample"):
        fr.solve(fr.Composite(lambda x: jnp.sum(x**2)), jnp.zeros(5), solver(0.1))
