"""Counts computed along with a program, against what the functions in it saw."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from frechet.solvers.wrappers.counted import oracle, precision_of, run_counted

seen: Counter = Counter()


def f(x):
    jax.debug.callback(lambda _: seen.update(["value"]), x)
    return jnp.sin(x)


def g(x):
    jax.debug.callback(lambda _: seen.update(["gradient"]), x)
    return jnp.cos(x)


value, gradient = oracle(f, value=1), oracle(g, gradient=1)


def branches(x):
    def large(x):
        return value(value(x)) + jnp.linalg.cholesky(jnp.eye(2) * x)[0, 0]

    return jax.lax.switch(jnp.int32(x), [value, lambda x: 3.0, large], x) + value(x)


def repeated(x):
    """A condition that is itself conditional."""
    test = lambda c: jax.lax.cond(c[0] < 2, lambda: value(c[0]) > -2, lambda: c[0] < 3)  # noqa: E731
    return jax.lax.while_loop(test, lambda c: (c[0] + 0.6, c[1] + gradient(c[0])), (x, x))[1]


def scanned(x):
    def turn(c, t):
        c = jax.lax.cond(c > t, lambda c: gradient(c) + value(c), lambda c: c + 1.0, c)
        return c, c * t

    c, ys = jax.lax.scan(turn, x, jnp.linspace(0.0, 2.0, 5), reverse=True)
    return c + ys.sum()


@jax.custom_vjp
def given(x):
    return jax.lax.while_loop(lambda y: y > 0.5, lambda y: value(y) / 2, x)


given.defvjp(lambda x: (given(x), x), lambda x, t: (7 * t,))

PROGRAMS = {
    "branches": branches,
    "repeated": repeated,
    "scanned": scanned,
    "nested": jax.jit(jax.checkpoint(lambda x: scanned(jnp.sqrt(x)))),
    "custom": given,
}
STARTS = (0.3, 1.4, 2.2)


@pytest.mark.parametrize("name", PROGRAMS)
def test_result_counts_and_batches(name, precision):
    program = PROGRAMS[name]
    run = jax.jit(lambda x: run_counted(program, x))
    starts = jnp.array(STARTS, precision)
    each = []
    for x in starts:
        seen.clear()
        expected = jax.jit(program)(x)
        jax.effects_barrier()
        saw = Counter(seen)
        seen.clear()
        y, counts = run(x)
        jax.effects_barrier()
        assert seen == saw  # nothing is computed for the counts' sake
        each.append({k: int(n) for k, n in counts.items() if k != "factorisation"})
        assert each[-1] == {k: saw[k] for k in each[-1]}
        assert y.dtype == expected.dtype == precision
        np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(precision).eps)
        if name == "branches":
            assert int(counts["factorisation"]) == (x > 2)
    ys, counts = jax.vmap(run)(starts)
    assert each == [{k: int(counts[k][i]) for k in each[0]} for i in range(len(each))]
    assert len({tuple(c.items()) for c in each}) > 1
    np.testing.assert_allclose(ys, jax.vmap(program)(starts), rtol=8 * np.finfo(precision).eps)


@pytest.mark.parametrize("name", PROGRAMS)
def test_derivatives_go_through(name):
    program = PROGRAMS[name]
    of = lambda x: run_counted(program, x)[0]  # noqa: E731
    derivative = jax.jacfwd if name == "repeated" else jax.grad  # loops of unknown length go forward only
    for x in STARTS:
        np.testing.assert_allclose(
            jax.jit(derivative(of))(x), jax.jit(derivative(program))(x), rtol=1e-5, err_msg=f"at {x}"
        )


def test_what_data_do_not_decide_is_left_as_it_is():
    def program(x):
        same = jax.lax.cond(x > 0, value, lambda x: value(x + 1), x)
        ahead = jax.lax.while_loop(lambda y: y < 9, lambda y: y + 1, x)
        return jax.lax.fori_loop(0, 3, lambda _, y: gradient(y), same), ahead

    x = jnp.asarray(0.5, jnp.float32)
    _, counts = run_counted(program, x)
    assert counts == {"value": 1, "gradient": 3} and all(type(n) is int for n in counts.values())
    counted = jax.make_jaxpr(lambda x: run_counted(program, x)[0])(x)
    assert str(counted) == str(jax.make_jaxpr(program)(x))


def test_a_problem_wider_than_its_start():
    """The program in float32, the oracle's insides in float64."""
    with jax.enable_x64(True):
        wide = oracle(lambda x: jnp.sum(jnp.arange(3.0) * x).astype(jnp.float32), value=1)
        x = jnp.asarray(8.0, jnp.float32)
        with precision_of(x):
            y, counts = run_counted(
                lambda x: jax.lax.while_loop(lambda y: wide(y) > 9, lambda y: y / 2, x), x
            )
        assert y.dtype == jnp.float32 and float(y) == 2.0 and int(counts["value"]) == 3


def test_what_cannot_be_taken_apart_says_so():
    mesh = jax.make_mesh((1,), ("i",))
    P = jax.sharding.PartitionSpec
    program = jax.shard_map(branches, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    with pytest.raises(TypeError, match="calls inside shard_map cannot be counted"):
        run_counted(program, jnp.asarray(1.0))
