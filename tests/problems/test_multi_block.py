"""Problems of many lower problems: the oracles of blocks against NumPy, and data that disagree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.workbench.checking.counting import instrumented

RNG = np.random.default_rng(0)
M, N, D, P = 4, 5, 3, 2
ROWS = RNG.normal(size=(M, N, D))
GOALS = RNG.normal(size=(M, 2, D))
X, Y, V = RNG.normal(size=P), RNG.normal(size=(M, D)), RNG.normal(size=(M, D))
BLOCKS = np.array([3, 1])
TERMS = np.array([[0, 0, 4], [2, 3, 1]])


def outer(x: Any, y: Any, goal: Any) -> Any:
    return 0.5 * jnp.sum((y - goal) ** 2) * (1 + x[0] ** 2)


def inner(x: Any, y: Any, row: Any) -> Any:
    return 0.5 * (row @ y - x[0]) ** 2 + 0.5 * jnp.exp(x[1]) * y @ y


def make() -> tuple[Any, jax.Array, jax.Array]:
    problem = fr.MultiBlockBilevel(outer, inner, jnp.asarray(GOALS), jnp.asarray(ROWS))
    x, y = jnp.asarray(X), jnp.asarray(Y)
    return problem.lifted((x, y)), x, y


def by_hand(i: int, terms: Any) -> tuple:
    """Gradients and second derivatives of block i over some of its terms."""
    y, v, a, ridge = Y[i], V[i], ROWS[i][terms], np.exp(X[1])
    r = a @ y - X[0]
    H = a.T @ a / len(a) + ridge * np.eye(D)
    goal = GOALS[i].mean(axis=0)
    spread = np.mean(np.sum((y - GOALS[i]) ** 2, axis=1))
    return (
        a.T @ r / len(a) + ridge * y,
        H,
        np.array([-a.mean(axis=0) @ v, ridge * y @ v]),
        H @ v,
        np.array([spread * X[0], 0]),
        (1 + X[0] ** 2) * (y - goal),
    )


@pytest.mark.parametrize("terms", [None, TERMS], ids=["all terms", "drawn terms"])
def test_oracles_of_blocks_are_those_of_numpy_and_counted(terms):
    with jax.enable_x64():
        problem, x, y = make()
        counting, seen = instrumented(problem)
        problem: Any = counting
        blocks, drawn = jnp.asarray(BLOCKS), None if terms is None else jnp.asarray(terms)
        rows, v = y[blocks], jnp.asarray(V)[blocks]
        slopes = problem.block_gradients(x, rows, blocks, drawn)
        crossed, curved = problem.block_products(x, rows, v, blocks, drawn)
        hessians = problem.block_hessians(x, rows, blocks, drawn)
        f_x, f_y = problem.block_outer_gradients(x, rows, blocks, None)
        jax.effects_barrier()
        found = (slopes, hessians, crossed, curved, f_x, f_y)
        for k, i in enumerate(BLOCKS):
            for a, b in zip(found, by_hand(i, slice(None) if terms is None else terms[k]), strict=True):
                np.testing.assert_allclose(a[k], b, atol=1e-12)
    count = 2 * (N if terms is None else 3)
    assert dict(seen) == {"sample": count, "sample_hvp": count + D * count, "outer_sample": 2 * 2}


def test_to_other_solvers_it_is_one_bilevel_problem():
    """Its upper objective is a mean over blocks, the lower one a sum, the hypergradient that of both."""
    with jax.enable_x64():
        problem, x, y = make()
        every = [by_hand(i, slice(None)) for i in range(M)]
        np.testing.assert_allclose(problem.inner_gradient(x, y), [b[0] for b in every], atol=1e-12)
        crossed, curved = problem.inner_products(x, y, jnp.asarray(V))
        np.testing.assert_allclose(crossed, sum(b[2] for b in every), atol=1e-12)
        np.testing.assert_allclose(curved, [b[3] for b in every], atol=1e-12)
        f_x, f_y = problem.outer_gradients(x, y)
        np.testing.assert_allclose(f_x, np.mean([b[4] for b in every], axis=0), atol=1e-12)
        np.testing.assert_allclose(f_y, np.array([b[5] for b in every]) / M, atol=1e-12)

        def of_x(x: np.ndarray) -> float:
            total = 0.0
            for a, goals in zip(ROWS, GOALS, strict=True):
                y = np.linalg.solve(a.T @ a / N + np.exp(x[1]) * np.eye(D), a.mean(axis=0) * x[0])
                total += np.mean(0.5 * np.sum((y - goals) ** 2, axis=1)) * (1 + x[0] ** 2) / M
            return total

        h = 1e-5
        slopes = [(of_x(X + h * e) - of_x(X - h * e)) / (2 * h) for e in np.eye(P)]
        solved, worked = problem.solve_lower(problem.start((x, y)))
        assert worked
        np.testing.assert_allclose(problem.hypergradient(solved), slopes, atol=1e-8)
        assert float(problem.objective(solved)) == pytest.approx(of_x(X), abs=1e-12)


def test_blocks_that_disagree_are_named():
    with pytest.raises(ValueError, match="outer_data have 3 blocks, inner_data 4; both need one"):
        fr.MultiBlockBilevel(outer, inner, GOALS[:3], ROWS)
    with pytest.raises(ValueError, match=r"outer_data needs the same two leading axes.*\(4, 2, 3\), \(4,\)"):
        fr.MultiBlockBilevel(outer, inner, (GOALS, GOALS[:, 0, 0]), ROWS)
    problem = fr.MultiBlockBilevel(outer, inner, GOALS, ROWS)
    for lower, found in ((jnp.zeros((5, D)), "has 5 blocks, the data have 4"), (jnp.zeros(()), "no axis of")):
        with pytest.raises(ValueError, match=found):
            fr.solve(problem, (jnp.zeros(P), lower), fr.solvers.BSVRB())
    with pytest.raises(TypeError, match=r"outer_loss must return a scalar, got shape \(3,\)"):
        fr.MultiBlockBilevel(lambda x, y, goal: y - goal, inner, GOALS, ROWS).outer_value(X, Y)
