"""The SciPy wrapper against SciPy calling the same functions by itself."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

import frechet as fr
from frechet.solvers.wrappers import dialogue
from frechet.solvers.wrappers.scipy import Scipy

PRESETS = {n: s for n, s in Scipy.presets().items() if s.accepts is not fr.Constrained}
MINIMISERS = [n for n, s in PRESETS.items() if s.accepts is fr.Composite]
BOUNDED = [s.method for s in PRESETS.values() if s.fits(fr.Bounded(lambda x: x, 0.0)) is None]
BOUNDED += ["least_squares:trf", "least_squares:dogbox"]
WITHOUT_GRADIENTS = ["Nelder-Mead", "Powell"]
A = np.random.default_rng(0).standard_normal((8, 3))


def smooth(x):
    z = A.astype(x["a"].dtype) @ jnp.append(x["a"], x["b"])
    return jnp.sum(jnp.log(jnp.cosh(z - 1))) + 0.1 * jnp.sum(z**2)


def residual(x):
    return {"r": 10 * (x["b"] - x["a"][0] ** 2), "s": 1 - x["a"], "t": 0.3 * x["a"][1] * x["b"]}


def equation(x):
    return {"a": x["a"] ** 3 + x["a"] - x["b"], "b": jnp.exp(x["b"]) - 2 + jnp.sum(x["a"]) / 5}


KINDS = {
    fr.Composite: fr.Composite(smooth),
    fr.LeastSquares: fr.LeastSquares(residual),
    fr.Root: fr.Root(equation),
}


def start(dtype=jnp.float32):
    return {"a": jnp.array([-0.6, 0.5], dtype), "b": jnp.asarray(0.2, dtype)}


def asked_of_us(solver, problem, x0, steps):
    """What SciPy asks in the first steps, as (query, point, vector)."""
    problem = problem.lifted(x0)
    state = solver.init(problem, x0, key=jax.random.key(0))

    def one(state, _):
        r = state.reply
        return solver.step(problem, state, key=jax.random.key(0)), (r.query, r.point, r.vector)

    queries, points, vectors = jax.jit(lambda s: jax.lax.scan(one, s, length=steps)[1])(state)
    return [(int(q), *map(np.asarray, pv)) for q, *pv in zip(queries, points, vectors, strict=True) if q >= 0]


@functools.cache
def functions(kind):
    """Of a kind's problem: value and gradient, product with the Hessian, residual and Jacobian."""
    problem, unravel = KINDS[kind], ravel_pytree(start(float))[1]
    value_and_grad = jax.value_and_grad(lambda z: problem.value(unravel(z)))

    def residual_of(z):
        r = problem.residual if kind is fr.LeastSquares else problem.optimality
        return ravel_pytree(r(unravel(z)))[0]

    def product(x, p):
        return jax.jvp(lambda z: value_and_grad(z)[1], (x,), (p,))[1]

    return tuple(jax.jit(f) for f in (value_and_grad, product, residual_of, jax.jacfwd(residual_of)))


def asked_by_itself(solver, x0):
    """The same from SciPy with plain callbacks."""
    flat = np.asarray(ravel_pytree(x0)[0])
    log, none = [], np.zeros(flat.size)
    value_and_grad, product, residual_of, jacobian = functions(solver.accepts)
    name = solver.method.rpartition(":")[2]

    def fun(x):
        log.append((0, x.copy(), none))
        value, gradient = value_and_grad(x)
        return float(value), np.asarray(gradient)

    def hessp(x, p):
        log.append((1, x.copy(), np.array(p)))
        return np.asarray(product(x, np.asarray(p, float)))

    def res(x):
        log.append((0, x.copy(), none))
        return np.asarray(residual_of(x))

    def jac(x):
        log.append((1, x.copy(), none))
        return np.asarray(jacobian(x))

    if name in WITHOUT_GRADIENTS:
        # Both ask for values alone.
        resolution = {"xtol": np.finfo(float).eps ** 0.5} if name == "Powell" else {}
        options = {"maxfev": 60} | resolution
        scipy.optimize.minimize(lambda x: fun(x)[0], flat, method=name, tol=0.0, options=options)
    elif solver.accepts is fr.Composite:
        wants = name in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
        extra = {"hessp": hessp} if wants else {}
        scipy.optimize.minimize(fun, flat, jac=True, method=name, tol=0.0, **extra)
    elif solver.accepts is fr.LeastSquares:
        tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-15)
        scipy.optimize.least_squares(res, flat, jac, method=name, **tight)
    else:
        scipy.optimize.root(res, flat, jac=jac, method=name, tol=0.0)
    return log


@pytest.mark.parametrize("name", PRESETS)
def test_evaluations_are_those_of_scipy_by_itself(name):
    """The same points in the same order, from the first to well into convergence."""
    with jax.enable_x64(True):
        solver = PRESETS[name]
        problem = KINDS[solver.accepts]
        with np.errstate(all="ignore"):
            theirs = asked_by_itself(solver, start(float))
        n = min(len(theirs), 14)
        ours = asked_of_us(solver, problem, start(float), n)
        assert len(ours) == n >= 5
        for (q, point, vector), (query, x, p) in zip(ours, theirs, strict=False):
            assert q == query
            np.testing.assert_allclose(point, x, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(vector, p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_converges(name, precision):
    solver = PRESETS[name]
    # Comparing values sees no smaller gradients here, nor does stepping by values alone.
    tol = (40 if solver.method in WITHOUT_GRADIENTS else 10) * np.finfo(precision).eps ** 0.5
    solution = fr.solve(KINDS[solver.accepts], start(precision), solver, tol=tol)
    assert solution.status.converged, (str(solution.status), solution.residual)
    assert all(v.dtype == precision for v in jax.tree.leaves(solution.x))
    x = jax.tree.map(lambda v: np.asarray(v, float), solution.x)
    if solver.accepts is fr.Root:
        np.testing.assert_allclose(ravel_pytree(equation(x))[0], 0, atol=2 * tol)


@functools.cache
def least_in_the_box(kind):
    """A problem in a box, a start, and the least value by SciPy itself."""
    box = fr.convex.Box({"a": jnp.array([-0.3, -1.0]), "b": -0.1}, {"a": jnp.array([0.4, 0.25]), "b": 0.3})
    problem = kind(smooth if kind is fr.Composite else residual, box)
    inside = {"a": jnp.array([0.1, 0.1]), "b": jnp.asarray(0.1)}
    flat, unravel = ravel_pytree(inside)
    value_and_grad = jax.jit(jax.value_and_grad(lambda z: problem.value(unravel(z))))
    bounds = scipy.optimize.Bounds([-0.3, -1.0, -0.1], [0.4, 0.25, 0.3])
    reference = scipy.optimize.minimize(value_and_grad, flat, jac=True, bounds=bounds)
    return problem, inside, reference.fun


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_kept_at_every_evaluation(name):
    with jax.enable_x64(True):
        solver = Scipy(name)
        problem, inside, least = least_in_the_box(
            fr.Composite if solver.accepts is fr.Composite else fr.LeastSquares
        )
        solution = fr.solve(problem, inside, solver, tol=1e-4 if name in WITHOUT_GRADIENTS else 1e-6)
        assert solution.status.converged, (str(solution.status), solution.residual)
        for _, point, _ in asked_of_us(solver, problem, inside, 20):
            assert np.all(point >= [-0.3, -1.0, -0.1]) and np.all(point <= [0.4, 0.25, 0.3])
        assert float(problem.value(solution.x)) <= least + 1e-6


def of_bound(u, method="L-BFGS-B", tol=1e-7):
    box = fr.convex.Box({"a": -1.0, "b": -1.0}, {"a": u, "b": 2.0})
    return fr.solve(fr.Composite(smooth, box), start(float), Scipy(method), tol=tol)


@functools.cache
def by_lbfgsb():
    """Bounds, the solutions for them, and the derivative in the first by differences."""
    us, h = jnp.array([0.05, 0.1, 3.0]), 1e-3
    solutions = jax.jit(jax.vmap(lambda u: of_bound(u, "L-BFGS-B", 1e-8).x))(
        jnp.concatenate([us, us[:1] + h, us[:1] - h])
    )
    slopes = jax.tree.map(lambda v: (v[3] - v[4]) / (2 * h), solutions)
    return us, jax.tree.map(lambda v: v[:3], solutions), slopes


@pytest.mark.parametrize("name", BOUNDED[:-2])
def test_bounds_under_jit_and_vmap_and_their_implicit_derivative(name):
    """Of two coordinates that share a bound one is held by it; the other and ``b`` follow."""
    with jax.enable_x64(True):
        tol = 1e-4 if name in WITHOUT_GRADIENTS else 1e-7
        us, reference, expected = by_lbfgsb()

        def batch(us):
            solution = jax.vmap(lambda u: of_bound(u, name, tol))(us)
            return solution.x, (solution.x, solution.status)

        jacobian, (x, status) = jax.jit(jax.jacrev(batch, has_aux=True))(us)
        assert bool(jnp.all(status.converged)), str(status)
        for u, v in zip(jax.tree.leaves(x), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(u, v, atol=20 * tol)
        got = jax.tree.map(lambda v: v[0, ..., 0], jacobian)  # of the first member in its own bound
        for u, v in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(u, v, atol=1e-4 + 20 * tol)
        assert float(got["a"][0]) == 1  # held


def test_calls_are_what_the_problem_saw():
    from collections import Counter

    seen = Counter()

    class Watched(fr.Composite):
        def value_and_gradient(self, x):
            jax.debug.callback(lambda _: seen.update(["value"]), x["b"])
            return super().value_and_gradient(x)

        def hvp(self, x, v):
            jax.debug.callback(lambda _: seen.update(["hvp"]), x["b"])
            return super().hvp(x, v)

    solution = fr.solve(Watched(smooth), start(), Scipy("Newton-CG"), tol=0.0, max_steps=23)
    jax.effects_barrier()
    calls = {k: int(v) for k, v in solution.calls.asdict().items()}
    assert (calls["value"], calls["gradient"], calls["hvp"]) == (seen["value"], seen["value"], seen["hvp"])
    assert calls["value"] + calls["hvp"] == 23


def x_of(c, method="BFGS", tol=1e-7):
    problem = fr.Composite(lambda x: smooth(x) + c * jnp.sum(x["a"] ** 2))
    return fr.solve(problem, start(float), Scipy(method), tol=tol).x["a"]


def test_jit_vmap_and_the_implicit_derivative():
    """Members of a batch share SciPy's thread pool and stop at different times."""
    with jax.enable_x64(True):
        cs = jnp.array([0.0, 0.3, 10.0])
        one_by_one = jnp.stack([x_of(c) for c in cs])
        # A batched matrix product rounds differently from a single one.
        np.testing.assert_allclose(jax.jit(jax.vmap(x_of))(cs), one_by_one, atol=1e-6)
        h = 1e-2
        expected = (x_of(0.5 + h) - x_of(0.5 - h)) / (2 * h)
        np.testing.assert_allclose(jax.jacrev(x_of)(0.5), expected, atol=h**2 + 1e-4)


def test_one_solve_inside_another():
    """A callback's program starts another with callbacks of its own; no thread waits for itself."""
    with jax.enable_x64(True):

        def outer(c):
            inner = fr.Composite(lambda x: jnp.sum((x - c) ** 2 + 0.1 * x**4))
            return jnp.sum((fr.solve(inner, jnp.zeros(2), Scipy()).x - 2.0) ** 2)

        solution = fr.solve(fr.Composite(outer), jnp.ones(2), Scipy(), tol=1e-6)
        np.testing.assert_allclose(solution.x, 2 + 0.2 * 2.0**3, atol=1e-5)


def test_a_run_is_made_again_from_its_tape():
    """Without the threads, as after a resume in another process, the steps are bit for bit the same."""
    with jax.enable_x64(True):
        solver, problem = Scipy("trust-ncg"), fr.Composite(smooth).lifted(start(float))
        step = jax.jit(lambda s: solver.step(problem, s, key=jax.random.key(0)))
        straight = broken = solver.init(problem, start(float), key=jax.random.key(0))
        for _ in range(15):
            straight = step(straight)
        for t in range(15):
            if t % 4 == 1:
                while dialogue._runs:
                    dialogue._runs.popitem()[1].close()
            broken = step(broken)
        for u, v in zip(jax.tree.leaves(straight), jax.tree.leaves(broken), strict=True):
            assert np.array_equal(u, v)
        assert np.array_equal(step(straight).reply.point, step(straight).reply.point)  # asked twice


def test_a_full_tape_starts_a_new_run_where_the_last_one_ended():
    with jax.enable_x64(True):
        solution = fr.solve(fr.Composite(smooth), start(float), Scipy("L-BFGS-B", memory=5), tol=1e-6)
        assert solution.status.converged
        assert int(solution.calls.value) > 5 and solution.state.tape.shape[0] == 5


def test_a_run_that_gets_nowhere_is_a_stall_and_nan_is_nonfinite():
    with jax.enable_x64(True):
        solution = fr.solve(fr.Composite(smooth), start(float), Scipy("L-BFGS-B"), tol=0.0)
        assert solution.status.name == "stalled" and solution.residual < 1e-6
        solution = fr.solve(fr.Composite(lambda x: jnp.nan * jnp.sum(x)), jnp.ones(2), Scipy("trust-ncg"))
        assert solution.status.name == "nonfinite"


def test_one_core_and_one_thread_do_not_deadlock():
    program = """
import os, jax, jax.numpy as jnp
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
jax.config.update("jax_enable_x64", True)
import frechet as fr
d = jnp.linspace(1, 2, 100_000)
problem = lambda c: fr.Composite(lambda x: 0.5 * jnp.sum(d * (x - c) ** 2))
of = lambda c: fr.solve(problem(c), 0 * d, fr.solvers.Scipy(), tol=1e-3)
print(of(1.0).status.name, jax.vmap(of)(jnp.arange(1.0, 4.0)).status)
"""
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "JAX_PLATFORMS": "cpu", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
        env=flags | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "converged converged 3", done.stderr[-2000:]


def test_errors():
    with pytest.raises(ValueError, match="unknown SciPy method 'bogus'; known are L-BFGS-B, BFGS"):
        Scipy("bogus")
    l1 = fr.Composite(smooth, fr.convex.L1(0.1))
    with pytest.raises(TypeError, match="takes a smooth problem, with bounds at most"):
        fr.solve(l1, start(), Scipy("L-BFGS-B"))
    with pytest.raises(TypeError, match="takes no bounds; use L-BFGS-B"):
        fr.solve(fr.Composite(smooth, fr.convex.NonNegative()), start(), Scipy("BFGS"))
    with pytest.raises(TypeError, match="takes a Root, not a Composite"):
        fr.solve(fr.Composite(smooth), start(), Scipy("root:hybr"))
    with pytest.raises(TypeError, match='have no derivative; use differentiate="implicit"'):
        jax.grad(
            lambda c: fr.solve(
                fr.Composite(lambda x: jnp.sum((x - c) ** 2)),
                jnp.zeros(2),
                Scipy(),
                max_steps=3,
                differentiate="unroll",
            ).x.sum()
        )(1.0)
