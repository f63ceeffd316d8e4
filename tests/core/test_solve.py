"""The pure loop: endings, transformations, compilation and bad input."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core import lift
from frechet.core.calls import Calls
from frechet.core.solve import clock
from frechet.core.solver import Solver, State
from frechet.solvers.proximal.fista import FISTA


class Gradient(Solver):
    """Constant steps; the plainest solver there is, so that what is tested is the loop."""

    rate: float = 0.1

    def init(self, problem, x0, *, key):
        return State(x0, Calls())

    def step(self, problem, state, *, key):
        g = problem.gradient(state.x)
        return State(jax.tree.map(lambda v, d: v - self.rate * d, state.x, g), state.calls.add(gradient=1))


def quadratic(a, scale=1.0):
    return fr.Composite(lambda x: 0.5 * scale * jnp.sum((x - a) ** 2))


def test_solves_and_reports(precision):
    target = jnp.arange(3.0)
    s = fr.solve(quadratic(target), jnp.zeros(3), Gradient())
    assert s.status.converged and s.x.dtype == precision
    tol = float(jnp.finfo(precision).eps) ** 0.5
    assert s.residual <= tol
    np.testing.assert_allclose(s.x, target, atol=2 * tol)
    # The error shrinks by 0.9 a step, so the step count is known up to the ten steps between checks.
    exact = np.log(tol / np.sqrt(5)) / np.log(0.9)
    assert exact <= s.steps <= exact + 10
    assert s.calls.gradient == s.steps == s.state.calls.gradient


def test_a_start_that_is_a_solution_takes_no_step():
    s = fr.solve(quadratic(jnp.ones(2)), jnp.ones(2), Gradient())
    assert s.status.converged and s.steps == 0
    np.testing.assert_array_equal(s.x, jnp.ones(2))


@pytest.mark.parametrize("n", [0, 1, 7, 10, 23])
def test_max_steps_is_exact(n):
    s = fr.solve(quadratic(jnp.ones(2)), jnp.zeros(2), Gradient(), tol=0.0, max_steps=n)
    assert s.steps == n and s.status.name == "max_steps"
    np.testing.assert_allclose(s.x, 1 - 0.9**n * jnp.ones(2), rtol=1e-5)


def test_an_unreachable_tolerance_stalls_instead_of_spinning(precision):
    s = fr.solve(quadratic(jnp.full(2, 1 / 3)), jnp.zeros(2), Gradient(), tol=0.0, max_steps=1_000_000)
    assert s.status.name in ("stalled", "converged")
    assert s.steps < 5_000


def test_divergence_ends_nonfinite_with_the_last_finite_iterate():
    s = fr.solve(quadratic(jnp.ones(2)), jnp.zeros(2), Gradient(rate=1e3), max_steps=10_000)
    assert s.status.name == "nonfinite"
    assert np.all(np.isfinite(s.x))


@pytest.mark.parametrize(
    "case, origin",
    [
        ("data", fr.Origin.DATA),
        ("start", fr.Origin.START),
        ("value", fr.Origin.VALUE),
        ("gradient", fr.Origin.OPTIMALITY),
        ("step", fr.Origin.STEP),
    ],
)
def test_the_status_says_where_a_nan_arose(case, origin):
    x0, a, f = jnp.ones(2), jnp.zeros(2), lambda x, a: jnp.sum((x - a) ** 2)
    if case == "data":
        a = a.at[0].set(jnp.nan)
    if case == "start":
        x0 = x0.at[1].set(jnp.inf)
    if case == "value":
        f = lambda x, a: jnp.sum(jnp.log(x - 2 + a))  # noqa: E731
    if case == "gradient":
        f = lambda x, a: jnp.sum(jnp.sqrt(jnp.abs(x - 1 + a)))  # noqa: E731
    solver = Gradient(rate=float("nan")) if case == "step" else Gradient()
    s = fr.solve(fr.Composite(lambda x: f(x, a)), x0, solver)
    assert s.status.name == "nonfinite" and int(s.status.origin) == origin
    assert str(s.status).startswith("nonfinite") and "(" in str(s.status)
    if case not in ("start", "value"):  # an undefined value may have a finite gradient, which is followed
        np.testing.assert_array_equal(s.x, x0)


def test_jit_and_vmap_agree_with_the_plain_call():
    def x_of(a):
        return fr.solve(quadratic(a), jnp.zeros(2), Gradient()).x

    targets = jnp.array([[0.0, 0.0], [1.0, -2.0], [1e3, 5.0]])
    plain = jnp.stack([x_of(a) for a in targets])
    np.testing.assert_array_equal(jax.jit(x_of)(targets[1]), plain[1])
    np.testing.assert_array_equal(jax.vmap(x_of)(targets), plain)


def test_each_member_of_a_batch_has_its_status_and_one_nan_leaves_the_rest_alone():
    batch = lambda a: jax.vmap(lambda a: fr.solve(quadratic(a), jnp.zeros(2), Gradient()))(a)  # noqa: E731
    good = jnp.array([[0.0, 0.0], [1.0, -2.0], [1e3, 5.0]])
    bad = good.at[1].set(jnp.nan)
    s, t = batch(good), batch(bad)
    assert t.status.code.tolist() == [fr.Ending.CONVERGED, fr.Ending.NONFINITE, fr.Ending.CONVERGED]
    assert s.steps.tolist()[0] == 0 < s.steps.tolist()[1] < s.steps.tolist()[2]
    for member in (0, 2):
        np.testing.assert_array_equal(s.x[member], t.x[member])
    assert str(t.status) == "converged 2, nonfinite 1"


def test_pytrees_of_any_shape():
    x0 = {"a": jnp.zeros(2), "b": (jnp.zeros(()), [jnp.zeros((2, 2))])}
    f = lambda x: 0.5 * sum(jnp.sum((v - 1) ** 2) for v in jax.tree.leaves(x))  # noqa: E731
    s = fr.solve(fr.Composite(f), x0, Gradient(), tol=1e-4)
    assert jax.tree.structure(s.x) == jax.tree.structure(x0)
    for v in jax.tree.leaves(s.x):
        np.testing.assert_allclose(v, 1.0, atol=1e-4)


def test_one_solve_inside_another():
    def inner(a):
        return fr.solve(quadratic(a, 2.0), jnp.zeros(()), Gradient(), tol=1e-6).x

    outer = fr.solve(fr.Composite(lambda a: (inner(a) - 3.0) ** 2), jnp.zeros(()), Gradient(), tol=1e-4)
    np.testing.assert_allclose(outer.x, 3.0, atol=1e-3)


def test_new_numbers_cost_no_compilation():
    def go(a, lam, tol, x0, max_steps, rate):
        problem = fr.Composite(fr.losses.Squared(jnp.eye(3), a), fr.convex.L1(lam))
        return fr.solve(problem, x0, FISTA(step_size=rate), tol=tol, max_steps=max_steps).stats

    first = go(jnp.ones(3), 0.1, 1e-4, jnp.zeros(3), 100, 1.0)
    again = go(2 * jnp.ones(3), 0.2, 1e-3, jnp.ones(3), 50, 0.5)
    assert first.compile_seconds > 0
    assert again.compile_seconds == 0 and again.traces == 0


def _compiled(call) -> list[str]:
    """The XLA compilations during a call; small traces of the lifted function itself are not among them."""
    seen = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return seen


def test_a_fresh_lambda_over_fresh_arrays_is_traced_once_and_compiles_nothing():
    def go(seed):
        X = jnp.asarray(np.random.default_rng(seed).normal(size=(5, 3)), jnp.float32)
        return fr.solve(
            fr.Composite(lambda w: jnp.mean(jnp.logaddexp(0.0, X @ w))), jnp.zeros(3), Gradient(), tol=1.0
        )

    go(0)
    before = lift.traces()
    assert _compiled(lambda: go(1)) == []
    assert lift.traces() == before + 1


class Bowl(eqx.Module):
    """A user's own module, with a counter of how often Python runs it."""

    centre: jax.Array
    log: list = eqx.field(static=True, default_factory=list)

    def __hash__(self):
        return 0

    def __call__(self, x):
        self.log.append(1)
        return jnp.sum((x - self.centre) ** 2)


@pytest.mark.parametrize("solver", [Gradient(), FISTA()], ids=["Gradient", "FISTA"])
def test_the_users_function_is_traced_at_most_twice(solver):
    runs = []

    def f(x):
        runs.append(1)
        return jnp.sum((x - 1) ** 2)

    fr.solve(fr.Composite(f), jnp.zeros(3), solver, tol=1e-3)
    assert len(runs) <= 2
    bowl = Bowl(jnp.ones(5))
    fr.solve(fr.Composite(bowl), jnp.zeros(5), solver, tol=1e-3)
    assert len(bowl.log) <= 2


def test_compile_seconds_are_those_of_this_call():
    mark = clock.mark()
    s = fr.solve(quadratic(jnp.ones(4)), jnp.zeros(4), Gradient(), tol=1e-3)
    assert 0 < s.stats.compile_seconds <= clock.since(mark)[0]
    inside = jax.jit(lambda a: fr.solve(quadratic(a), jnp.zeros(4), Gradient()))(jnp.ones(4))
    assert isinstance(inside, fr.Solution)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fr.solve(lambda x: x, jnp.zeros(2), Gradient()), "problem must be a frechet Problem"),
        (lambda: fr.solve(fr.Composite, jnp.zeros(2), Gradient()), "got the class Composite"),
        (lambda: fr.solve(quadratic(0.0), jnp.zeros(2), Gradient), r"did you mean Gradient\(\)"),
        (lambda: fr.solve(quadratic(0.0), jnp.zeros(2, int), Gradient()), "x0 has dtype int32; pass floats"),
        (lambda: fr.solve(quadratic(0.0), {"w": "a"}, Gradient()), r"x0\['w'\] is a str, not an array"),
        (lambda: fr.solve(quadratic(0.0), {}, Gradient()), "x0 has no arrays"),
        (
            lambda: fr.solve(fr.Composite(lambda x: x), jnp.zeros(2), Gradient()),
            "must return a scalar, got shape",
        ),
        (lambda: fr.solve(fr.Root(lambda x: x), jnp.zeros(2), FISTA()), "FISTA cannot take this problem"),
        (lambda: fr.solve(fr.Root(lambda x: x[:1]), jnp.zeros(2), Identity()), "give x0 the shape and dtype"),
        (lambda: fr.solve(fr.Root(lambda x: (x, x)), jnp.zeros(2), Identity()), "return a pytree like x"),
        (lambda: fr.Composite(3.0), "f must be callable, got float"),
        (lambda: fr.Composite(jnp.sum, 3.0), "g must be a frechet.convex.Function"),
    ],
)
def test_bad_input_is_named_in_one_line(call, message):
    with pytest.raises(TypeError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


class Identity(Solver):
    """Goes nowhere."""

    def init(self, problem, x0, *, key):
        return State(x0, Calls())

    def step(self, problem, state, *, key):
        return state


@pytest.mark.parametrize("value", [-1, -5])
def test_a_negative_step_limit_is_refused(value):
    with pytest.raises(ValueError, match="max_steps must be at least 0"):
        fr.solve(quadratic(0.0), jnp.zeros(2), Gradient(), max_steps=value)


def test_an_unknown_derivative_rule_is_refused():
    with pytest.raises(ValueError, match='differentiate must be "implicit"'):
        fr.solve(quadratic(0.0), jnp.zeros(2), Gradient(), differentiate="magic")


def test_the_kinds_choose_their_defaults():
    root2 = fr.solve(fr.Root(lambda x: x**2 - 2), jnp.ones(())).x
    np.testing.assert_allclose(root2, np.sqrt(2), rtol=1e-5)
    cosine = fr.solve(fr.FixedPoint(jnp.cos), jnp.ones(())).x
    # The error is at most residual / (1 - T'), with T' = -sin(x) here.
    np.testing.assert_allclose(cosine, 0.7390851332, atol=4e-4 / 1.67)
    line = fr.solve(
        fr.LeastSquares(lambda x: x * jnp.arange(1.0, 4.0) - 2 * jnp.arange(1.0, 4.0)), jnp.ones(())
    )
    np.testing.assert_allclose(line.x, 2.0, rtol=1e-4)
    lasso = fr.solve(fr.Composite(lambda x: 0.5 * jnp.sum((x - 3) ** 2), fr.convex.L1(1.0)), jnp.zeros(2))
    np.testing.assert_allclose(lasso.x, 2.0, atol=1e-3)
    smooth = fr.solve(quadratic(jnp.ones(2)), jnp.zeros(2))
    np.testing.assert_allclose(smooth.x, 1.0, atol=1e-3)


def test_a_problem_of_ones_own():
    class Circle(fr.Problem):
        radius: jax.Array

        def objective(self, x):
            return (jnp.sum(x**2) - self.radius**2) ** 2

        def optimality(self, x):
            return jax.grad(self.objective)(x)

        def gradient(self, x):
            return jax.grad(self.objective)(x)

    s = fr.solve(Circle(jnp.asarray(2.0)), jnp.ones(2), Gradient(rate=0.01), tol=1e-4)
    assert s.status.converged
    np.testing.assert_allclose(jnp.linalg.norm(s.x), 2.0, rtol=1e-4)
    with pytest.raises(TypeError, match="has no default solver"):
        fr.solve(Circle(jnp.asarray(2.0)), jnp.ones(2))


def test_a_thousand_solves_keep_no_memory():
    import gc
    import tracemalloc

    go = functools.partial(fr.solve, solver=Gradient(), tol=1.0)
    make = lambda i: quadratic(jnp.full(2, float(i)))  # noqa: E731
    for i in range(50):
        go(make(i), jnp.zeros(2))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(1000):
        go(make(i), jnp.zeros(2))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 5e6
