"""Derivatives of solutions, kind by kind and solver by solver, against differences of known solutions.

The solutions that are differenced come from NumPy (closed forms, enumeration, Newton's method on the pieces);
that each solver passes on its own usual problem is a conformance check.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import frechet as fr
from frechet.core.calls import Calls
from frechet.solvers.registry import all_presets
from frechet.workbench.checking.canonical import all_cases

# For every kind each solver family once: the derivative is the problem's, a solver only finds the point.
TABLE = {
    "lasso, array": ("FISTA", "CoordinateDescent", "ProximalNewton"),
    "quadratic over a box, tree": ("LBFGSB", "SpectralProximalGradient", "Scipy:L-BFGS-B"),
    "quadratic over a simplex, array": ("ProximalGradient", "AwayStepFrankWolfe"),
    "logistic terms, tree": ("LBFGS", "NewtonCG", "Optax:lbfgs"),
    "finite sum, many": ("GradientDescent", "NonlinearCG"),
    "nonlinear least squares, array": ("LevenbergMarquardt", "GaussNewton"),
    "quadratic in a ball, tree": ("AugmentedLagrangian", "SQP", "InteriorPoint"),
    "quadratic program, array": ("QuadraticInteriorPoint", "QuadraticADMM", "PrimalDualHybridGradient"),
    "bounds alone, array": ("BoxCoordinateDescent", "AugmentedLagrangian"),
    "equations alone, array": ("DirectKKT", "InteriorPoint"),
    "root, tree": ("Optimistix:Newton", "Broyden"),
    "bracketed root, array": ("Bisection",),
    "fixed point, tree": ("Picard", "Anderson"),
    "l1 norm of a linear map and a bound, array": ("ADMM", "CondatVu"),
    "l1 norm of x and a bound, tree": ("DouglasRachford",),
}
CASES = {case.name: case for case in all_cases()}
TOL = 1e-9
ROWS = [(name, solver) for name, solvers in TABLE.items() for solver in solvers]


@functools.cache
def direction(name: str) -> dict[str, np.ndarray]:
    """A direction in all parameters at once, with symmetric matrices kept so."""
    rng = np.random.default_rng(3)
    dot = {k: 0.3 * rng.normal(size=np.shape(v)) for k, v in CASES[name].parameters.items()}
    return {k: (v + v.T) / 2 if v.ndim == 2 and v.shape[0] == v.shape[1] else v for k, v in dot.items()}


@functools.cache
def differences(name: str) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the known solution along `direction`, by differences of fourth order."""
    case, dot = CASES[name], direction(name)

    def at(t: float) -> np.ndarray:
        return flat(case.solution(**{k: v + t * dot[k] for k, v in case.parameters.items()}))

    # Errors are h^4 and rounding / h, or / h^2.
    h = 2e-3
    far, near, here = (at(2 * h), at(-2 * h)), (at(h), at(-h)), at(0.0)
    first = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * h)
    second = (16 * (near[0] + near[1]) - (far[0] + far[1]) - 30 * here) / (12 * h**2)
    return first, second


def flat(x) -> np.ndarray:
    return np.asarray(ravel_pytree(x)[0])


class Given(fr.Solver):
    """Stays where it starts: how a solution was found does not enter its derivative."""

    def init(self, problem, x0, *, key):
        return fr.State(x0, Calls())

    def step(self, problem, state, *, key):
        return state


@functools.cache
def derivatives(name: str):
    """A compiled function of a solution: status there, forward, reverse and second derivative."""
    case, dot = CASES[name], jax.tree.map(jnp.asarray, direction(name))
    parameters = jax.tree.map(jnp.asarray, case.parameters)

    def at(t, x):
        moved = {k: v + t * dot[k] for k, v in parameters.items()}
        return ravel_pytree(fr.solve(case.make(moved), x, Given(), tol=TOL).x)[0]

    def evaluate(x, weights):
        def forward(t):
            return jax.jvp(lambda t: at(t, x), (t,), (1.0,))[1]

        first, second = jax.jvp(forward, (0.0,), (1.0,))
        reverse = jax.grad(lambda t: weights @ at(t, x))(0.0)
        return first, reverse, second

    return jax.jit(evaluate)


@pytest.mark.parametrize(("name", "solver"), ROWS)
def test_forward_reverse_and_second_derivatives(name, solver):
    with jax.enable_x64(True):
        _compare(name, all_presets()[solver])


def _compare(name, solver):
    case = CASES[name]
    solution = fr.solve(case.problem(), case.start(), solver, tol=TOL, max_steps=100_000)
    assert solution.status.converged, str(solution.status)
    expected, bent = differences(name)
    weights = np.random.default_rng(5).normal(size=expected.size)
    first, reverse, second = derivatives(name)(solution.x, jnp.asarray(weights))
    size = 1 + np.linalg.norm(expected)
    assert np.linalg.norm(first - expected) <= 1e-5 * size
    assert abs(reverse - weights @ expected) <= 1e-5 * size * np.linalg.norm(weights)
    assert np.linalg.norm(second - bent) <= 1e-5 * (1 + np.linalg.norm(bent))
    assert np.linalg.norm(bent) > 1e-3  # or a second derivative of zero would pass


# ------------------------------------------------------------------ where there is no derivative, or several

BALL = np.array([0.6, 0.8])


def _first(t):
    """The solution of most of what follows: 1, but at most t."""
    return jnp.minimum(t, 1)


# What depends on t up to t = 1 and no further (or the other way round), with the solution in closed form.
WEAK = {
    "Composite, at its threshold": (
        lambda t: fr.Composite(lambda x: 0.5 * (x - 1) ** 2, fr.convex.L1(t)),
        lambda t: jnp.maximum(1 - t, 0),
    ),
    "Composite, on a ball": (
        lambda t: fr.Composite(lambda x: 0.5 * jnp.sum((x - BALL.astype(t.dtype)) ** 2), fr.convex.L2Ball(t)),
        lambda t: _first(t) * BALL.astype(t.dtype),
    ),
    "Bounded": (lambda t: fr.Bounded(lambda x: (x - 1) ** 2, upper=t), _first),
    "FiniteSum": (lambda t: fr.FiniteSum(_term, jnp.ones(2, t.dtype), fr.convex.Box(upper=t)), _first),
    "LeastSquares": (lambda t: fr.LeastSquares(lambda x: x - 1, fr.convex.Box(upper=t)), _first),
    "Constrained, an inequality": (
        lambda t: fr.Constrained(lambda x: (x - 1) ** 2, ineq=lambda x: x - t),
        lambda t: fr.KKTPoint(_first(t), None, 2 - 2 * _first(t)),
    ),
    "Constrained, a bound": (
        lambda t: fr.Constrained(lambda x: (x - 1) ** 2, g=fr.convex.Box(upper=t)),
        lambda t: fr.KKTPoint(_first(t)),
    ),
    "QuadraticProgram, an inequality": (
        lambda t: fr.QuadraticProgram(_one(t)[None], -_one(t), G=_one(t)[None], h=t[None]),
        lambda t: fr.KKTPoint(_first(t)[None], None, 1 - _first(t)[None]),
    ),
    "QuadraticProgram, a bound": (
        lambda t: fr.QuadraticProgram(_one(t)[None], -_one(t), upper=t),
        lambda t: fr.KKTPoint(_first(t)[None]),
    ),
    "LinearComposite": (
        lambda t: fr.LinearComposite(lambda x: (x - 1) ** 2, h=fr.convex.Box(upper=2 * t), K=lambda x: 2 * x),
        lambda t: fr.PrimalDual(_first(t), 1 - _first(t)),
    ),
}


def _term(x, d):
    return d * (x - 1) ** 2


def _one(t):
    return jnp.ones(1, t.dtype)


def slopes(make):
    """A compiled function of t and the solution there: its derivative in t, as a vector, by reverse mode."""

    def derivative(t, at):
        return jax.jacrev(lambda t: ravel_pytree(fr.solve(make(t), at, Given()).x)[0])(t)

    return jax.jit(derivative)


@pytest.mark.parametrize("kind", WEAK)
def test_slack_active_weakly_active_and_unsolved(kind, precision):
    """Silent and exact on either side, also where the solution does not depend on t; else flagged."""
    make, solution = WEAK[kind]
    number = functools.partial(jnp.asarray, dtype=precision)
    derivative = slopes(make)
    for t in map(number, (0.9, 1.1)):
        want = jax.jacfwd(lambda t: ravel_pytree(solution(t))[0])(t)
        found = derivative(t, solution(t))
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
        if t > 1:
            np.testing.assert_array_equal(found, 0)
    off = jax.tree.map(lambda v: v - number(0.1), solution(number(0.9)))
    for t, at, words in ((1.0, solution(number(1.0)), "at a kink"), (0.9, off, "did not converge")):
        with pytest.warns(fr.DerivativeWarning, match=words):
            jax.block_until_ready(derivative(number(t), at))
            jax.effects_barrier()


HALVES = (0.5, 0.5)
SINGULAR = {
    "Composite": (lambda t: fr.Composite(lambda x: (x.sum() - t) ** 2), HALVES),
    "Bounded": (lambda t: fr.Bounded(lambda x: (x.sum() - t) ** 2, -9.0, 9.0), HALVES),
    "LeastSquares": (lambda t: fr.LeastSquares(lambda x: x.sum() - t), HALVES),
    "FiniteSum": (lambda t: fr.FiniteSum(lambda x, d: (x.sum() - d) ** 2, jnp.stack([t, t])), HALVES),
    "Root": (lambda t: fr.Root(lambda x: (x - t) ** 2), (1.0, 1.0)),
    "FixedPoint": (lambda t: fr.FixedPoint(lambda x: x[::-1] * t), HALVES),
    "Constrained": (  # two multiples of one equation, so the multipliers are not unique
        lambda t: fr.Constrained(lambda x: (x[0] - 3) ** 2, eq=lambda x: jnp.stack([x[0], 2 * x[0]]) - t),
        fr.KKTPoint((0.0,), (2.0, 2.0)),
    ),
    "QuadraticProgram": (
        lambda t: fr.QuadraticProgram(q=jnp.ones(2, t.dtype), A=jnp.ones((1, 2), t.dtype), b=t[None]),
        fr.KKTPoint(HALVES, (-1.0,)),
    ),
    "LinearComposite": (
        lambda t: fr.LinearComposite(h=fr.convex.L1(t), K=lambda x: x.sum(keepdims=True)),
        fr.PrimalDual((0.5, -0.5), (0.0,)),
    ),
}


@pytest.mark.parametrize("kind", SINGULAR)
def test_a_singular_jacobian_is_flagged(kind, precision):
    make, point = SINGULAR[kind]
    at = jax.tree.map(lambda v: jnp.asarray(v, precision), point, is_leaf=lambda v: type(v) is tuple)
    t = jnp.asarray(0.0 if kind == "Constrained" else 1.0, precision)
    with pytest.warns(fr.DerivativeWarning, match="singular"):
        jax.block_until_ready(slopes(make)(t, at))
        jax.effects_barrier()
