"""Saddle points and games of the suite at the solutions of peers."""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from frechet.core import tree
from frechet.workbench import data, suite


def residual(case: Any, z: Any) -> float:
    """At a point, relative to that at the start."""
    optimality = jax.jit(lambda z: tree.norm(case.problem.optimality(z)))
    z = jax.tree.map(lambda v, like: jnp.asarray(v, like.dtype), case.problem.start(z), case.x0)
    return float(optimality(z) / optimality(case.x0))


def affine(case: Any) -> Any:
    """The solution of an affine operator without constraints, by SciPy, from its values at unit vectors."""
    flat, unravel = jax.flatten_util.ravel_pytree(case.x0)
    F = jax.jit(lambda v: jax.flatten_util.ravel_pytree(case.problem.operator(unravel(v)))[0])
    constant = F(jnp.zeros_like(flat))
    columns = jax.vmap(F)(jnp.eye(flat.size)) - constant
    return unravel(jnp.asarray(scipy.linalg.solve(np.asarray(columns).T, -np.asarray(constant))))


@pytest.mark.parametrize("name", ["bilinear-game", "strongly-monotone-game", "monotone-sum"])
def test_affine_operators_vanish_where_scipy_says(name):
    with jax.enable_x64():
        case = suite.load(name)
        assert residual(case, affine(case)) < 1e-10


@pytest.mark.parametrize("name", ["policeman-burglar", "nemirovski-game"])
def test_matrix_games_by_linear_programming(name):
    with jax.enable_x64():
        case: Any = suite.load(name)
        m, n = (v.size for v in case.x0)
        # the matrix itself, from pure strategies
        A = np.array(jax.vmap(lambda x: jax.vmap(lambda y: case.problem.f(x, y))(jnp.eye(n)))(jnp.eye(m)))

        def mixed(A):
            """min_x max_j (A' x)_j over the simplex, and its value."""
            m, n = A.shape
            found = scipy.optimize.linprog(
                np.append(np.zeros(m), 1.0),
                A_ub=np.column_stack([A.T, -np.ones(n)]),
                b_ub=np.zeros(n),
                A_eq=[np.append(np.ones(m), 0.0)],
                b_eq=[1.0],
                bounds=[(0, None)] * m + [(None, None)],
            )
            return found.x[:m], found.fun

        (x, value), (y, other) = mixed(A), mixed(-A.T)
        assert value == pytest.approx(-other, abs=1e-9)
        z = case.problem.start((jnp.asarray(x), jnp.asarray(y)))
        assert abs(float(case.problem.measures(z)["duality_gap"])) < 1e-9
        assert float(case.problem.objective(z)) == pytest.approx(value, abs=1e-9)
        assert residual(case, z) < 1e-8


def test_robust_least_squares_by_its_optimality_conditions():
    """The adversary's best answer is a multiple of the residuals, as long as the ball allows."""
    with jax.enable_x64():
        case = suite.load("robust-least-squares")
        X, y = data.diabetes()
        n, p = X.shape

        def at(multiplier):
            share = 1 / (1 + multiplier)
            H = (1 + share) * X.T @ X / n + 1e-3 * np.eye(p)
            w = np.linalg.solve(H, (1 + share) * X.T @ y / n)
            return w, share * (y - X @ w)

        excess = lambda multiplier: np.linalg.norm(at(multiplier)[1]) - 0.1 * n**0.5  # noqa: E731
        assert excess(0) > 0
        assert residual(case, at(scipy.optimize.brentq(excess, 0, 1e4, xtol=1e-13))) < 1e-9


def test_robust_logistic_by_newton_on_what_the_adversary_leaves():
    """SciPy minimises over the weights; the adversary's answer is a projection onto the simplex."""
    with jax.enable_x64():
        case = suite.load("robust-logistic")
        X, y = data.breast_cancer()
        rows = X * (2 * y - 1)[:, None]
        n = len(y)

        def answer(w):
            losses = np.logaddexp(0, -rows @ w)
            level = scipy.optimize.brentq(
                lambda t: np.maximum(1 + losses - t, 0).sum() - n, -50, 50, xtol=1e-14
            )
            return np.maximum(1 + losses - level, 0), losses

        def worst(w):
            q, losses = answer(w)
            value = np.mean(q * losses - 0.5 * (q - 1) ** 2) + 0.01 * w @ w
            return value, -rows.T @ (q / (1 + np.exp(rows @ w))) / n + 0.02 * w

        found = scipy.optimize.minimize(
            worst, np.zeros(X.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9}
        )
        q = answer(found.x)[0]
        assert residual(case, (found.x, q / n**0.5)) < 1e-7


def test_cournot_by_answering_in_turns():
    with jax.enable_x64():
        case: Any = suite.load("cournot")
        costs = np.random.default_rng(0).uniform(0.2, 1.2, size=10)
        q = np.zeros(10)
        for _ in range(2000):
            for i in range(10):
                q[i] = max((1.5 - costs[i] - (q.sum() - q[i])) / 2, 0)
        z = tuple(jnp.asarray(v) for v in q)
        optimality = jax.jit(lambda z: tree.norm(case.problem.optimality(z)))
        assert float(optimality(z)) < 1e-12
        assert float(case.problem.exploitability(z)) < 1e-12 < float(case.problem.exploitability(case.x0))


@pytest.mark.parametrize("name, slope", [("first-price-auction", 2 / 3), ("second-price-auction", 1.0)])
def test_auctions_lose_least_at_the_known_equilibrium(name, slope):
    case: Any = suite.load(name)
    bids = lambda slope: slope * jnp.linspace(0, 1, case.x0.size)  # noqa: E731
    loss = jax.jit(lambda z: case.problem.utility_loss(z, at=16, draws=1024)[0])
    losses = {s: float(loss(bids(s))) for s in (slope, slope - 0.2, slope + 0.2)}
    # what is gained by knowing 1,024 draws is of the order of a tenth over their square root
    assert losses[slope] < 5e-3
    assert all(losses[s] > 1.5 * losses[slope] for s in losses if s != slope)


def test_the_dirac_gan_rests_where_the_networks_agree():
    case = suite.load("dirac-gan")
    assert (
        float(tree.norm(case.problem.optimality(case.problem.start((jnp.zeros(()), jnp.zeros(())))))) == 0.0
    )
