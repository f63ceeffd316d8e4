"""Hypergradients by the implicit function theorem: inverses, batches, tolerances, bad problems."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.core import solve
from frechet.solvers.bilevel import inverse
from frechet.solvers.bilevel.approximate_implicit import ApproximateImplicit
from frechet.solvers.bilevel.implicit_hypergradient import ImplicitHypergradient

prepared: Any = solve.prepare
RNG = np.random.default_rng(0)
Q = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
A = Q @ np.diag([0.2, 0.5, 1.0, 1.5, 2.0]) @ Q.T
B = RNG.normal(size=(5, 3))
T = RNG.normal(size=5)
RHO = 0.3


def of(matrix: np.ndarray, b: np.ndarray) -> Any:
    """What each inverse makes of ``b``, without damping and with; in NumPy."""
    series = lambda H: sum(np.linalg.matrix_power(np.eye(5) - 0.4 * H, k) for k in range(4)) @ (0.4 * b)  # noqa: E731
    return {
        "neumann": series(matrix),
        "cg": np.linalg.solve(matrix, b),
        "exact": np.linalg.solve(matrix, b),
        "identity": b,
    }


INVERSES = {
    "neumann": (lambda d: inverse.Neumann(3, damping=d), 3),
    "cg": (lambda d: inverse.ConjugateGradient(30, rtol=1e-13, damping=d), None),
    "exact": (lambda d: inverse.Exact(damping=d), 5),
    "identity": (lambda d: inverse.Identity(), 0),
}


@pytest.mark.parametrize("name", INVERSES)
def test_inverses_are_those_of_numpy_and_count_their_products(name: str) -> None:
    make, expected = INVERSES[name]
    seen = []

    @jax.jit
    def applied(damping: Any, b: Any) -> Any:
        def product(v: Any) -> Any:
            jax.debug.callback(lambda *_: seen.append(1), v["a"])
            flat = jnp.concatenate([v["a"].ravel(), v["b"]])
            Hv = A @ flat
            return {"a": Hv[:2].reshape(2, 1), "b": Hv[2:]}

        return make(damping).apply(product, b, jnp.asarray(0.4))

    with jax.enable_x64(True):
        b = {"a": jnp.asarray(T[:2].reshape(2, 1)), "b": jnp.asarray(T[2:])}
        for damping in (0.0, 0.3):
            seen.clear()
            found, products = applied(jnp.asarray(damping), b)
            jax.effects_barrier()
            got = np.concatenate([np.ravel(found["a"]), found["b"]])
            want = of(A + damping * np.eye(5), T)[name]
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
            assert len(seen) == int(products)
            assert expected is None or int(products) == expected


def quadratic() -> fr.Bilevel:
    return fr.Bilevel(
        lambda x, y: 0.5 * jnp.sum((y - T) ** 2) + 0.5 * RHO * jnp.sum(x**2),
        lambda x, y: 0.5 * y @ A @ y - y @ (B @ x),
    )


def hypergradient(x: np.ndarray) -> np.ndarray:
    J = np.linalg.solve(A, B)
    return RHO * x + J.T @ (J @ x - T)


def test_large_exact_inverses_are_solved_by_products() -> None:
    with jax.enable_x64(True):
        d = jnp.linspace(1.0, 3.0, 300)
        found, products = jax.jit(lambda b: inverse.Exact().apply(lambda v: d * v, b, None))(jnp.ones(300))
        np.testing.assert_allclose(found, 1 / d, rtol=1e-10)
        assert int(products) < 60  # the error falls by (sqrt 3 - 1)/(sqrt 3 + 1) = .27 a product


def test_tolerances_tighten_and_bound_the_error_of_aids_steps() -> None:
    """With gradient descent above, every step is along a hypergradient as near as the tolerance says."""
    with jax.enable_x64(True):
        solver = ApproximateImplicit(outer=optax.sgd(0.01))
        problem, z, solver = prepared(quadratic(), (jnp.ones(3), jnp.zeros(5)), solver)
        key = jax.random.key(0)

        def step(state: Any, _: None) -> Any:
            new = solver.step(problem, state, key=key)
            moved = (state.x.upper - new.x.upper) / 0.01
            slope = problem.inner_gradient(state.x.upper, new.x.lower)
            return new, (state.x.upper, moved, slope, state.tolerance)

        run = jax.jit(lambda s: jax.lax.scan(step, s, None, length=100)[1])
        xs, moved, slopes, tolerances = map(np.asarray, run(solver.init(problem, z, key=key)))
    assert np.all(np.linalg.norm(slopes, axis=1) <= tolerances)
    assert np.all(tolerances[1:] <= 0.9 * tolerances[:-1] * (1 + 1e-12)) and tolerances[0] < 1
    # grad f is 1-Lipschitz in y, and an error e of either system is one of at most e / mu in y or v.
    error = np.linalg.norm(moved - np.array([hypergradient(x) for x in xs]), axis=1)
    assert np.all(error <= np.linalg.norm(B, 2) * (1 + 1 / 0.2) / 0.2 * tolerances)
    assert error[-1] < 1e-3 * error[0]


def batched(data: np.ndarray, **sizes: Any) -> Any:
    """The state after a step on these data."""
    problem = fr.FiniteSumBilevel(
        lambda x, y, d: 0.5 * jnp.sum((y - d) ** 2) + 0.1 * jnp.sum(x**2),
        lambda x, y, d: 0.5 * jnp.sum((y - d * x) ** 2) + 0.5 * jnp.sum(jnp.exp(x) * y**2),
        jnp.asarray(data),
        jnp.asarray(data),
    )
    solver = ImplicitHypergradient(
        optax.adam(0.1), inner_steps=2, inverse=inverse.Neumann(3), outer=optax.adam(0.1), **sizes
    )
    problem, z, solver = prepared(problem, (jnp.full(2, 0.5), jnp.zeros(2)), solver)
    key = jax.random.key(0)
    return jax.jit(lambda z: solver.step(problem, solver.init(problem, z, key=key), key=key))(z)


def test_batches_of_equal_terms_are_the_whole_sum_and_are_counted() -> None:
    with jax.enable_x64(True):
        same = np.tile([[1.0, -2.0]], (6, 1))
        whole, part = batched(same), batched(same, batch_size=3, outer_batch_size=2)
        for a, b in zip(jax.tree.leaves(whole.x), jax.tree.leaves(part.x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    # Two lower gradients; three products, one for the step size and one with the mixed derivative.
    assert {k: int(v) for k, v in part.calls.asdict().items() if v} == {
        "hvp": 2,  # of the start's estimate, in two unknowns
        "sample": 2 * 3,
        "sample_hvp": 5 * 3,
        "outer_sample": 2,
        "prox": 1,
    }


def test_a_lower_level_that_falls_without_end_is_unbounded() -> None:
    problem = fr.Bilevel(lambda x, y: jnp.sum(y**2) + x**2, lambda x, y: y[0] ** 2 - (y[1] - x) ** 2)
    solution = fr.solve(problem, (1.0, jnp.array([0.5, 0.3])))
    assert solution.status.code == fr.Ending.UNBOUNDED
    assert np.all(np.isfinite(solution.x.lower))


def test_wrong_arguments_say_what_is_right() -> None:
    with pytest.raises(ValueError, match="an outer update that stands noise"):
        ImplicitHypergradient(batch_size=8)
    with pytest.raises(ValueError, match="inner_steps must be an integer of at least 0, got -1"):
        ImplicitHypergradient(inner_steps=-1)
    with pytest.raises(TypeError, match="inverse must be a Neumann"):
        ImplicitHypergradient(inverse="cg")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="terms must be an integer of at least 0, got -1"):
        inverse.Neumann(-1)
    with pytest.raises(ValueError, match="lower_step"):
        ImplicitHypergradient(lower_step=-1.0)
    with pytest.raises(TypeError, match="inner must be a frechet Solver"):
        ApproximateImplicit(inner=optax.sgd(0.1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="inner must take smooth problems whole"):
        ApproximateImplicit(inner=fr.solvers.SVRG())
    boxed = fr.Bilevel(lambda x, y: y**2, lambda x, y: (y - x) ** 2, inner_g=fr.convex.Box(0.0, 1.0))
    with pytest.raises(TypeError, match="smooth lower level"):
        fr.solve(boxed, (0.0, 0.0), ImplicitHypergradient())
