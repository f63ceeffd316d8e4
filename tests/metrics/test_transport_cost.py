"""Transport costs against linear programming, and their derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from frechet import metrics, transport


def data(m=6, n=5):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(m, n)), rng.dirichlet(np.ones(m) * 4), rng.dirichlet(np.ones(n) * 4)


def test_the_gap_brackets_the_optimum_and_derivatives_are_those_of_differences():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        C, a, b = map(jnp.asarray, data())
        dC, da = rng.normal(size=C.shape), rng.normal(size=a.shape) / 10
        da = da - da.mean()

        for regulariser in (transport.Entropic(0.1, relative=False), transport.Quadratic(0.5)):

            def found(t, regulariser=regulariser):
                return metrics.transport_cost(C + t * dC, a + t * da, b, regulariser, tol=1e-10)

            slope = jax.jit(jax.grad(lambda t: found(t).value))
            h = 1e-5
            np.testing.assert_allclose(slope(0.0), (found(h).value - found(-h).value) / (2 * h), rtol=1e-6)
            rough = metrics.transport_cost(C, a, b, regulariser, max_steps=10, tol=1e-14)
            best = found(0.0)
            assert best.status.converged and 0 <= best.duality_gap < 1e-10
            assert rough.value <= best.value + 1e-12  # whatever the end, a lower bound
            assert best.value <= rough.value + rough.duality_gap + 1e-12  # and an upper one


def test_little_regularisation_costs_little_more_than_the_linear_program():
    C, a, b = data()
    m, n = C.shape
    rows = np.kron(np.eye(m), np.ones(n))
    columns = np.kron(np.ones(m), np.eye(n))
    program = scipy.optimize.linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    found = metrics.transport_cost(jnp.asarray(C), jnp.asarray(a), jnp.asarray(b), transport.Entropic(0.02))
    exact = metrics.transport_cost(jnp.asarray(C), jnp.asarray(a), jnp.asarray(b), None)
    np.testing.assert_allclose(exact.value, program.fun, rtol=1e-5)
    slope = jax.grad(lambda C: metrics.transport_cost(C, jnp.asarray(a), jnp.asarray(b), None).value)
    np.testing.assert_allclose(slope(jnp.asarray(C)), program.x.reshape(m, n), atol=1e-6)  # the plan
    # The plan is feasible, so not below; KL of a plan is at most the entropy of its marginals.
    excess = float(found.transport_cost) - program.fun
    assert -1e-6 < excess < 0.02 * C.mean() * np.log(n) + 1e-6
    assert found.transport_cost.dtype == jnp.float32


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"b has shape \(3,\); the cost has 5 targets"):
        metrics.transport_cost(jnp.ones((6, 5)), b=jnp.ones(3) / 3)
