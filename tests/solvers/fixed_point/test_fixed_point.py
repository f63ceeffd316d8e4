"""Fixed points and roots against closed forms, SciPy and the theory of each method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import frechet as fr
from frechet.solvers.fixed_point.anderson import Anderson
from frechet.solvers.fixed_point.bisection import Bisection
from frechet.solvers.fixed_point.broyden import Broyden
from frechet.solvers.fixed_point.iterative_refinement import IterativeRefinement
from frechet.solvers.fixed_point.krasnoselskii_mann import KrasnoselskiiMann

RNG = np.random.default_rng(0)


def rotation(angle, centre):
    R = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return fr.FixedPoint(lambda x: R.astype(x.dtype) @ (x - centre) + centre)


@pytest.mark.parametrize("solver", [KrasnoselskiiMann(), KrasnoselskiiMann(0.9), Anderson()])
def test_a_rotation_is_nonexpansive_and_nothing_more(solver, precision):
    centre = np.array([1.0, -2.0], precision)
    tol = 10 * float(np.finfo(precision).eps) ** 0.5
    solution = fr.solve(rotation(2.5, centre), jnp.zeros(2, precision), solver, tol=tol)
    assert solution.status.converged
    np.testing.assert_allclose(solution.x, centre, atol=2 * tol)


def test_picard_goes_round_in_circles_there():
    solution = fr.solve(
        rotation(2.5, np.ones(2, np.float32)), jnp.zeros(2), KrasnoselskiiMann(1.0), max_steps=300
    )
    assert not solution.status.converged and solution.residual > 1


def test_steps_of_krasnoselskii_and_mann():
    solution = fr.solve(
        fr.FixedPoint(jnp.cos), jnp.asarray(1.0), KrasnoselskiiMann(0.3), tol=0.0, max_steps=4
    )
    x = 1.0
    for _ in range(4):
        x = 0.7 * x + 0.3 * np.cos(x)
    np.testing.assert_allclose(solution.x, x, rtol=1e-6)


def test_anderson_ends_a_linear_iteration_in_as_many_steps_as_unknowns():
    """With full memory it is essentially GMRES (Walker, Ni 2011, theorem 2.2)."""
    with jax.enable_x64(True):
        Q = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
        M, c = Q @ np.diag([0.99, 0.9, -0.95, 0.5, 0.1, -0.3]) @ Q.T, RNG.normal(size=6)
        solution = fr.solve(
            fr.FixedPoint(lambda x: M @ x + c), jnp.zeros(6), Anderson(history=6), tol=1e-7, max_steps=10
        )
        assert solution.status.converged, solution.residual
        np.testing.assert_allclose(solution.x, np.linalg.solve(np.eye(6) - M, c), rtol=1e-5)
        assert int(solution.calls.value) == int(solution.steps) + 1


def lasso_map(n=60, p=30):
    X = RNG.normal(size=(n, p)) * np.geomspace(1, 0.1, p)
    y = X @ (RNG.normal(size=p) * (RNG.random(p) < 0.3))
    L = np.linalg.norm(X, 2) ** 2
    return lambda w: fr.convex.L1(0.5).prox(w - X.T @ (X @ w - y) / L, 1 / L)


def test_anderson_is_faster_than_what_it_accelerates_on_a_nonsmooth_map():
    with jax.enable_x64(True):
        T = lasso_map()
        plain, fast = (
            fr.solve(fr.FixedPoint(T), jnp.zeros(30), s, tol=1e-9, max_steps=100_000)
            for s in (KrasnoselskiiMann(1.0), Anderson(history=8))
        )
    assert plain.status.converged and fast.status.converged
    assert int(fast.calls.value) < int(plain.calls.value) / 3
    np.testing.assert_allclose(fast.x, plain.x, atol=1e-6)


def test_the_safeguard_keeps_a_trial_inside_of_the_domain(precision):
    """Extrapolation leaves the domain of the logarithm here; the iterate never does."""
    T = lambda x: 1.5 + 0.9 * jnp.log(x)  # noqa: E731

    solution = fr.solve(fr.FixedPoint(T), jnp.asarray(50.0, precision), Anderson(), max_steps=200)
    root = scipy.optimize.brentq(lambda x: 1.5 + 0.9 * np.log(x) - x, 1.0, 10.0)
    assert solution.status.converged
    np.testing.assert_allclose(solution.x, root, rtol=50 * np.finfo(precision).eps ** 0.5)


# ------------------------------------------------------------------ roots


def tridiagonal(x):
    """Broyden's tridiagonal function."""
    left, right = jnp.append(0.0, x[:-1]), jnp.append(x[1:], 0.0)
    return (3 - 2 * x) * x - left - 2 * right + 1


def test_broyden_against_scipy():
    with jax.enable_x64(True):
        x0 = -jnp.ones(20)
        solution = fr.solve(fr.Root(tridiagonal), x0, Broyden(), tol=1e-10)
        reference = scipy.optimize.root(tridiagonal, np.asarray(x0), tol=1e-13).x
    assert solution.status.converged
    np.testing.assert_allclose(solution.x, reference, atol=1e-9)
    assert int(solution.steps) <= 15 and int(solution.calls.hvp) == 20  # one Jacobian, no more


def test_broyden_from_afar():
    """Full steps from here diverge; the search shortens them."""
    solution = fr.solve(fr.Root(lambda x: jnp.arctan(x) * 2), jnp.asarray([5.0]), Broyden(), tol=1e-4)
    assert solution.status.converged and abs(float(solution.x[0])) < 1e-4


def test_low_precision_factors_give_high_precision_solutions():
    with jax.enable_x64(True):
        n = 40
        U, V = (np.linalg.qr(RNG.normal(size=(n, n)))[0] for _ in range(2))
        A = U @ np.diag(np.geomspace(1, 1e-5, n)) @ V.T
        x = RNG.normal(size=n)
        b = A @ x
        solution = fr.solve(fr.Root(lambda x: A @ x - b), jnp.zeros(n), IterativeRefinement(), tol=1e-14)
        once = np.linalg.solve(A.astype(np.float32), b.astype(np.float32))
        assert solution.status.converged and int(solution.steps) <= 25
        error = np.linalg.norm(solution.x - x)
        # the tolerance over the least singular value, with room for rounding
        assert error <= 2 * 1e-14 / 1e-5 < 1e-5 * np.linalg.norm(once - x)
        assert solution.state.factors[0].dtype == jnp.float32
        # an approximate inverse of one's own, and derivatives through the system itself
        near = A + 1e-7 * RNG.normal(size=(n, n))
        solver = IterativeRefinement(approximation=near, precision=jnp.float64)

        def total(b):
            found = fr.solve(fr.Root(lambda x: A @ x - b), jnp.zeros(n), solver, tol=1e-12)
            return jnp.sum(found.x), found.calls.hvp

        slope, products = jax.grad(total, has_aux=True)(jnp.asarray(b))
        np.testing.assert_allclose(slope, np.linalg.solve(A.T, np.ones(n)), rtol=1e-6)
        assert int(products) == 0


def test_bisection_of_many_scalars_at_once(precision):
    a = jnp.asarray([0.5, 2.0, 9.0], precision)
    problem = fr.Root(lambda x: {"root": a - x["root"] ** 2}, bracket=(0.0, 10.0))
    solution = fr.solve(problem, {"root": jnp.full(3, 5.0, precision)}, Bisection())
    assert solution.status.converged
    np.testing.assert_allclose(solution.x["root"], jnp.sqrt(a), atol=np.finfo(precision).eps ** 0.5)
    slope = jax.grad(
        lambda s: (
            fr.solve(
                fr.Root(lambda x: x**2 - s, bracket=(0.0, 4.0)), jnp.asarray(1.0, precision), Bisection()
            ).x
        )
    )(jnp.asarray(4.0, precision))
    np.testing.assert_allclose(slope, 0.25, rtol=1e-3)


def test_a_bracket_without_a_change_of_sign_ends_in_a_status():
    problem = fr.Root(lambda x: x**2 + 1, bracket=(-1.0, 3.0))
    solution = fr.solve(problem, jnp.asarray(1.0), Bisection())
    assert int(solution.status.code) == fr.Ending.STALLED and jnp.isfinite(solution.x)
    with pytest.raises(TypeError, match="bracket is a pair"):
        fr.Root(lambda x: x, bracket=3.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="needs bracket"):
        fr.solve(fr.Root(lambda x: x), jnp.asarray(1.0), Bisection())


def test_anderson_needs_a_memory():
    with pytest.raises(ValueError, match="at least 1"):
        Anderson(history=0)
