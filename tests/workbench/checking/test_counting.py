"""The instrumented problem sees what is asked of it, however it is asked."""

import jax
import jax.numpy as jnp
import pytest

import frechet as fr
from frechet.workbench.checking.counting import instrumented

X = jnp.arange(6.0).reshape(3, 2)


def problem() -> fr.Composite:
    return fr.Composite(lambda w: jnp.sum(jnp.tanh(X @ w) ** 2), fr.convex.L1(0.1)).lifted(jnp.ones(2))


def least_squares() -> fr.LeastSquares:
    return fr.LeastSquares(lambda w: jnp.tanh(X @ w)).lifted(jnp.ones(2))


def finite_sum() -> fr.FiniteSum:
    p = fr.FiniteSum(lambda w, d: jnp.tanh(d @ w) ** 2, X)
    return p.lifted(jnp.ones(2))  # pyright: ignore[reportReturnType]


def looped(p, x):
    return jax.lax.fori_loop(0, jnp.asarray(5), lambda _, x: p.prox(x, 0.1), x)


def linearised(p, x):
    product = jax.linearize(lambda v: p.hvp(x, v), x)[1]
    return jax.lax.fori_loop(0, 3, lambda _, v: product(v), x)


def jacobian(p, x):
    push = jax.linearize(p.residual, x)[1]
    return jax.vmap(push)(jnp.eye(2))


ASKED = {
    "value": (problem, lambda p, x: p.value(x), {"value": 1}),
    "gradient": (problem, lambda p, x: p.gradient(x), {"gradient": 1}),
    "both": (problem, lambda p, x: p.value_and_gradient(x), {"value": 1, "gradient": 1}),
    "differentiated by hand": (problem, lambda p, x: jax.grad(p.value)(x), {"value": 1, "gradient": 1}),
    "product": (problem, lambda p, x: p.hvp(x, x), {"hvp": 1}),
    "linearised product": (problem, linearised, {"hvp": 3}),
    "in a loop": (problem, looped, {"prox": 5}),
    "in a batch": (problem, lambda p, x: jax.vmap(p.value)(jnp.ones((4, 2))), {"value": 4}),
    "one branch of two": (
        problem,
        lambda p, x: jax.lax.cond(x[0] > 0, lambda x: p.gradient(x), lambda x: p.prox(x, 1.0), x),
        {"gradient": 1},
    ),
    "optimality map": (problem, lambda p, x: p.optimality(x), {"gradient": 1, "prox": 1}),
    "objective": (problem, lambda p, x: p.objective(x), {"value": 1}),
    "residual": (least_squares, lambda p, x: p.residual(x), {"value": 1}),
    "Jacobian": (least_squares, jacobian, {"value": 1, "hvp": 2}),
    "samples": (
        finite_sum,
        lambda p, x: p.sample_value_and_gradient(x, jnp.array([0, 2])),
        {"sample": 2},
    ),
    "each term": (
        finite_sum,
        lambda p, x: jax.vmap(lambda i: p.sample_value_and_gradient(x, i[None]))(jnp.arange(3)),
        {"sample": 3},
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_sees(asked: str) -> None:
    make, ask, expected = ASKED[asked]
    counting, seen = instrumented(make())
    out = jax.jit(lambda p, x: ask(p, x))(counting, jnp.ones(2))
    jax.effects_barrier()
    assert dict(seen) == expected
    plain = ask(make(), jnp.ones(2))
    assert all(map(jnp.allclose, jax.tree.leaves(out), jax.tree.leaves(plain)))
    assert isinstance(counting, type(make())) and counting.offers() == make().offers()
