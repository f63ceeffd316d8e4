"""The direct solution with equations alone against NumPy's; dependent rows; programs without a solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core.status import Ending
from frechet.solvers.quadratic.direct import DirectKKT

N, M = 10, 4


def program(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(N, N))
    A = rng.normal(size=(M, N))
    return {"P": B @ B.T / N, "q": rng.normal(size=N), "A": A, "b": rng.normal(size=M)}


def reference(d: dict[str, np.ndarray]) -> np.ndarray:
    m = len(d["b"])
    system = np.block([[d["P"], d["A"].T], [d["A"], np.zeros((m, m))]])
    return np.linalg.lstsq(system, np.concatenate([-d["q"], d["b"]]), rcond=1e-10)[0]


# Data are traced, so that rows which depend on each other reach the solver.
@jax.jit
def solve(d: dict) -> fr.Solution:
    return fr.solve(fr.QuadraticProgram(**d), jnp.zeros(N), DirectKKT(), max_steps=100)


def cast(d: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return {k: jnp.asarray(v) for k, v in d.items()}


@pytest.mark.parametrize("seed", range(3))
def test_one_step_and_its_refinement(seed, precision):
    s = solve(cast(program(seed)))
    assert s.status.converged
    assert int(s.steps) <= 3 and int(s.calls.factorisation) == 1 and int(s.calls.matvec) == 3 * int(s.steps)
    found = np.concatenate([s.x.primal, s.x.dual_eq])
    np.testing.assert_allclose(found, reference(program(seed)), atol=300 * np.finfo(precision).eps ** 0.5)


def test_badly_scaled():
    d = program(0)
    D, E = 10.0 ** np.linspace(-3, 3, N), 10.0 ** np.linspace(2, -2, M)
    scaled = {"P": D[:, None] * d["P"] * D, "q": D * d["q"], "A": E[:, None] * d["A"] * D, "b": E * d["b"]}
    with jax.enable_x64(True):
        s = solve(cast(scaled))
    assert s.status.converged
    np.testing.assert_allclose(D * np.asarray(s.x.primal), reference(d)[:N], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gap", [0.0, 1e-9])
def test_dependent_rows(gap):
    """A row that repeats another, or nearly; its equation says the same."""
    d = program(1)
    d["A"][3], d["b"][3] = d["A"][0] + gap * d["A"][1], d["b"][0] + gap * d["b"][1]
    with jax.enable_x64(True):
        s = solve(cast(d))
    assert s.status.converged
    three = d | {"A": d["A"][:3], "b": d["b"][:3]}
    np.testing.assert_allclose(s.x.primal, reference(three)[:N], atol=1e-6)


def test_contradictions_and_no_end(precision):
    against = program(1)
    against["A"][3], against["b"][3] = against["A"][0], against["b"][0] + 1
    assert Ending(int(solve(cast(against)).status.code)) is Ending.INFEASIBLE
    endless = program(2)
    endless["P"][0], endless["P"][:, 0], endless["A"][:, 0] = 0, 0, 0
    assert Ending(int(solve(cast(endless)).status.code)) is Ending.UNBOUNDED


def test_derivatives_of_every_part_are_those_of_the_linear_system():
    rng = np.random.default_rng(5)
    d = program(3)
    dot = {k: rng.normal(size=v.shape) for k, v in d.items()}
    dot["P"] += dot["P"].T
    h = 1e-6
    with jax.enable_x64(True):
        for name, move in dot.items():
            tangents = {k: jnp.asarray(move if k == name else 0 * v) for k, v in d.items()}
            got = jax.jvp(lambda d: solve(d).x, (cast(d),), (tangents,))[1]
            ahead, behind = (reference(d | {name: d[name] + sign * h * move}) for sign in (1, -1))
            expected = (ahead - behind) / (2 * h)
            np.testing.assert_allclose(
                np.concatenate([got.primal, got.dual_eq]), expected, rtol=1e-5, atol=1e-5
            )
