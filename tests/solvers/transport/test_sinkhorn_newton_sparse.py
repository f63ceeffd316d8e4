"""Sinkhorn-Newton-Sparse: what its stages are, how its Hessian is kept sparse, where it starts and ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.transport.scaled_plan import ScaledPlan
from frechet.solvers.transport.sinkhorn_newton_sparse import SinkhornNewtonSparse

N = 40


def clouds(epsilon, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(size=(N, 2)), rng.uniform(size=(N, 2))
    C = np.sum((x[:, None] - y) ** 2, -1)
    a, b = (w / w.sum() for w in rng.uniform(0.5, 1.5, (2, N)))
    regulariser = fr.transport.Entropic(epsilon)
    return fr.Transport(*(jnp.asarray(v, dtype) for v in (C, a, b)), regulariser)


def solved(problem, x0=None, **options):
    solver = SinkhornNewtonSparse(entries=8)
    return fr.solve(problem, problem.initial() if x0 is None else x0, solver, **options)


def test_without_newton_steps_it_is_sinkhorns_algorithm():
    with jax.enable_x64(True):
        problem = clouds(0.05)
        solver = SinkhornNewtonSparse(sweeps=1, start=0.0, newton_below=0.0)
        x = fr.solve(problem, problem.initial(), solver, tol=-1.0, max_steps=7).x
        K = np.exp(-np.asarray(problem.cost.matrix()) / float(problem.epsilon))
        a, b = np.asarray(problem.a), np.asarray(problem.b)
        v = 1 / (a @ K)  # the start's columns are made exact
        for _ in range(7):
            u = 1 / (K @ (b * v))
            v = 1 / ((a * u) @ K)
        plan = a[:, None] * u[:, None] * K * v * b
        assert np.allclose(problem.plan(x), plan, rtol=1e-12, atol=0)


@pytest.mark.parametrize("epsilon", [1.0, 1e-2, 1e-4])
def test_it_finds_the_plan_at_any_epsilon(epsilon):
    with jax.enable_x64(True):
        problem = clouds(epsilon)
        solution = solved(problem, tol=1e-11)
        # The plan, from its potentials; with these marginals there is only one of this form.
        f, g, a, b, C = (
            np.asarray(v) for v in (solution.x.f, solution.x.g, problem.a, problem.b, problem.cost.C)
        )
        plan = a[:, None] * b * np.exp((f[:, None] + g - C) / float(problem.epsilon))
        assert np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum() < 2e-11
        assert int(solution.steps) <= 30


def test_sparse_hessians_save_products_where_plans_are_sparse():
    with jax.enable_x64(True):
        small, large = solved(clouds(1e-3), tol=1e-11), solved(clouds(1.0), tol=1e-11)
        assert small.status.converged and large.status.converged
        assert int(small.calls.matvec) < int(small.state.products)
        # A plan that is not sparse gets its own products: two for one with the Hessian.
        assert int(large.calls.matvec) >= 2 * int(large.state.products) + 10 * int(large.steps)


def test_float32_ends_without_nan_at_what_it_can_reach():
    for epsilon in (1.0, 1e-2, 1e-4):
        problem = clouds(epsilon, np.float32)
        solution = solved(problem, tol=1e-30, max_steps=500)
        assert solution.status.code == fr.Ending.STALLED
        # Rounding of potentials as large as the costs, in units of epsilon, and of sums.
        assert float(solution.residual) < 4 * np.finfo(np.float32).eps * (10 + 1 / epsilon)


def test_a_start_near_the_solution_is_not_thrown_away():
    with jax.enable_x64(True):
        problem = clouds(1e-2)
        x = solved(problem, tol=1e-11).x
        near = fr.Transport(1.001 * problem.cost.matrix(), problem.a, problem.b, problem.regulariser)
        far, close = solved(near, tol=1e-11), solved(near, x, tol=1e-11)
        assert int(close.steps) <= 4 < int(far.steps)


def test_largest_entries_are_those_of_the_scaled_plan():
    rng = np.random.default_rng(0)
    K, u, v = rng.uniform(size=(5, 9)), rng.uniform(0.1, 9, 5), rng.uniform(0.1, 9, 9)
    P = u[:, None] * K * v
    largest = ScaledPlan(jnp.asarray(K), jnp.asarray(u), jnp.asarray(v)).largest(3)
    kept = np.where(np.sort(P, 1)[:, -3:-2] > P, 0, P)
    w, p = rng.normal(size=9), rng.normal(size=5)
    assert np.allclose(largest.times(jnp.asarray(w)), kept @ w, rtol=1e-5, atol=1e-4)
    assert np.allclose(largest.transposed_times(jnp.asarray(p), 9), p @ kept, rtol=1e-5, atol=1e-4)


def test_what_it_cannot_take_is_refused():
    C = jnp.eye(3)
    for problem, lacking in (
        (fr.Transport(C, unbalanced=1.0), "balanced"),
        (fr.Transport(C, regulariser=fr.transport.Quadratic(1.0)), "entropic"),
        (fr.Transport(fr.transport.PointCloud(C, keep=False)), "plan"),
    ):
        assert lacking in str(SinkhornNewtonSparse().fits(problem))
    for bad, name in (({"entries": 0}, "entries"), ({"sweeps": -1}, "sweeps"), ({"entries": 0.5}, "entries")):
        with pytest.raises(ValueError, match=name):
            SinkhornNewtonSparse(**bad)
