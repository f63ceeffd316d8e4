"""The usual methods for two levels, on quadratics whose every answer is a closed form in NumPy."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.core import loop
from frechet.core.solve import prepare
from frechet.solvers.bilevel.f2sa import F2SA
from frechet.solvers.bilevel.iterative_differentiation import IterativeDifferentiation
from frechet.solvers.bilevel.saba import SABA
from frechet.solvers.bilevel.soba import SOBA
from frechet.solvers.bilevel.stocbio import StocBiO
from frechet.workbench.data.bilevel_quadratics import Means, bilevel_quadratics, quadratic_term

P, Q = 3, 4
LEVELS = bilevel_quadratics(32, upper=P, lower=Q, seed=3)
F, G = LEVELS.means
MU, L = np.linalg.eigvalsh(G.A)[[0, -1]]
START = (np.full(P, -2.0), np.zeros(Q))


def whole() -> fr.Bilevel:
    def of(m: Means) -> Callable:
        A, B, C, a, b = (jnp.asarray(v) for v in (m.A, m.B, m.C, m.a, m.b))
        return lambda x, y: 0.5 * y @ A @ y + 0.5 * x @ B @ x + x @ C @ y + a @ y + b @ x

    return fr.Bilevel(of(F), of(G))


def sums() -> fr.FiniteSumBilevel:
    data = [jax.tree.map(jnp.asarray, tuple(terms)) for terms in (LEVELS.outer, LEVELS.inner)]
    return fr.FiniteSumBilevel(quadratic_term, quadratic_term, *data)


@eqx.filter_jit
def _after(problem: Any, x0: Any, solver: Any, steps: Any, key: Any) -> Any:
    return loop.advance(problem, solver, loop.begin(problem, x0, solver, key), steps, key).state


def after(problem: Any, solver: Any, steps: int) -> Any:
    """The state after so many steps; of how many, and of arrays in the solver, a program does not depend."""
    problem, x0, solver = prepare(problem, jax.tree.map(jnp.asarray, START), solver)
    return _after(problem, x0, solver, jnp.asarray(steps), jax.random.key(0))


def residual(s: Any) -> float:
    """Of the triple of both variables and the adjoint, by the means' matrices."""
    x, y, v = (np.asarray(u) for u in (s.x.upper, s.x.lower, s.adjoint))
    D_y = G.A @ y + G.C.T @ x + G.a
    D_v = G.A @ v + F.A @ y + F.C.T @ x + F.a
    D_x = G.C @ v + F.B @ x + F.C @ y + F.b
    return float(np.linalg.norm(np.concatenate([D_y, D_v, D_x])))


def test_soba_moves_all_three_from_the_old_point_and_its_fixed_point_is_the_solution():
    r, q = 0.5, 0.1
    x, y, v = *START, np.zeros(Q)
    for _ in range(3):
        D = G.A @ y + G.C.T @ x + G.a, G.A @ v + F.A @ y + F.C.T @ x + F.a, G.C @ v + F.B @ x + F.C @ y + F.b
        y, v, x = y - r * D[0], v - r * D[1], x - q * D[2]
    with jax.enable_x64():
        few, many = (after(whole(), SOBA(jnp.asarray(r), q), steps) for steps in (3, 3_000))
    np.testing.assert_allclose(
        np.concatenate([few.x.upper, few.x.lower, few.adjoint]), [*x, *y, *v], rtol=1e-12
    )
    assert residual(many) < 1e-10
    np.testing.assert_allclose(many.x.upper, LEVELS.solution(), atol=1e-9)


def test_soba_shortens_its_lower_steps_where_the_lower_level_becomes_steeper():
    # The lower curvature is exp(x), which rises 20-fold on the way.
    outer = lambda x, y: 0.5 * (x - 3.0) ** 2 + 0.5 * jnp.sum((y - 1.0) ** 2)  # noqa: E731
    problem = fr.Bilevel(outer, lambda x, y: 0.5 * jnp.exp(x) * jnp.sum(y**2) - jnp.sum(y))
    start = (np.array(0.0), np.zeros(1))
    with jax.enable_x64():
        found = fr.solve(problem, jax.tree.map(jnp.asarray, start), SOBA())
        fixed = fr.solve(problem, jax.tree.map(jnp.asarray, start), SOBA(lower_step=0.95))
    assert found.status.converged
    # y = exp(-x), so the hypergradient is x - 3 - (exp(-x) - 1) exp(-x).
    x = float(found.x.upper)
    assert abs(x - 3 - (np.exp(-x) - 1) * np.exp(-x)) < 1e-7
    assert not fixed.status.converged


def test_saba_converges_with_constant_steps_and_batches_where_soba_stays_in_its_noise():
    steps = {"lower_step": 0.05, "outer_step": 0.02, "batch_size": 2}
    with jax.enable_x64():
        problem = sums()
        s = after(problem, SABA(**steps), 8_000)
        noisy = after(problem, SOBA(**steps), 4_000)
    assert residual(s) < 1e-8
    assert residual(noisy) > 1e-2
    # What is remembered of the mean is the mean of what is remembered, up to rounding.
    for table, mean in zip(jax.tree.leaves(s.outer.table), jax.tree.leaves(s.outer.mean), strict=True):
        np.testing.assert_allclose(np.asarray(table).mean(axis=0), mean, atol=1e-10)


def test_batches_of_saba_divide_the_terms():
    with pytest.raises(TypeError, match="it needs a batch_size that divides the 32 terms of the upper level"):
        fr.solve(sums(), tuple(map(jnp.asarray, START)), SABA(batch_size=5))
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got None"):
        SABA(batch_size=None)  # pyright: ignore[reportArgumentType]


def penalised(lam: float) -> np.ndarray:
    """Where F2SA with this multiplier ends: a stationary point in x, y and z of one linear system."""
    n = np.zeros((Q, Q))
    rows = [
        [F.A + lam * G.A, n, (F.C + lam * G.C).T],
        [n, G.A, G.C.T],
        [F.C + lam * G.C, -lam * G.C, F.B],
    ]
    right = [F.a + lam * G.a, G.a, F.b]
    return -np.linalg.solve(np.block(rows), np.concatenate(right))[2 * Q :]


def test_f2sa_ends_where_its_penalty_does_with_a_bias_of_one_over_the_multiplier():
    multipliers = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
    with jax.enable_x64():
        problem = whole()
        of = lambda lam: after(problem, F2SA(multiplier=lam, growth=jnp.zeros(()), inner_steps=5), 3_000)  # noqa: E731
        x = np.asarray(jax.vmap(of)(jnp.asarray(multipliers)).x.upper)
    for lam, found in zip(multipliers, x, strict=True):
        np.testing.assert_allclose(found, penalised(lam), atol=1e-7)
    bias = [np.linalg.norm(LEVELS.hypergradient(v)) for v in x]
    slope = np.polyfit(np.log(multipliers[1:]), np.log(bias[1:]), 1)[0]
    # The next term of the bias is 1 / lambda smaller, which matters by a few percent from 30 on.
    assert abs(slope + 1) < 0.05, (slope, bias)


def test_the_batches_of_stocbio_leave_its_series_unbiased():
    # The lower curvature is 1 or 3, so a factor is 0.6 or -0.2, and x enters as x y.
    a, y, members, terms = 0.4, 2.0, 10_000, 5
    curvatures = jnp.array([1.0, 3.0])
    problem = fr.FiniteSumBilevel(
        lambda x, y, c: 0.5 * y**2, lambda x, y, c: 0.5 * c * y**2 - x * y, jnp.zeros(1), curvatures
    )
    solver = StocBiO(lower_step=a, outer_step=1.0, inner_steps=0, terms=terms, batch_size=1)
    with jax.enable_x64():
        problem, x0, solver = prepare(problem, (jnp.array(0.0), jnp.array(y)), solver)
        state = solver.init(problem, x0, key=jax.random.key(0))
        step = lambda key: solver.step(problem, state, key=key).x.upper  # noqa: E731
        h = -np.asarray(jax.jit(jax.vmap(step))(jax.random.split(jax.random.key(1), members)))
    powers = np.arange(terms + 1)
    exact = a * y * np.sum((1 - 2 * a) ** powers)
    shared = a * y * np.mean([np.sum((1 - c * a) ** powers) for c in (1, 3)])
    error = h.std() / members**0.5
    assert abs(h.mean() - exact) < 5 * error < abs(shared - exact) / 5


def unrolled(T: int, a: float) -> np.ndarray:
    """The direction of ITD from the start."""
    solver = IterativeDifferentiation(T, a, optax.sgd(1.0), warm_start=False)
    s = after(whole(), solver, 1)
    return START[0] - np.asarray(s.x.upper)


def test_iterative_differentiation_is_the_derivative_of_its_unrolled_steps_and_tends_to_the_exact_one():
    a = 1 / L
    with jax.enable_x64():
        problem = whole()

        def through(x: Any) -> Any:
            y = jnp.zeros(Q)
            for _ in range(3):
                y = y - a * jax.grad(problem.inner, argnums=1)(x, y)
            return problem.outer(x, y)

        short = unrolled(3, a)
        np.testing.assert_allclose(short, jax.grad(through)(jnp.asarray(START[0])), rtol=1e-12)
        found = {T: unrolled(T, a) for T in (40, 60, 400)}
    exact = LEVELS.hypergradient(START[0])
    errors = {T: np.linalg.norm(h - exact) for T, h in found.items()}
    # Once the slowest direction alone is left.
    ratio = (errors[60] / errors[40]) ** (1 / 20)
    assert abs(ratio - (1 - a * MU)) < 1e-3, (ratio, 1 - a * MU)
    assert errors[400] < 1e-10
