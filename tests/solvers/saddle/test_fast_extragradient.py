"""Fast extragradient against NumPy and its bound; matrix games against linear programming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import frechet as fr
from frechet.core import loop
from frechet.core.status import Ending
from frechet.solvers.saddle.fast_extragradient import FastExtragradient
from frechet.workbench.claims.iterates import states

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4))
M = np.block([[np.zeros((4, 4)), A], [-A.T, np.zeros((4, 4))]])
L = np.linalg.norm(A, 2)
START = RNG.normal(size=8)


def by_numpy(steps):
    """Lee and Kim's form, for a monotone operator and without constraints."""
    z, path = START, []
    for k in range(steps):
        beta = 1 / (k + 1)
        half = z + beta * (START - z) - (1 - beta) / L * (M @ z)
        z = z + beta * (START - z) - M @ half / L
        path.append(z)
    return np.array(path)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def test_steps_are_the_published_ones_and_restarts_leave_the_first_alone(float64):
    problem = fr.Inclusion(lambda z: jnp.asarray(M) @ z)
    path = states(problem, FastExtragradient(lipschitz=L, restarts=False), jnp.asarray(START), 30).x
    np.testing.assert_allclose(path, by_numpy(30), rtol=0, atol=1e-12)
    again = states(problem, FastExtragradient(lipschitz=L), jnp.asarray(START), 30).x
    np.testing.assert_allclose(again[0], path[0], rtol=0, atol=1e-12)
    assert np.linalg.norm(M @ again[-1]) < np.linalg.norm(M @ path[-1])


def test_the_bound_holds_with_a_constraint(float64):
    """The residual with the least element of the normal cone is at most 2LD/k; the solution is known."""
    q = -M @ np.linspace(-0.4, 0.4, 8)
    q[0] += 1.0  # pushes the first entry against its bound, where it is at a solution of its own
    box = fr.convex.Box(-0.5, 0.5)
    problem = fr.Inclusion(lambda z: jnp.asarray(M) @ z + jnp.asarray(q), box)
    solution = np.asarray(fr.solve(problem, jnp.zeros(8), tol=1e-12, max_steps=100_000).x)
    assert np.any(np.abs(solution) == 0.5)
    start = np.clip(START, -0.5, 0.5)
    path = states(problem, FastExtragradient(lipschitz=L, restarts=False), jnp.asarray(start), 300).x
    k = np.arange(1, 301)
    residual = jax.vmap(lambda z: loop.residual(problem, z))(path)
    ratio = k * np.asarray(residual) / (L * np.linalg.norm(start - solution))
    assert np.max(ratio) <= 2


def test_a_runaway_of_an_operator_that_is_not_monotone_is_named():
    solution = fr.solve(fr.Inclusion(lambda z: -z), jnp.ones(2), FastExtragradient(), max_steps=2000)
    assert Ending(int(solution.status.code)) is Ending.NONMONOTONE


def test_a_lipschitz_constant_is_positive():
    with pytest.raises(ValueError, match="lipschitz must be above zero, got -1"):
        FastExtragradient(lipschitz=-1.0)


def test_a_matrix_game_has_the_value_of_its_linear_programs(float64):
    """As a saddle point, as the linear program of either player by PDHG, and by SciPy."""
    payoff = RNG.normal(size=(5, 7))
    simplex = fr.convex.Simplex()
    B = jnp.asarray(payoff)
    gap = lambda x, y: jnp.max(x @ B) - jnp.min(B @ y)  # noqa: E731
    game = fr.Saddle(lambda x, y: x @ B @ y, simplex, simplex, gap)
    solution = fr.solve(game, (jnp.ones(5) / 5, jnp.ones(7) / 7), FastExtragradient(), tol=1e-9)
    assert solution.status.converged
    # min v with B'x <= v and x in the simplex; the unknowns are (x, v).
    q, ones = np.append(np.zeros(5), 1.0), np.append(np.ones(5), 0.0)[None]
    rows = np.hstack([payoff.T, -np.ones((7, 1))])
    lower = np.append(np.zeros(5), -np.inf)
    program = fr.QuadraticProgram(
        q=jnp.asarray(q),
        A=jnp.asarray(ones),
        b=jnp.ones(1),
        G=jnp.asarray(rows),
        h=jnp.zeros(7),
        lower=jnp.asarray(lower),
    )
    by_pdhg = fr.solve(
        program, jnp.zeros(6), fr.solvers.PrimalDualHybridGradient(), tol=1e-8, max_steps=100_000
    )
    bounds = [(0, None)] * 5 + [(None, None)]
    exact = scipy.optimize.linprog(q, rows, np.zeros(7), ones, [1.0], bounds)
    value = float(game.value(solution.x))
    np.testing.assert_allclose([value, float(by_pdhg.x.primal[-1])], exact.fun, rtol=0, atol=1e-6)
    assert float(game.measures(solution.x)["duality_gap"]) < 1e-6
