"""Semismooth Newton where marginals are penalised; the balanced case is that of the conformance checks."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

import frechet as fr
from frechet.solvers.transport.semismooth_newton import SemismoothNewton


def test_unbalanced_plan_is_least():
    rng = np.random.default_rng(3)
    C, a, b = rng.random((4, 3)), rng.random(4) + 0.2, rng.random(3) + 0.2
    gamma, rho = 0.5, 0.7

    def worth(p):
        P = p.reshape(4, 3)
        away = sum(np.sum(v * np.log(v / w) - v + w) for v, w in ((P.sum(1), a), (P.sum(0), b)))
        return np.sum(P * C) + gamma / 2 * np.sum(P**2) + rho * away

    reference = minimize(worth, np.full(12, 0.1), bounds=[(1e-12, None)] * 12, options={"ftol": 1e-15})
    with jax.enable_x64(True):
        problem = fr.Transport(C, a, b, fr.transport.Quadratic(gamma), unbalanced=rho)
        s = fr.solve(problem, problem.initial(), SemismoothNewton(), tol=1e-11)
        assert s.status.converged and int(s.steps) < 20
        report = problem.report(s.x)
        assert np.allclose(problem.plan(s.x), reference.x.reshape(4, 3), atol=1e-4)
        assert abs(float(report.objective) - reference.fun) <= 1e-7
        assert abs(float(report.duality_gap)) <= 1e-9


def test_float32_ends_at_its_tolerance():
    with jax.enable_x64(False):
        rng = np.random.default_rng(4)
        C = jnp.asarray(rng.random((12, 9)), jnp.float32)
        problem = fr.Transport(C, regulariser=fr.transport.Quadratic(2.0))
        s = fr.solve(problem, problem.initial(), SemismoothNewton())
        assert s.status.converged and s.x.f.dtype == jnp.float32
