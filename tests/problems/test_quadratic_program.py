"""The quadratic program: its oracles against NumPy, every form of matrix, and each kind of bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO

import frechet as fr


def data(seed=0):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(4, 4))
    return {
        "P": M @ M.T,
        "q": rng.normal(size=4),
        "A": rng.normal(size=(1, 4)),
        "b": rng.normal(size=1),
        "G": rng.normal(size=(3, 4)),
        "h": rng.normal(size=3),
        "lower": -np.ones(4),
        "upper": np.array([1.0, 1.0, 2.0, np.inf]),
    }


def in_form(form, dtype):
    make = {
        "dense": lambda M: jnp.asarray(M, dtype),
        "bcoo": lambda M: BCOO.fromdense(jnp.asarray(M, dtype)),
        "scipy": lambda M: scipy.sparse.csr_matrix(M.astype(dtype)),
    }[form]
    return {k: make(v) if v.ndim == 2 else jnp.asarray(v, dtype) for k, v in data().items()}


@pytest.mark.parametrize("form", ["dense", "bcoo", "scipy"])
def test_objective_and_optimality_are_those_of_numpy(form, precision):
    d, problem = data(), fr.QuadraticProgram(**in_form(form, precision))
    rng = np.random.default_rng(1)
    # The third inequality is far from its limit, with multiplier zero; a bound is violated.
    x, y, z = np.array([0.2, -0.4, 2.5, 0.1]), rng.normal(size=1), np.array([0.7, 0.2, 0.0])
    point = fr.KKTPoint(*(jnp.asarray(v, precision) for v in (x, y, z)))
    slope = d["P"] @ x + d["q"] + d["A"].T @ y + d["G"].T @ z
    tol = 50 * float(jnp.finfo(precision).eps)
    np.testing.assert_allclose(problem.value(point.primal), 0.5 * x @ d["P"] @ x + d["q"] @ x, rtol=tol)
    F = problem.optimality(point)
    np.testing.assert_allclose(F.primal, x - np.clip(x - slope, d["lower"], d["upper"]), atol=tol)
    np.testing.assert_allclose(F.dual_eq, d["A"] @ x - d["b"], atol=tol)
    np.testing.assert_allclose(F.dual_ineq, np.minimum(z, d["h"] - d["G"] @ x), atol=tol)
    violation = max(np.abs(d["A"] @ x - d["b"]).max(), (d["G"] @ x - d["h"]).max())
    np.testing.assert_allclose(problem.infeasibility(point.primal), violation, rtol=tol)
    assert jnp.isinf(problem.objective(point)) and jnp.isfinite(problem.value(point.primal))
    assert {v.dtype for v in F} == {jnp.dtype(precision)}


def test_optimality_vanishes_at_a_solution_found_by_hand(precision):
    # The least norm with x0 + x1 = 2 and x0 <= 1/2: x = (1/2, 3/2), y = -3/2, multiplier 1.
    problem = fr.QuadraticProgram(
        jnp.eye(2),
        A=jnp.ones((1, 2)),
        b=jnp.array([2.0]),
        G=jnp.array([[1.0, 0.0], [0.0, -1.0]]),
        h=jnp.array([0.5, jnp.inf]),
    )
    solution = fr.KKTPoint(jnp.array([0.5, 1.5]), jnp.array([-1.5]), jnp.array([1.0, 0.0]))
    assert all(not jnp.any(v) for v in problem.optimality(solution))
    other = problem.optimality(solution._replace(dual_ineq=jnp.array([1.0, 0.3])))
    assert float(other.dual_ineq[1]) == pytest.approx(0.3)  # a multiplier of no constraint


def test_what_it_shows_and_offers():
    full = fr.QuadraticProgram(**in_form("dense", float))
    assert (
        full.P.shape == (4, 4)
        and full.equations()[0].shape == (1, 4)
        and full.inequalities()[1].shape == (3,)
    )
    assert {"matrices", "dense matrices", "bounds"} <= full.offers().keys()
    assert not {"bounds only", "equations alone", "equations only", "smooth"} & full.offers().keys()
    assert "dense matrices" not in fr.QuadraticProgram(**in_form("bcoo", float)).offers()
    box = fr.QuadraticProgram(jnp.eye(2), lower=0.0)
    assert "bounds only" in box.offers() and box.equations() == box.inequalities() == (None, None)
    equations = fr.QuadraticProgram(jnp.eye(2), A=jnp.ones((1, 2)), b=jnp.ones(1))
    assert {"equations alone", "equations only", "smooth"} <= equations.offers().keys()
    linear = fr.QuadraticProgram(q=jnp.ones(2), lower=0.0)
    assert linear.P is None and float(linear.value(jnp.ones(2))) == 2.0


def test_lists_and_integers_become_floats():
    problem = fr.QuadraticProgram([[2, 0], [0, 2]], [1, -1], A=np.ones((1, 2), int), b=[3])
    leaves = jax.tree.leaves((problem.P, problem.q, problem.equations()))
    assert all(jnp.issubdtype(v.dtype, jnp.floating) for v in leaves)
    assert float(problem.value(jnp.ones(2))) == 2.0


I = np.eye(3)
WRONG = {
    "nothing given": ({}, ValueError, "at least one of P, q, A and G"),
    "P a vector": ({"P": np.ones(3)}, ValueError, "P must be a matrix"),
    "P of text": ({"P": "I"}, TypeError, "P must be a number or an array"),
    "P complex": ({"P": I + 0j}, TypeError, "P is complex"),
    "P not square": ({"P": np.ones((2, 3))}, ValueError, "must be square"),
    "P not symmetric": ({"P": I + np.eye(3, k=1)}, ValueError, r"pass \(P \+ P.T\) / 2"),
    "P indefinite": ({"P": np.diag([1.0, -1.0, 0.0])}, ValueError, "least eigenvalue -1"),
    "sparse P indefinite": ({"P": scipy.sparse.diags([1.0, -1.0])}, ValueError, "least eigenvalue -1"),
    "q a number": ({"P": I, "q": 1.0}, ValueError, "q must be a vector, got a number"),
    "q too long": ({"P": I, "q": np.ones(4)}, ValueError, r"3 unknowns it needs \(3,\)"),
    "A of other width": ({"P": I, "A": np.ones((1, 2)), "b": np.ones(1)}, ValueError, "needs 3 columns"),
    "A without b": ({"P": I, "A": np.ones((1, 3))}, ValueError, "A was given without b"),
    "b without A": ({"P": I, "b": np.ones(1)}, ValueError, "b was given without A"),
    "b too long": ({"P": I, "A": np.ones((1, 3)), "b": np.ones(2)}, ValueError, r"1 rows, so \(1,\)"),
    "b a number": ({"P": I, "A": np.ones((1, 3)), "b": 1.0}, ValueError, "b must be a vector"),
    "dependent rows": ({"P": I, "A": np.ones((2, 3)), "b": np.ones(2)}, ValueError, "row 1 is a combination"),
    "more equations than unknowns": (
        {"P": I, "A": np.vander(np.arange(4.0), 3), "b": np.ones(4)},
        ValueError,
        "rows of A are dependent",
    ),
    "G of other width": ({"P": I, "G": np.ones((1, 2)), "h": np.ones(1)}, ValueError, "needs 3 columns"),
    "G without h": ({"P": I, "G": np.ones((1, 3))}, ValueError, "G was given without h"),
    "h too long": ({"P": I, "G": np.ones((1, 3)), "h": np.ones(2)}, ValueError, r"1 rows, so \(1,\)"),
    "lower too long": ({"P": I, "lower": np.ones(4)}, ValueError, r"needs \(\) or \(3,\)"),
    "upper a dict": ({"P": I, "upper": {"x": 1.0}}, TypeError, "upper must be a number or an array"),
    "bounds crossed": ({"P": I, "lower": 1.0, "upper": 0.0}, ValueError, "lower must not exceed upper"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_named_in_one_line(what):
    arguments, error, words = WRONG[what]
    with pytest.raises(error, match=words) as caught:
        fr.QuadraticProgram(**arguments)
    assert "\n" not in str(caught.value)


def test_a_start_of_the_wrong_length_is_refused():
    problem = fr.QuadraticProgram(jnp.eye(3), lower=0.0)
    with pytest.raises((TypeError, ValueError)):
        fr.solve(problem, jnp.zeros(4))
