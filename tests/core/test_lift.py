"""Closures as pytrees: equal programs are equal, captured arrays are leaves, gradients are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.core import lift as lifting
from frechet.core.lift import lift


def _programs(make, values):
    return [lift(make(v), jnp.ones(3)).program for v in values]


BODIES = {
    "matmul": lambda X, w: jnp.sum((X @ w) ** 2),
    "custom_jvp": lambda X, w: jnp.mean(jnp.logaddexp(0.0, X @ w)),
    "jitted custom_jvp": lambda X, w: jnp.mean(jax.nn.relu(X @ w)),
    "scan": lambda X, w: jax.lax.scan(lambda c, row: (c + row @ w, None), 0.0, X)[0],
    "optax": lambda X, w: optax.losses.huber_loss(X @ w).mean(),
    "linalg": lambda X, w: jnp.linalg.solve(X.T @ X + jnp.eye(3), w).sum(),
    "while": lambda X, w: jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] @ X.T @ X), (0, w)
    )[1].sum(),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_fresh_closure_over_fresh_arrays_is_the_same_program(name):
    body = BODIES[name]
    first, second = _programs(lambda X: lambda w: body(X, w), [jnp.eye(3), 2 * jnp.eye(3)])
    assert first == second and hash(first) == hash(second)


def test_different_programs_differ():
    X = jnp.eye(3)
    bodies = list(BODIES.values())
    programs = [lift(lambda w, b=b: b(X, w), jnp.ones(3)).program for b in bodies]
    assert len(set(programs)) == len(programs)


def test_axis_dtype_and_shape_are_part_of_the_program():
    X = jnp.ones((3, 3))
    a = lift(lambda w: (X @ w).sum(), jnp.ones(3)).program
    assert a != lift(lambda w: (X[:2] @ w).sum(), jnp.ones(3)).program
    assert a != lift(lambda w: (X @ w).sum(), jnp.ones(3, jnp.float16)).program
    assert (
        lift(lambda w: (X * w).sum(0)[0], jnp.ones(3)).program
        != lift(lambda w: (X * w).sum(1)[0], jnp.ones(3)).program
    )


def test_captured_arrays_are_leaves_and_values_follow_them():
    for scale in (1.0, 2.0):
        X = scale * jnp.arange(9.0).reshape(3, 3)
        lifted = lift(lambda w, X=X: (X @ w).sum(), jnp.ones(3))
        np.testing.assert_allclose(lifted(jnp.ones(3)), X.sum(), rtol=1e-6)
        assert any(np.array_equal(v, X) for v in jax.tree.leaves(lifted))


def test_gradient_through_captured_tracer_is_exact():
    def value(a):
        lifted = lift(lambda w: jnp.sum(w**2) * a**3, jnp.ones(2))
        return lifted(jnp.ones(2))

    np.testing.assert_allclose(jax.grad(value)(2.0), 2 * 3 * 2.0**2, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(value))(2.0), 2 * 6 * 2.0, rtol=1e-6)


def test_python_numbers_become_leaves_once_seen_to_vary():
    make = lambda c: lambda w: jnp.sum(w * c + 1.5)  # noqa: E731
    programs = _programs(make, [0.1, 0.2, 0.3, 0.7])
    assert programs[1] == programs[2] == programs[3]
    values = [float(lift(make(c), jnp.ones(2))(jnp.ones(2))) for c in (0.1, 0.7)]
    np.testing.assert_allclose(values, [3.2, 4.4], rtol=1e-6)


def test_the_same_function_is_traced_once_and_a_changed_one_again():
    X = jnp.ones((2, 3))

    def f(w):
        return (X @ w).sum()

    lift(f, jnp.ones(3))
    before = lifting.traces()
    lift(f, jnp.ones(3))
    assert lifting.traces() == before
    X = 2 * X  # the closure's cell now holds another array
    assert float(lift(f, jnp.ones(3))(jnp.ones(3))) == 12.0
    assert lifting.traces() == before + 1


def test_an_array_that_can_change_in_place_is_read_again():
    X = np.ones((2, 3), np.float32)

    def f(w):
        return (X @ w).sum()

    assert float(lift(f, jnp.ones(3))(jnp.ones(3))) == 6.0
    X[0, 0] = 5.0
    assert float(lift(f, jnp.ones(3))(jnp.ones(3))) == 10.0


def test_an_opaque_program_is_compared_by_identity():
    def make(c):
        return lambda w: jnp.sum(
            jax.pure_callback(lambda v: v * c, jax.ShapeDtypeStruct((3,), jnp.float32), w)
        )

    first, second = _programs(make, [1.0, 2.0])
    assert first != second


def test_what_is_not_callable_is_named():
    with pytest.raises(TypeError, match="the objective must be callable, got float"):
        lift(3.0, jnp.ones(2), what="objective")
