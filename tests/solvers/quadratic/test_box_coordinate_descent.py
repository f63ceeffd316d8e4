"""Coordinate descent in a box against SciPy's bounded least squares; derivatives; programs without an end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic.box_coordinate_descent import BoxCoordinateDescent

N = 12


def program(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(2 * N, N)) / np.sqrt(2 * N)
    y = rng.normal(size=2 * N)
    return {"P": B.T @ B, "q": -B.T @ y, "lower": np.full(N, -0.1), "upper": np.full(N, 0.3)} | {
        "B": B,
        "y": y,
    }


def test_bounded_least_squares(precision):
    data = [program(seed) for seed in range(6)]
    stacked = {k: jnp.asarray(np.stack([d[k] for d in data])) for k in ("P", "q", "lower", "upper")}
    solver = BoxCoordinateDescent()
    s = jax.vmap(lambda d: fr.solve(fr.QuadraticProgram(**d), jnp.zeros(N), solver))(stacked)
    assert s.status.converged.all()
    np.testing.assert_array_equal(s.calls.coordinate, N * s.steps)
    for x, d in zip(s.x.primal, data, strict=True):
        expected = scipy.optimize.lsq_linear(d["B"], d["y"], (d["lower"], d["upper"]), tol=1e-14).x
        # strongly convex with modulus 0.05 or so
        np.testing.assert_allclose(x, expected, atol=100 * np.sqrt(np.finfo(precision).eps))


def test_a_sweep_is_that_of_the_definition():
    d = program(0)
    x = np.linspace(-0.1, 0.3, N)
    with jax.enable_x64(True):
        problem = fr.QuadraticProgram(**{k: jnp.asarray(d[k]) for k in ("P", "q", "lower", "upper")})
        got = fr.solve(problem, jnp.asarray(x), BoxCoordinateDescent(), tol=-1.0, max_steps=1).x.primal
    for i in range(N):
        x[i] = np.clip(x[i] - (d["P"][i] @ x + d["q"][i]) / d["P"][i, i], -0.1, 0.3)
    np.testing.assert_allclose(got, x, atol=1e-14)


@pytest.mark.parametrize(("upper", "ending"), [(5.0, Ending.CONVERGED), (np.inf, Ending.UNBOUNDED)])
def test_a_coordinate_without_curvature(upper, ending, precision):
    problem = fr.QuadraticProgram(
        P=jnp.diag(jnp.array([0.0, 1.0])), q=jnp.array([-1.0, 0.0]), upper=jnp.array([upper, 1.0])
    )
    s = fr.solve(problem, jnp.zeros(2), BoxCoordinateDescent(), max_steps=50)
    assert Ending(int(s.status.code)) is ending
    assert ending is Ending.UNBOUNDED or float(s.x.primal[0]) == 5.0


def test_a_direction_without_curvature_is_unbounded():
    """No single coordinate is flat, their sum is."""
    problem = fr.QuadraticProgram(P=jnp.array([[1.0, -1.0], [-1.0, 1.0]]), q=-jnp.ones(2), lower=0.0)
    s = fr.solve(problem, jnp.zeros(2), BoxCoordinateDescent(), max_steps=20_000)
    assert Ending(int(s.status.code)) is Ending.UNBOUNDED


def test_derivatives_of_every_part_against_differences():
    rng = np.random.default_rng(5)
    d = {k: v for k, v in program(2).items() if k in ("P", "q", "lower", "upper")}
    dot = {k: rng.normal(size=v.shape) for k, v in d.items()}
    dot["P"] += dot["P"].T
    weights = rng.normal(size=N)
    with jax.enable_x64(True):

        @jax.jit
        def at(d):
            s = fr.solve(fr.QuadraticProgram(**d), jnp.zeros(N), BoxCoordinateDescent(), tol=1e-12)
            return jnp.asarray(weights) @ s.x.primal

        gradient = jax.jit(jax.grad(at))(jax.tree.map(jnp.asarray, d))
        for name, move in dot.items():
            ahead, behind = (at(d | {name: d[name] + sign * 1e-5 * move}) for sign in (1, -1))
            expected = (ahead - behind) / 2e-5
            np.testing.assert_allclose(np.sum(gradient[name] * move), expected, rtol=1e-5, atol=1e-6)
            assert abs(expected) > 1e-3
