"""The Optimistix wrapper against Optimistix run by itself."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import frechet as fr
from frechet.solvers.wrappers.optimistix import FixedPointIteration, LevenbergMarquardt, Newton, Optimistix

PRESETS = Optimistix.presets()
A = np.random.default_rng(0).standard_normal((8, 3))


def smooth(x):
    z = A.astype(x["a"].dtype) @ jnp.append(x["a"], x["b"])
    return jnp.sum(jnp.log(jnp.cosh(z - 1))) + 0.1 * jnp.sum(z**2)


def residual(x):
    return {"r": 10 * (x["b"] - x["a"][0] ** 2), "s": 1 - x["a"], "t": 0.3 * x["a"][1] * x["b"]}


def equation(x):
    return {"a": x["a"] ** 3 + x["a"] - x["b"], "b": jnp.exp(x["b"]) - 2 + jnp.sum(x["a"]) / 5}


def contraction(x):
    return {"a": jnp.cos(x["a"] + x["b"]) / 2, "b": jnp.sin(jnp.sum(x["a"])) / 3}


KINDS = {
    fr.Composite: (fr.Composite(smooth), smooth, optx.minimise),
    fr.LeastSquares: (fr.LeastSquares(residual), residual, optx.least_squares),
    fr.Root: (fr.Root(equation), equation, optx.root_find),
    fr.FixedPoint: (fr.FixedPoint(contraction), contraction, optx.fixed_point),
}


def start(dtype=jnp.float32):
    return {"a": jnp.array([-0.6, 0.5], dtype), "b": jnp.asarray(0.2, dtype)}


def by_itself(solver, fn, run, x0, steps):
    """Optimistix's own loop for exactly so many steps."""
    return run(lambda x, _: fn(x), solver.solver, x0, max_steps=steps, throw=False).value


@pytest.mark.parametrize("name", PRESETS)
def test_steps_are_those_of_optimistix(name, precision):
    """The same iterate after few steps, before Optimistix thinks of stopping."""
    solver = PRESETS[name]
    problem, fn, run = KINDS[solver.accepts]
    for steps in (1, 4):
        ours = fr.solve(problem, start(precision), solver, tol=0.0, max_steps=steps)
        theirs = by_itself(solver, fn, run, start(precision), steps)
        for u, v in zip(jax.tree.leaves(ours.x), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(u, v, atol=2e3 * np.finfo(precision).eps)


@pytest.mark.parametrize("name", PRESETS)
def test_converges(name, precision):
    solver = PRESETS[name]
    problem = KINDS[solver.accepts][0]
    # A search that compares values sees gradients down to sqrt(eps * curvature * value), here about ten times
    # sqrt(eps) itself.
    solution = fr.solve(problem, start(precision), solver, tol=10 * np.finfo(precision).eps ** 0.5)
    assert solution.status.converged, (str(solution.status), solution.residual)


seen: Counter = Counter()


def saw(name, x):
    jax.debug.callback(lambda _: seen.update([name]), jax.tree.leaves(x)[0])


class WatchedComposite(fr.Composite):
    def value(self, x):
        saw("value", x)
        return super().value(x)

    def value_and_gradient(self, x):
        saw("gradient", x)
        return super().value_and_gradient(x)


class WatchedLeastSquares(fr.LeastSquares):
    def residual(self, x):
        saw("value", x)
        return super().residual(x)


class WatchedRoot(fr.Root):
    def optimality(self, x):
        saw("value", x)
        return super().optimality(x)


class WatchedFixedPoint(fr.FixedPoint):
    def apply(self, x):
        saw("value", x)
        return super().apply(x)


WATCHED = {
    fr.Composite: WatchedComposite(smooth),
    fr.LeastSquares: WatchedLeastSquares(residual),
    fr.Root: WatchedRoot(equation),
    fr.FixedPoint: WatchedFixedPoint(contraction),
}


@pytest.mark.parametrize("name", PRESETS)
def test_calls_are_what_the_problem_saw(name):
    """Five steps, rejections among them; as many Jacobian-vector products a linearisation as unknowns."""
    solver = PRESETS[name]
    problem = WATCHED[solver.accepts].lifted(start())
    seen.clear()

    @jax.jit
    def five(x):
        state = solver.init(problem, x, key=jax.random.key(0))

        def one(state, t):
            state = solver.step(problem, state, key=jax.random.key(t))
            return state, state.x["b"]

        return jax.lax.scan(one, state, jnp.arange(5))

    state, iterates = five(start())
    calls = {k: int(v) for k, v in state.calls.asdict().items() if v}
    jax.effects_barrier()
    assert calls["value"] == seen["value"]
    assert calls.get("gradient", 0) == seen["gradient"]
    linearisations = {"Optimistix:Chord": 1, "Optimistix:FixedPointIteration": 0}.get(name, 5)
    if solver.accepts is not fr.Composite:
        assert calls.get("hvp", 0) == 3 * linearisations
    if solver.accepts in (fr.LeastSquares, fr.Root):
        # Dogleg solves where a trial is accepted, the start first; the others solve for every trial.
        accepted = 1 + np.count_nonzero(np.diff(iterates))
        assert calls["factorisation"] == (accepted if name == "Optimistix:Dogleg" else linearisations)


@pytest.mark.parametrize("name", ["BFGS", "LevenbergMarquardt", "Newton", "FixedPointIteration"])
def test_jit_vmap_and_the_implicit_derivative(name):
    solver = PRESETS[f"Optimistix:{name}"]
    with jax.enable_x64(True):

        def problem(c):
            return {
                fr.Composite: lambda: fr.Composite(lambda x: smooth(x) + c * jnp.sum(x["a"] ** 2)),
                fr.LeastSquares: lambda: fr.LeastSquares(lambda x: (residual(x), c * x["b"])),
                fr.Root: lambda: fr.Root(lambda x: {"a": equation(x)["a"] - c, "b": equation(x)["b"]}),
                fr.FixedPoint: lambda: fr.FixedPoint(
                    lambda x: {"a": contraction(x)["a"] * c, "b": x["b"] / 2}
                ),
            }[solver.accepts]()

        of = lambda c: fr.solve(problem(c), start(float), solver, tol=tol).x["a"]  # noqa: E731
        # What rounding leaves of the residual of a linearly convergent method.
        tol = {fr.Composite: 1e-7, fr.LeastSquares: 1e-8}.get(solver.accepts, 1e-11)
        cs = jnp.array([0.3, 0.7])
        one_by_one = jnp.stack([of(c) for c in cs])
        np.testing.assert_allclose(jax.jit(jax.vmap(of))(cs), one_by_one, atol=10 * tol)
        h = 1e-2 if tol > 1e-10 else 1e-4
        expected = (of(0.5 + h) - of(0.5 - h)) / (2 * h)
        np.testing.assert_allclose(jax.jacrev(of)(0.5), expected, atol=h**2 + 10 * tol / h)


def test_steps_can_be_unrolled():
    """The derivative through the steps, with respect to the problem, agrees with finite differences."""
    with jax.enable_x64(True):

        def of(c, differentiate):
            problem = fr.LeastSquares(lambda x: jnp.array([x[0] ** 2 - c, x[0] * x[1] - 1, 0.1 * x[1]]))
            return fr.solve(
                problem, jnp.ones(2), LevenbergMarquardt(), tol=0.0, max_steps=4, differentiate=differentiate
            ).x

        h = 1e-5
        expected = (of(2.0 + h, "none") - of(2.0 - h, "none")) / (2 * h)
        np.testing.assert_allclose(jax.jacfwd(lambda c: of(c, "unroll"))(2.0), expected, rtol=1e-6)


def test_default_solvers_of_the_kinds():
    assert fr.LeastSquares(residual).default_solver() == f"{LevenbergMarquardt.__module__}:LevenbergMarquardt"
    assert fr.Root(equation).default_solver() == f"{Newton.__module__}:Newton"
    assert fr.FixedPoint(jnp.cos).default_solver() == f"{FixedPointIteration.__module__}:FixedPointIteration"
    for problem, *_ in (KINDS[fr.LeastSquares], KINDS[fr.Root], KINDS[fr.FixedPoint]):
        assert fr.solve(problem, start()).status.converged


def test_new_numbers_compile_nothing():
    problem = fr.FixedPoint(jnp.cos)
    fr.solve(problem, jnp.ones(3), FixedPointIteration(0.1))
    assert fr.solve(problem, jnp.ones(3), FixedPointIteration(0.2)).stats.compile_seconds == 0.0


def test_errors():
    with pytest.raises(TypeError, match="solver must be an Optimistix minimiser"):
        Optimistix(3)
    with pytest.raises(TypeError, match="takes a LeastSquares, not a Composite"):
        fr.solve(fr.Composite(smooth), start(), LevenbergMarquardt())
    with pytest.raises(TypeError, match="needs smooth"):
        fr.solve(fr.Composite(smooth, fr.convex.L1(0.1)), start(), PRESETS["Optimistix:BFGS"])


class Looping(optx.GradientDescent):
    """Halves until it likes the value: how often depends on the data."""

    def __init__(self):
        super().__init__(0.1, 1e-3, 1e-3)

    def step(self, fn, y, args, options, state, tags):
        y = jax.lax.while_loop(lambda y: fn(y, args)[0] > 0.5, lambda y: y / 2, y)
        return super().step(fn, y, args, options, state, tags)


def test_a_loop_of_the_solvers_own_is_counted():
    """From 3 the square is tested at 3, 3/2, 3/4 and 3/8; one more trial is the step's own."""
    problem = WatchedComposite(lambda x: x**2).lifted(jnp.asarray(3.0))
    solver = Optimistix(Looping())
    seen.clear()
    state = solver.init(problem, jnp.asarray(3.0), key=jax.random.key(0))
    before = int(state.calls.value)
    calls = jax.jit(lambda s: solver.step(problem, s, key=jax.random.key(0)))(state).calls
    jax.effects_barrier()
    assert (int(calls.value), int(calls.gradient)) == (seen["value"], seen["gradient"])
    assert int(calls.value) - before == 4 + 1
