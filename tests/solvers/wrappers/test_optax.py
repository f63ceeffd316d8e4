"""The Optax wrapper against Optax's own loop."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet.solvers.wrappers.optax import Optax, Transformation

A = np.random.default_rng(0).standard_normal((12, 3))


def objective(x):
    z = A.astype(x["a"].dtype) @ jnp.append(x["a"], x["b"])
    return jnp.mean(jnp.log(jnp.cosh(z - 1))) + 0.05 * jnp.sum(z**2)


def start(dtype=jnp.float32):
    return {"a": jnp.array([-0.6, 0.5], dtype), "b": jnp.asarray(0.2, dtype)}


def halving():
    """Halves the update until it descends; the loop's condition evaluates the objective."""

    def update(updates, state, params, *, value, value_fn, **_):
        rises = lambda u: value_fn(optax.apply_updates(params, u)) > value  # noqa: E731
        return jax.lax.while_loop(rises, lambda u: jax.tree.map(lambda v: v / 2, u), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def doubling():
    """Tries the doubled update where the objective is large."""

    def update(updates, state, params, *, value, value_fn, **_):
        def tried(u):
            more = jax.tree.map(lambda v: 2 * v, u)
            better = value_fn(optax.apply_updates(params, more)) < value
            return jax.tree.map(lambda a, b: jnp.where(better, a, b), more, u)

        return jax.lax.cond(value > 0.5, tried, lambda u: u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


MAKERS = {
    "adam": lambda: optax.adam(1e-2),
    "momentum": lambda: optax.sgd(1e-2, momentum=0.9, nesterov=True),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2)),
    "lbfgs": lambda: optax.lbfgs(),
    "polyak": lambda: optax.polyak_sgd(),
    "momo": lambda: optax.contrib.momo(0.1),
    "armijo": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
    "armijo-stored": lambda: optax.chain(
        optax.sgd(8.0), optax.scale_by_backtracking_linesearch(20, store_grad=True)
    ),
    "halving": lambda: optax.chain(optax.sgd(40.0), halving()),
    "doubling": lambda: optax.chain(optax.sgd(0.1), doubling()),
}


def by_hand(tx, x, steps):
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def one(x, state):
        value, grad = jax.value_and_grad(objective)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=objective)
        return optax.apply_updates(x, updates), state

    state = tx.init(x)
    for _ in range(steps):
        x, state = one(x, state)
    return x


@pytest.mark.parametrize("name", MAKERS)
def test_updates_are_those_of_a_loop_by_hand(name, precision):
    solution = fr.solve(
        fr.Composite(objective), start(precision), Optax(MAKERS[name]()), tol=0.0, max_steps=8
    )
    expected = by_hand(MAKERS[name](), start(precision), 8)
    for u, v in zip(jax.tree.leaves(solution.x), jax.tree.leaves(expected), strict=True):
        assert u.dtype == v.dtype == precision
        np.testing.assert_allclose(u, v, atol=2e3 * np.finfo(precision).eps)


seen: Counter = Counter()


class Watched(fr.Composite):
    def value(self, x):
        jax.debug.callback(lambda _: seen.update(["value"]), x["a"])
        return super().value(x)

    def value_and_gradient(self, x):
        jax.debug.callback(lambda _: seen.update(["gradient"]), x["a"])
        return super().value_and_gradient(x)


@pytest.mark.parametrize("name", MAKERS)
def test_calls_are_what_the_problem_saw(name):
    solver = Optax(MAKERS[name]())
    problem = Watched(objective).lifted(start())
    seen.clear()

    @jax.jit
    def six(x):
        state = solver.init(problem, x, key=jax.random.key(0))
        return jax.lax.fori_loop(0, 6, lambda t, s: solver.step(problem, s, key=jax.random.key(t)), state)

    calls = six(start()).calls
    jax.effects_barrier()
    # value_and_gradient calls value, so a gradient shows as both.
    assert (int(calls.value), int(calls.gradient)) == (seen["value"], seen["gradient"])
    if name in ("lbfgs", "armijo-stored"):  # what the line search kept is not computed again
        assert int(calls.gradient) > 6 or name == "armijo-stored"
        assert int(calls.value) == int(calls.gradient)
    if name == "armijo":
        assert int(calls.gradient) == 6 < int(calls.value) - 6 + 1
    if name == "halving":
        assert int(calls.value) > 6 + 6
    if name == "doubling":  # not at every step
        assert 6 < int(calls.value) < 6 + 6


def after(solver, x, steps):
    problem = fr.Composite(objective).lifted(x)
    state = solver.init(problem, x, key=jax.random.key(0))
    return jax.lax.fori_loop(0, steps, lambda t, s: solver.step(problem, s, key=jax.random.key(t)), state)


def test_an_estimate_now_and_then_is_counted_when_it_is_made():
    """250 updates with a spectrum every 100: three of them, each a gradient and three products."""
    solver = Optax(fr.optimizers.slq_lr(every=100))
    calls = jax.jit(lambda x: after(solver, x, 250))(start()).calls
    assert int(calls.gradient) == int(calls.value) == 250 + 3 * (1 + 3)


def test_members_of_a_batch_are_counted_each():
    solver = Optax(optax.chain(optax.sgd(10.0), doubling(), halving()))
    starts = jax.tree.map(lambda v: jnp.stack([v, 0 * v, 3 * v]), start())
    run = jax.jit(lambda x: after(solver, x, 4).calls.value)
    together = jax.vmap(run)(starts).tolist()
    member = lambda i: jax.tree.map(lambda v: v[i], starts)  # noqa: E731
    assert together == [int(run(member(i))) for i in range(3)]
    assert len(set(together)) > 1


def test_minibatches_are_unbiased_and_counted():
    with jax.enable_x64(True):
        X, y = jnp.asarray(A), jnp.arange(12.0)
        problem = fr.FiniteSum(lambda w, d: 0.5 * (d[0] @ w - d[1]) ** 2, (X, y))
        solver = Optax(optax.sgd(0.5), batch_size=5)
        x = jnp.ones(3)
        state = solver.init(problem, x, key=jax.random.key(0))
        keys = jax.random.split(jax.random.key(0), 20_000)
        after = jax.jit(jax.vmap(lambda k: solver.step(problem, state, key=k)))(keys)
        gradients = np.asarray((x - after.x) / 0.5)
        error = gradients.mean(0) - np.asarray(problem.gradient(x))
        assert np.all(np.abs(error) < 4.5 * gradients.std(0) / np.sqrt(len(keys)))
        assert np.all(np.asarray(after.calls.sample) == 5)
        assert solver.stochastic and solver.needs == {"smooth", "sample"}


def test_a_line_search_on_minibatches_counts_terms():
    problem = fr.FiniteSum(lambda w, d: (d[0] @ w - d[1]) ** 2, (A.astype("f4"), np.arange(12, dtype="f4")))
    solution = fr.solve(problem, jnp.zeros(3), Optax(MAKERS["armijo"](), 4), tol=0.0, max_steps=3)
    trials = (int(solution.calls.sample) - 3 * 4) // 4
    assert int(solution.calls.sample) % 4 == 0 and trials >= 3 and int(solution.calls.value) == 0


def test_the_same_transformation_made_afresh_compiles_nothing():
    problem = fr.Composite(lambda x: jnp.sum((x - 1.5) ** 2))
    for make in (MAKERS["clipped"], MAKERS["lbfgs"]):
        assert Transformation(make()) == Transformation(make())
        assert repr(Transformation(make())) == repr(Transformation(make()))
        fr.solve(problem, jnp.zeros(7), Optax(make()))
        assert fr.solve(problem, jnp.zeros(7), Optax(make())).stats.compile_seconds == 0.0
    assert Transformation(optax.adam(1e-2)) != Transformation(optax.adam(2e-2))
    assert Transformation(optax.adam(jnp.asarray(1e-2))) != Transformation(optax.adam(jnp.asarray(2e-2)))
    schedule = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, 100))  # noqa: E731
    assert Transformation(schedule(0.1)) == Transformation(schedule(0.1)) != Transformation(schedule(0.2))
    assert repr(Transformation(schedule(0.1))) != repr(Transformation(schedule(0.2)))


def test_vmap_and_the_implicit_derivative():
    with jax.enable_x64(True):

        def of(c):
            problem = fr.Composite(lambda x: objective(x) + c * jnp.sum(x["a"] ** 2))
            solver = Optax(optax.sgd(0.1, momentum=0.9))
            return fr.solve(problem, start(float), solver, tol=1e-10).x["a"]

        cs = jnp.array([0.3, 0.7])
        np.testing.assert_allclose(jax.jit(jax.vmap(of))(cs), jnp.stack([of(c) for c in cs]), atol=1e-8)
        expected = (of(0.5 + 1e-4) - of(0.5 - 1e-4)) / 2e-4
        np.testing.assert_allclose(jax.jacrev(of)(0.5), expected, atol=1e-6)


@pytest.mark.parametrize("name", Optax.presets())
def test_presets_decrease_the_objective(name):
    problem = fr.FiniteSum(lambda w, d: (d[0] @ w - d[1]) ** 2 / 2, (A.astype("f4"), np.ones(12, "f4")))
    solution = fr.solve(problem, jnp.zeros(3), Optax.presets()[name], max_steps=1000)
    best = np.linalg.lstsq(A, np.ones(12), rcond=None)[0]
    optimum = 0.5 * np.mean((A @ best - 1) ** 2)
    gap = float(problem.objective(solution.x)) - optimum
    assert gap < 1e-2 * (0.5 - optimum)


def test_errors():
    with pytest.raises(TypeError, match=r"tx must be an optax\.GradientTransformation, got float"):
        Optax(0.1)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        Optax(optax.adam(0.1), batch_size=0)
    with pytest.raises(TypeError, match="needs smooth"):
        fr.solve(fr.Composite(objective, fr.convex.L1(0.1)), start(), Optax(optax.adam(0.1)))
