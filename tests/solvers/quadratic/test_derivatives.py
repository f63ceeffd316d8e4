"""Derivatives of quadratic programs in all their data, against qpax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qpax

import frechet as fr
from frechet.solvers.quadratic.admm import QuadraticADMM
from frechet.solvers.quadratic.box_coordinate_descent import BoxCoordinateDescent
from frechet.solvers.quadratic.direct import DirectKKT
from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint

N, BATCH = 6, 8
# What each solver takes.
CASES = {
    "QuadraticADMM": (QuadraticADMM(), ("A", "b", "G", "h", "lower", "upper")),
    "QuadraticInteriorPoint": (QuadraticInteriorPoint(), ("A", "b", "G", "h", "lower", "upper")),
    "BoxCoordinateDescent": (BoxCoordinateDescent(), ("lower", "upper")),
    "DirectKKT": (DirectKKT(), ("A", "b")),
}


def programs():
    """Strictly convex programs, each with a point inside; some rows and bounds are active, some slack."""
    rng = np.random.default_rng(0)
    M, inside = rng.normal(size=(BATCH, N, N)), rng.normal(size=(BATCH, N))
    A, G = rng.normal(size=(BATCH, 1, N)), rng.normal(size=(BATCH, 4, N))
    room = np.array([0.1, 0.2, 3.0, 9.0])
    return {
        "P": jnp.asarray(M @ M.swapaxes(1, 2) + np.eye(N)),
        "q": jnp.asarray(4 * rng.normal(size=(BATCH, N))),
        "A": jnp.asarray(A),
        "b": jnp.asarray(np.einsum("kmn,kn->km", A, inside)),
        "G": jnp.asarray(G),
        "h": jnp.asarray(np.einsum("kmn,kn->km", G, inside) + room),
        "lower": jnp.asarray(inside - 0.2 - rng.random((BATCH, N))),
        "upper": jnp.asarray(inside + 0.2 + rng.random((BATCH, N))),
    }


def by_qpax(data):
    """Its solution, bounds as rows; the explicit backend has a factor too many in the gradient in G."""
    none = jnp.zeros((0, N)), jnp.zeros(0)
    rows = [(data["G"], data["h"])] if "G" in data else []
    if "lower" in data:
        rows += [(jnp.eye(N), data["upper"]), (-jnp.eye(N), -data["lower"])]
    G, h = map(jnp.concatenate, zip(*rows, strict=True)) if rows else none
    A, b = (data["A"], data["b"]) if "A" in data else none
    return qpax.solve_qp_primal(
        data["P"], data["q"], A, b, G, h, backend="i", solver_tol=1e-11, target_kappa=1e-10
    )


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_all_data_are_those_of_qpax(name):
    solver, constraints = CASES[name]
    with jax.enable_x64(True):
        data = {k: v for k, v in programs().items() if k in ("P", "q", *constraints)}
        weights = jnp.asarray(np.random.default_rng(1).normal(size=N))

        def ours(data):
            return weights @ fr.solve(fr.QuadraticProgram(**data), jnp.zeros(N), solver, tol=1e-10).x.primal

        if constraints == ("A", "b"):  # qpax wants an inequality: one that is slack
            theirs = lambda d: weights @ by_qpax(d | {"G": jnp.ones((1, N)), "h": jnp.full(1, 1e3)})  # noqa: E731
        else:
            theirs = lambda d: weights @ by_qpax(d)  # noqa: E731
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(ours)))(data)
        expected_value, expected = jax.jit(jax.vmap(jax.value_and_grad(theirs)))(data)
        np.testing.assert_allclose(value, expected_value, atol=1e-7)
        for key in data:
            # qpax differentiates at complementarity 1e-10, of multipliers and slacks that are at least 1e-3.
            np.testing.assert_allclose(gradient[key], expected[key], atol=1e-5, rtol=1e-5, err_msg=key)
            assert np.any(np.abs(expected[key]) > 1e-2), key


def test_slack_rows_and_bounds_have_no_derivative_and_active_ones_do():
    with jax.enable_x64(True):
        data = programs()

        def solution(data):
            return fr.solve(fr.QuadraticProgram(**data), jnp.zeros(N), QuadraticADMM(), tol=1e-10).x

        x = jax.jit(jax.vmap(solution))(data)
        jacobian = jax.jit(jax.vmap(jax.jacrev(lambda d: solution(d).primal)))(data)
        slack = np.asarray(x.dual_ineq) < 1e-8
        assert 0.2 < np.mean(slack) < 0.95
        np.testing.assert_array_equal(np.moveaxis(np.asarray(jacobian["h"]), 2, 1)[slack], 0)
        np.testing.assert_array_equal(np.moveaxis(np.asarray(jacobian["G"]), 2, 1)[slack], 0)
        at_lower, at_upper = (np.isclose(x.primal, data[k], atol=1e-8) for k in ("lower", "upper"))
        for key, active in {"lower": at_lower, "upper": at_upper}.items():
            assert 0.02 < np.mean(active) < 0.9
            by_bound = np.moveaxis(np.asarray(jacobian[key]), 2, 1)
            np.testing.assert_array_equal(by_bound[~active], 0)
            # A variable at its bound goes where the bound goes.
            own = np.asarray(jacobian[key])[:, np.arange(N), np.arange(N)]
            np.testing.assert_allclose(own[active], 1, atol=1e-9)
