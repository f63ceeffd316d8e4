"""SciPy's methods for constraints against published solutions, SciPy by itself and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import frechet as fr
from frechet.solvers.wrappers.scipy import Scipy
from frechet.solvers.wrappers.scipy_runs import multipliers

METHODS = ["SLSQP", "trust-constr"]


def hock_schittkowski_71(area=40.0, product=25.0):
    """Problem 71 of Hock and Schittkowski 1981, with its right-hand sides as parameters."""
    return fr.Constrained(
        lambda x: x["a"][0] * x["b"] * (x["a"].sum()) + x["a"][2],
        eq=lambda x: jnp.sum(x["a"] ** 2) + x["b"] ** 2 - area,
        ineq=lambda x: {"product": product - jnp.prod(x["a"]) * x["b"]},
        g=fr.convex.Box(1.0, 5.0),
    )


def start(dtype=float):
    return {"a": jnp.array([1.0, 5.0, 5.0], dtype), "b": jnp.ones((), dtype)}


@pytest.mark.parametrize("method", METHODS)
def test_published_solution_and_multipliers(method, precision):
    """The solution is the book's with two unknowns exchanged, the multipliers are those Ipopt prints."""
    tol = 100 * np.finfo(precision).eps ** 0.5
    solution = fr.solve(hock_schittkowski_71(), start(precision), Scipy(f"constrained:{method}"), tol=tol)
    assert solution.status.converged, (str(solution.status), solution.residual)
    x = np.append(solution.x.primal["a"], solution.x.primal["b"])
    np.testing.assert_allclose(np.sort(x), [1.0, 1.37940829, 3.82114998, 4.74299963], atol=10 * tol)
    assert abs(float(hock_schittkowski_71().objective(solution.x)) - 17.0140173) < 100 * tol
    assert solution.x.primal["a"].dtype == solution.x.dual_ineq["product"].dtype == precision
    np.testing.assert_allclose(solution.x.dual_ineq["product"], 0.55229366, atol=20 * tol)
    np.testing.assert_allclose(solution.x.dual_eq, 0.16146857, atol=20 * tol)


@pytest.mark.parametrize("method", METHODS)
def test_evaluations_are_those_of_scipy_by_itself(method):
    with jax.enable_x64(True):
        problem = hock_schittkowski_71()
        begin = {"a": jnp.array([1.5, 4.5, 4.0]), "b": jnp.asarray(1.2)}
        solver, point = Scipy(f"constrained:{method}"), problem.start(begin)
        problem = problem.lifted(point)
        one = jax.jit(lambda s: solver.step(problem, s, key=jax.random.key(0)))
        state, ours = solver.init(problem, point, key=jax.random.key(0)), []
        for _ in range(12):
            if int(state.reply.query) == 0:
                ours.append(np.array(state.reply.point[:4]))
            state = one(state)

        theirs = []
        of = lambda x: {"a": x[:3], "b": x[3]}  # noqa: E731
        f = jax.jit(lambda x: problem.value(of(x)))
        rows = [jax.jit(lambda x: problem.equality(of(x)))]
        rows += [jax.jit(lambda x: problem.inequality(of(x))["product"])]
        hessian = jax.jit(jax.hessian(lambda x, v: v[0] * rows[0](x) + v[1] * rows[1](x)))

        def watched(x):
            theirs.append(x.copy())
            return float(f(x))

        if method == "SLSQP":
            signed = [("eq", rows[0]), ("ineq", jax.jit(lambda x: -rows[1](x)))]
            constraints = [{"type": kind, "fun": r, "jac": jax.grad(r)} for kind, r in signed]
            extra = {}
        else:
            both = lambda x: jnp.stack([r(x) for r in rows])  # noqa: E731
            constraints = scipy.optimize.NonlinearConstraint(
                lambda x: np.asarray(both(x)),
                [0, -np.inf],
                [0, 0],
                jac=lambda x: np.asarray(jax.jacfwd(both)(x)),
                hess=lambda x, v: np.asarray(hessian(x, v)),
            )
            extra = {"hess": lambda x: np.asarray(jax.hessian(f)(x))}
        scipy.optimize.minimize(
            watched,
            np.append(begin["a"], begin["b"]),
            jac=jax.grad(f),
            method=method,
            tol=0.0,
            bounds=scipy.optimize.Bounds([1.0] * 4, [5.0] * 4, keep_feasible=True),
            constraints=constraints,
            options={"maxiter": 15},
            **extra,
        )
        assert len(ours) >= 2
        for p, q in zip(ours, theirs, strict=False):
            np.testing.assert_allclose(p, np.clip(q, 1, 5), rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_derivative_under_jit_and_vmap(method):
    """Of the solution and its multipliers in a constraint's right-hand side, for a batch of them."""
    with jax.enable_x64(True):

        def point(area):
            problem = hock_schittkowski_71(area)
            return fr.solve(problem, start(), Scipy(f"constrained:{method}"), tol=1e-6)

        areas = jnp.array([38.0, 40.0, 45.0])
        solution = jax.jit(jax.vmap(point))(areas)
        assert bool(jnp.all(solution.status.converged)), str(solution.status)
        value = lambda area: hock_schittkowski_71(area).objective(point(area).x)  # noqa: E731
        # The multiplier is the value's derivative in the right-hand side.
        np.testing.assert_allclose(jax.jit(jax.grad(value))(40.0), -solution.x.dual_eq[1], atol=1e-4)
        h = 1e-2
        expected = (point(40 + h).x.primal["a"] - point(40 - h).x.primal["a"]) / (2 * h)
        got = jax.jacrev(lambda area: point(area).x.primal["a"])(40.0)
        np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x64", [False, True])
def test_what_cannot_be_met_is_not_called_solved(method, x64):
    with jax.enable_x64(x64):
        problem = fr.Constrained(
            lambda x: jnp.sum(x**4), eq=lambda x: jnp.sum(x) - 3.0, ineq=lambda x: jnp.sum(x**2) - 1.0
        )
        solution = fr.solve(problem, jnp.zeros(2), Scipy(f"constrained:{method}"), max_steps=300)
        assert solution.status.name in ("stalled", "max_steps")
        # Nothing in the disc sums to more than sqrt(2): some row is off by a third at least.
        assert float(problem.infeasibility(solution.x.primal)) > 1 / 3
        assert bool(jnp.all(jnp.isfinite(solution.x.primal)))


@pytest.mark.parametrize("method", METHODS)
def test_bounds_alone_and_a_start_beyond_them(method):
    """Without constraints there are no Jacobians; nothing is evaluated out of bounds, whatever the start."""
    with jax.enable_x64(True):
        H = jnp.array([[2.0, 1.0], [1.0, 3.0]])
        problem = fr.Constrained(lambda x: 0.5 * x @ H @ x - x.sum(), g=fr.convex.Box(0.0, 0.3))
        solver, x0 = Scipy(f"constrained:{method}"), jnp.array([4.0, -1.0])
        lifted, point = problem.lifted(x0), problem.start(x0)

        def one(state, _):
            return solver.step(lifted, state, key=jax.random.key(0)), state.reply.point

        first = solver.init(lifted, point, key=jax.random.key(0))
        asked = jax.jit(lambda s: jax.lax.scan(one, s, length=60)[1])(first)
        assert np.all((asked >= 0) & (asked <= 0.3)) and len(np.unique(asked, axis=0)) > 2
        solution = fr.solve(problem, x0, solver, tol=1e-6)
        # The first coordinate is held at 0.3; the second solves 0.3 + 3 y = 1.
        np.testing.assert_allclose(solution.x.primal, [0.3, 0.7 / 3], atol=1e-6)
        assert solution.status.converged and int(solution.calls.jacobian) == 0 < int(solution.calls.gradient)


@pytest.mark.parametrize("method", METHODS)
def test_a_quadratic_program(method):
    """Projection onto the probability simplex: equations with bounds, in closed form."""
    with jax.enable_x64(True):
        c = np.array([0.9, 0.2, -0.4, 0.5])
        problem = fr.QuadraticProgram(jnp.eye(4), -jnp.asarray(c), jnp.ones((1, 4)), jnp.ones(1), lower=0.0)
        solution = fr.solve(problem, jnp.full(4, 0.25), Scipy(f"constrained:{method}"), tol=1e-6)
        assert solution.status.converged, (str(solution.status), solution.residual)
        np.testing.assert_allclose(solution.x.primal, np.maximum(c - 0.2, 0), atol=1e-5)
        np.testing.assert_allclose(solution.x.dual_eq, [0.2], atol=1e-5)


def test_multipliers_are_exact_at_a_solution():
    """Points of which multipliers are known because the gradient was made of them."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, equations = 6, 2
        jacobian, x = rng.normal(size=(5, n)), rng.normal(size=n)
        true = np.array([*rng.normal(size=equations), 0.0, *rng.uniform(0.5, 2, size=2)])
        rows = np.array([0.0, 0.0, -rng.uniform(0.1, 1), 0.0, 0.0])
        lower, upper = np.full(n, -np.inf), x + 1.0
        lower[0], pull = x[0], np.zeros(n)
        pull[0] = rng.uniform(0.5, 2)
        found = multipliers(pull - true @ jacobian, rows, jacobian, x, lower, upper, equations)
        np.testing.assert_allclose(found, true, atol=1e-10)


def test_errors():
    problem = fr.Constrained(jnp.sum, ineq=lambda x: x @ x - 1, g=fr.convex.L1(1.0))
    with pytest.raises(TypeError, match="takes a smooth problem, with bounds at most"):
        fr.solve(problem, jnp.zeros(2), Scipy("constrained:SLSQP"))
    with pytest.raises(TypeError, match="takes a Composite, not a Constrained; use constrained:SLSQP"):
        fr.solve(hock_schittkowski_71(), start(), Scipy("SLSQP"))
