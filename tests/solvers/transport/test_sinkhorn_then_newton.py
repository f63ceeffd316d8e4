"""Sweeps first, Newton's steps where these are slow: solved where sweeps alone are not, and counted."""

import jax
import numpy as np

import frechet as fr
from frechet.solvers.transport.sinkhorn import Sinkhorn
from frechet.solvers.transport.sinkhorn_then_newton import SinkhornThenNewton
from frechet.transport import Entropic


def test_newton_takes_over_where_sweeps_are_slow():
    """Marginals of the plan, in NumPy: a plan of this form with the right ones is the solution."""
    with jax.enable_x64(True):
        n = 60
        C = np.random.default_rng(0).uniform(size=(n, n))
        easy, hard = (
            fr.Transport(C, regulariser=Entropic(e * C.mean(), relative=False)) for e in (0.1, 1e-3)
        )
        one, other = (fr.solve(p, p.initial(), SinkhornThenNewton(), tol=1e-10) for p in (easy, hard))
        assert one.status.converged and not one.state.newton
        assert other.status.converged and other.state.newton
        f, g = (np.asarray(v) for v in (other.x.f, other.x.g))
        P = np.exp((f[:, None] + g - C) / (1e-3 * C.mean())) / n**2
        assert np.abs(P.sum(1) - 1 / n).sum() + np.abs(P.sum(0) - 1 / n).sum() < 2e-10
        swept = fr.solve(hard, hard.initial(), Sinkhorn(), tol=1e-10, max_steps=12)
        assert not swept.status.converged and swept.calls.matvec > 2 * other.calls.matvec
