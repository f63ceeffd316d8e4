"""The SciPy classes of the JAXopt layer against SciPy by itself and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

from frechet.compat import jaxopt
from frechet.compat.jaxopt import scipy_wrappers
from frechet.core import lift

A = np.array([[2.0, 1.0, 0.3], [0.5, -1.0, 0.2], [0.1, 0.4, 1.5], [1.0, 0.0, -0.7]])


def start():
    return {"u": jnp.array([0.3, -0.4]), "v": jnp.asarray(0.8)}


def smooth(x, c):
    z = jnp.asarray(A, x["u"].dtype) @ jnp.append(x["u"], x["v"])
    return jnp.sum(jnp.log(jnp.cosh(z - c))) + 0.1 * jnp.sum(z**2)


def residual(x, c):
    z = jnp.asarray(A, x["u"].dtype) @ jnp.append(x["u"], x["v"])
    return c * jnp.array([1.0, -0.5, 0.4, -2.0]) - z - 0.2 * jnp.sin(z)


def equations(x, c):
    return {"u": x["u"] ** 3 + x["u"] - x["v"], "v": jnp.exp(x["v"]) - c + jnp.sum(x["u"]) / 5}


def flat(of, *args):
    """The function over vectors, for SciPy."""
    unravel = ravel_pytree(start())[1]
    return lambda z: np.asarray(ravel_pytree(of(unravel(jnp.asarray(z)), *args))[0])


def by_itself(method, c, **more):
    unravel = ravel_pytree(start())[1]
    both = jax.jit(jax.value_and_grad(lambda z: smooth(unravel(z), c)))
    z0 = np.asarray(ravel_pytree(start())[0])
    if method in ("Nelder-Mead", "Powell", "COBYLA", "COBYQA"):
        return scipy.optimize.minimize(lambda z: float(both(z)[0]), z0, method=method, **more)
    if method in ("dogleg", "trust-exact", "trust-ncg", "trust-krylov"):
        more["hess"] = lambda z: np.asarray(jax.hessian(lambda z: both(z)[0])(z))
    fun = lambda z: tuple(np.asarray(v, float) for v in both(z))  # noqa: E731
    return scipy.optimize.minimize(fun, z0, jac=True, method=method, **more)


METHODS = [None, "Nelder-Mead", "Powell", "CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "COBYLA", "COBYQA"]
METHODS += ["SLSQP", "trust-constr", "dogleg", "trust-ncg", "trust-exact", "trust-krylov"]


@pytest.mark.parametrize("method", METHODS)
def test_minimise_returns_what_scipy_does(method):
    with jax.enable_x64(True):
        limit = {"maxfun" if method == "TNC" else "maxiter": 500}
        theirs = by_itself(method, 1.0, tol=1e-5, options=limit)
        params, state = jaxopt.ScipyMinimize(method, fun=smooth, tol=1e-5).run(start(), 1.0)
        # Another program of the same function rounds differently, which differences of values magnify.
        atol = 1e-4 if method in ("Nelder-Mead", "Powell", "COBYLA", "COBYQA") else 1e-8
        np.testing.assert_allclose(ravel_pytree(params)[0], theirs.x, atol=atol)
        np.testing.assert_allclose(state.fun_val, theirs.fun, rtol=1e-9)
        assert (bool(state.success), int(state.status)) == (theirs.success, theirs.status)
        for ours, name in (
            (state.iter_num, "nit"),
            (state.num_fun_eval, "nfev"),
            (state.num_jac_eval, "njev"),
            (state.num_hess_eval, "nhev"),
        ):
            assert abs(int(ours) - theirs.get(name, 0)) <= 0.1 * theirs.get(name, 0), name
        if method in (None, "BFGS"):
            np.testing.assert_allclose(state.hess_inv, theirs.hess_inv, rtol=1e-6)
        elif method == "L-BFGS-B":
            assert state.hess_inv.n_corrs == theirs.hess_inv.n_corrs > 1
            np.testing.assert_allclose(state.hess_inv.todense(), theirs.hess_inv.todense(), rtol=1e-6)
        else:
            assert state.hess_inv is None


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "COBYLA", "trust-exact"])
def test_a_compiled_run_is_the_same(method, precision):
    solver = jaxopt.ScipyMinimize(method=method, fun=smooth, tol=1e-4)
    alone, (params, state) = solver.run(start(), 1.0), jax.jit(solver.run)(start(), 1.0)
    tol = 100 * np.finfo(precision).eps ** 0.5
    for u, v in zip(jax.tree.leaves(alone.params), jax.tree.leaves(params), strict=True):
        assert u.dtype == v.dtype == precision
        np.testing.assert_allclose(u, v, atol=tol)
    assert bool(state.success) == bool(alone.state.success)
    if precision == np.float64:
        assert int(state.num_fun_eval) == int(alone.state.num_fun_eval)
        if method == "L-BFGS-B":  # with rows for pairs that there are not
            pair = np.asarray(state.hess_inv.todense()), alone.state.hess_inv.todense()
            np.testing.assert_allclose(*pair, rtol=1e-6)


def test_derivatives_of_a_batch_in_one_program():
    with jax.enable_x64(True):
        solver = jaxopt.ScipyMinimize(method="BFGS", fun=smooth, tol=1e-9)
        of = lambda c: solver.run(start(), c).params["u"]  # noqa: E731
        h = 1e-5
        expected = np.stack([(of(c + h) - of(c - h)) / (2 * h) for c in (0.5, 1.0)])
        cs = jnp.array([0.5, 1.0])
        np.testing.assert_allclose(jax.jit(jax.vmap(jax.jacrev(of)))(cs), expected, atol=1e-6)
        np.testing.assert_allclose(jax.jacfwd(of)(0.5), expected[0], atol=1e-6)
        np.testing.assert_allclose(jax.vmap(of)(cs), np.stack([of(0.5), of(1.0)]), atol=1e-8)
        # what a function captured is differentiated too
        captured = lambda c: jaxopt.ScipyMinimize(fun=lambda x: smooth(x, c), tol=1e-9).run(start())  # noqa: E731
        np.testing.assert_allclose(jax.jacrev(lambda c: captured(c).params["u"])(0.5), expected[0], atol=1e-6)


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr", None])
def test_bounds(method):
    """Of two unknowns that share a bound one is held by it."""
    with jax.enable_x64(True):
        solver = jaxopt.ScipyBoundedMinimize(method=method, fun=smooth, tol=1e-9)

        def of(upper):
            bounds = {"u": jnp.full(2, -1.0), "v": -1.0}, {"u": jnp.full(2, upper), "v": 2.0}
            return solver.run({"u": jnp.zeros(2), "v": jnp.zeros(())}, bounds, 1.0)

        box = scipy.optimize.Bounds([-1.0, -1.0, -1.0], [0.05, 0.05, 2.0])
        unravel = ravel_pytree(start())[1]
        both = jax.jit(jax.value_and_grad(lambda z: smooth(unravel(z), 1.0)))
        fun = lambda z: tuple(np.asarray(v, float) for v in both(z))  # noqa: E731
        theirs = scipy.optimize.minimize(fun, np.zeros(3), jac=True, bounds=box, tol=1e-12)
        params, state = jax.jit(of)(0.05)
        np.testing.assert_allclose(ravel_pytree(params)[0], theirs.x, atol=1e-5)
        assert state.hess_inv is None if method == "trust-constr" else state.hess_inv.shape == (3, 3)
        if method != "trust-constr":  # which stays off the bounds
            h = 1e-4
            ahead, behind = of(0.05 + h).params, of(0.05 - h).params
            expected = jax.tree.map(lambda p, q: (p - q) / (2 * h), ahead, behind)
            got = jax.jit(jax.jacrev(lambda u: of(u).params))(0.05)
            for u, v in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(u, v, atol=1e-5)
        error = solver.l2_optimality_error(params, ({"u": -1.0, "v": -1.0}, {"u": 0.05, "v": 2.0}), 1.0)
        assert float(error) < 1e-4


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
@pytest.mark.parametrize("bounded", [False, True])
def test_least_squares(loss, bounded):
    with jax.enable_x64(True):
        tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-12)
        options = {"f_scale": 0.3, "x_scale": {"u": jnp.array([1.0, 2.0]), "v": jnp.asarray(0.5)}, **tight}
        lower, upper = {"u": jnp.full(2, -0.2), "v": -1.0}, {"u": jnp.full(2, 0.25), "v": 1.0}
        kind = jaxopt.ScipyBoundedLeastSquares if bounded else jaxopt.ScipyLeastSquares
        solver = kind(fun=lambda x, c: (residual(x, c), x), has_aux=True, loss=loss, options=options)
        middle = {"u": jnp.array([0.1, 0.1]), "v": jnp.asarray(0.1)}
        of = lambda c: solver.run(middle, *([(lower, upper)] if bounded else []), c)  # noqa: E731

        def by_scipy(c):
            how = {"bounds": ([-0.2, -0.2, -1], [0.25, 0.25, 1])} if bounded else {}
            scale = np.array([1.0, 2.0, 0.5])
            jac = lambda z: np.asarray(jax.jacfwd(lambda z: residual(unravel(z), c))(z))  # noqa: E731
            call = flat(residual, c)
            z0 = np.full(3, 0.1)
            kw = {"loss": loss, "f_scale": 0.3, "x_scale": scale, **how, **tight}
            return scipy.optimize.least_squares(call, z0, jac, **kw)

        unravel = ravel_pytree(start())[1]
        theirs, (params, state) = by_scipy(1.0), of(1.0)
        assert np.min(theirs.fun) < -0.3  # where a loss of signed residuals would go wrong
        np.testing.assert_allclose(ravel_pytree(params)[0], theirs.x, atol=1e-7)
        np.testing.assert_allclose(state.fun_val, theirs.fun, atol=1e-7)
        np.testing.assert_allclose(state.cost_val, theirs.cost, rtol=1e-9)
        assert (int(state.num_fun_eval), int(state.num_jac_eval)) == (theirs.nfev, theirs.njev)
        assert (bool(state.success), int(state.status)) == (theirs.success, theirs.status)
        h = 1e-4
        expected = (by_scipy(1 + h).x - by_scipy(1 - h).x) / (2 * h)
        got = jax.jit(jax.jacrev(lambda c: ravel_pytree(of(c).params)[0]))(1.0)
        np.testing.assert_allclose(got, expected, atol=2e-4)
        assert options.keys() == {"f_scale", "x_scale", *tight}  # left as it was


@pytest.mark.parametrize("method", [None, "lm", "broyden1", "df-sane"])
def test_roots(method):
    with jax.enable_x64(True):
        solver = jaxopt.ScipyRootFinding(method, optimality_fun=equations, tol=1e-10)
        jac = {} if method in ("broyden1", "df-sane") else {"jac": jax.jacfwd(flat_equations)}
        z0 = np.asarray(ravel_pytree(start())[0])
        theirs = scipy.optimize.root(flat(equations, 2.0), z0, method=method or "hybr", tol=1e-10, **jac)
        params, state = solver.run(start(), 2.0)
        np.testing.assert_allclose(ravel_pytree(params)[0], theirs.x, atol=1e-8)
        np.testing.assert_allclose(state.fun_val, 0, atol=1e-6)
        assert bool(state.success) and int(state.num_fun_eval) >= theirs.get("nfev", 1)
        assert state.iter_num is None if method in (None, "lm") else int(state.iter_num) == theirs.nit
        got = jax.jit(jax.jacrev(lambda c: ravel_pytree(solver.run(start(), c).params)[0]))(2.0)
        # By hand: the equations' Jacobian at the root against the derivative -1 in c.
        J = np.asarray(jax.jacfwd(flat_equations)(jnp.asarray(theirs.x)))
        np.testing.assert_allclose(got, np.linalg.solve(J, [0.0, 0.0, 1.0]), atol=1e-6)
        assert float(solver.l2_optimality_error(params, 2.0)) < 1e-6


def flat_equations(z):
    return ravel_pytree(equations(ravel_pytree(start())[1](z), 2.0))[0]


def quartic(x, c):
    return jnp.sum((x - c) ** 4 + x**2)


def test_a_second_run_neither_traces_nor_compiles():
    seen = []

    def run(c):
        solver = jaxopt.ScipyMinimize(fun=quartic, options={"gtol": 1e-3}, method="BFGS")
        return solver.run(jnp.zeros(2), jax.device_put(np.float32(c)))

    run(1.0)
    before = lift.traces()

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run(2.0)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert lift.traces() == before and seen == []


def test_callback():
    points = []
    solver = jaxopt.ScipyMinimize(fun=smooth, callback=points.append, method="BFGS")
    _, state = solver.run(start(), 1.0)
    assert len(points) == int(state.iter_num) and points[0]["u"].shape == (2,)
    assert isinstance(points[0]["v"], jax.Array)
    once, points[:] = list(points), []
    jax.block_until_ready(jax.jit(solver.run)(start(), 1.0))
    assert isinstance(points[0]["v"], np.ndarray | np.generic)
    np.testing.assert_allclose(points[0]["u"], once[0]["u"], rtol=1e-5)

    def stop(x):
        raise StopIteration

    assert (
        int(jaxopt.ScipyMinimize(fun=smooth, callback=stop, method="BFGS").run(start(), 1.0).state.iter_num)
        == 1
    )


def test_forms_of_the_function():
    """With its gradient, with auxiliary data, and one that is no JAX program."""
    with jax.enable_x64(True):
        plain = lambda x, c: jnp.sum((x - c) ** 4 + x**2)  # noqa: E731
        gradient = jax.grad(plain)
        expected = jaxopt.ScipyMinimize(fun=plain, tol=1e-9).run(jnp.zeros(2), 1.0)
        forms = {
            "both": {"fun": lambda x, c: (plain(x, c), gradient(x, c)), "value_and_grad": True},
            "apart": {"fun": plain, "value_and_grad": lambda x, c: (plain(x, c), gradient(x, c))},
            "aux": {"fun": lambda x, c: (plain(x, c), {"aux": x}), "has_aux": True},
        }
        for name, form in forms.items():
            params, state = jaxopt.ScipyMinimize(tol=1e-9, **form).run(jnp.zeros(2), 1.0)
            np.testing.assert_allclose(params, expected.params, rtol=1e-9, err_msg=name)
            assert int(state.num_fun_eval) == int(expected.state.num_fun_eval)

        def by_numpy(x, c):
            x = np.asarray(x)
            return np.sum((x - c) ** 4 + x**2), 4 * (x - c) ** 3 + 2 * x

        solver = jaxopt.ScipyMinimize(fun=by_numpy, value_and_grad=True, jit=False, tol=1e-9)
        np.testing.assert_allclose(solver.run(jnp.zeros(2), 1.0).params, expected.params, rtol=1e-9)


def test_a_run_that_meets_nan_fails_without_an_exception_in_a_program():
    solver = jaxopt.ScipyMinimize(fun=lambda x: jnp.nan * jnp.sum(x), method="trust-ncg")
    _, state = jax.jit(solver.run)(jnp.ones(2))
    assert not bool(state.success) and np.isnan(state.fun_val)


def test_helpers_and_errors():
    tree = {"a": jnp.arange(4.0).reshape(2, 2), "b": jnp.asarray(7.0, jnp.float32)}
    topology = scipy_wrappers.pytree_topology_from_example(tree)
    vector = scipy_wrappers.jnp_to_onp(tree)
    assert vector.dtype == np.float64 and vector.tolist() == [0, 1, 2, 3, 7]
    back = scipy_wrappers.make_onp_to_jnp(topology)(vector)
    assert jax.tree.map(lambda u, v: bool(jnp.all(u == v)), tree, back) == {"a": True, "b": True}
    square = lambda t: {"s": t["a"] ** 2, "p": t["b"] * t["a"][0]}  # noqa: E731
    form = scipy_wrappers.pytree_topology_from_example(square(tree))
    J = scipy_wrappers.make_jac_jnp_to_onp(topology, form)(jax.jacrev(square)(tree))
    expected = np.zeros((6, 5))
    expected[[0, 1], [0, 1]] = 7
    expected[:2, 4] = [0, 1]
    expected[[2, 3, 4, 5], [0, 1, 2, 3]] = [0, 2, 4, 6]
    np.testing.assert_array_equal(J, expected)
    with pytest.raises(ValueError, match="maxiter is an argument of its own"):
        jaxopt.ScipyMinimize(fun=smooth, options={"maxiter": 3})
    with pytest.raises(ValueError, match="loss must be one of linear, soft_l1, huber"):
        jaxopt.ScipyLeastSquares(fun=residual, loss="bogus")
