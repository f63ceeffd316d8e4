"""What nobody can solve: a one-line error where the data are at hand, a status under jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr

SQUARE = lambda x: jnp.sum((x - 0.5) ** 2)  # noqa: E731
WRONG = {
    "bounds crossed": (lambda: fr.Bounded(SQUARE, 1.0, 0.0), ValueError, "lower must not exceed upper"),
    "bounds of another length": (
        lambda: fr.solve(fr.Bounded(SQUARE, jnp.zeros(3), 1.0), jnp.ones(2)),
        (TypeError, ValueError),
        "lower|shape",
    ),
    "an integer start in bounds": (
        lambda: fr.solve(fr.Bounded(SQUARE, 0.0, 1.0), jnp.ones(2, int)),
        TypeError,
        "dtype int.*; pass floats",
    ),
    "an integer start with constraints": (
        lambda: fr.solve(fr.Constrained(SQUARE, eq=jnp.sum), jnp.ones(2, int)),
        TypeError,
        "dtype int.*; pass floats",
    ),
    "an integer start of a quadratic program": (
        lambda: fr.solve(fr.QuadraticProgram(jnp.eye(2)), jnp.ones(2, int)),
        TypeError,
        "dtype int.*; pass floats",
    ),
    "an empty ball": (lambda: fr.convex.L2Ball(-1.0), ValueError, "radius"),
    "an empty simplex": (lambda: fr.convex.Simplex(-1.0), ValueError, "scale"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_names_what_is_wrong(what):
    make, error, words = WRONG[what]
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


STATUS = {
    "Bounded, NaN in a bound": (lambda v: fr.Bounded(SQUARE, v, 1.0), "nonfinite"),
    "Composite, a projection of NaN": (
        lambda v: fr.Composite(lambda x: jnp.sum(v * x), fr.convex.Simplex()),
        "nonfinite",
    ),
    "Constrained, NaN in an equation": (lambda v: fr.Constrained(SQUARE, eq=lambda x: x - v), "nonfinite"),
    "QuadraticProgram, NaN in q": (lambda v: fr.QuadraticProgram(jnp.eye(2), v, lower=0.0), "nonfinite"),
    "LinearComposite, NaN in K": (
        lambda v: fr.LinearComposite(SQUARE, h=fr.convex.L1(), K=lambda x: v * x),
        "nonfinite",
    ),
    "Root, NaN in F": (lambda v: fr.Root(lambda x: x - v), "nonfinite"),
    "FixedPoint, NaN in T": (lambda v: fr.FixedPoint(lambda x: 0.5 * x + v), "nonfinite"),
}


@pytest.mark.parametrize("what", STATUS)
def test_a_status_under_jit_and_a_finite_point(what, precision):
    make, ending = STATUS[what]
    x0 = jnp.full(2, 0.5, precision)
    solution = jax.jit(lambda v: fr.solve(make(v), x0, max_steps=50))(jnp.array([jnp.nan, 0.0], precision))
    assert solution.status.name == ending
    assert "data hold NaN" in str(solution.status)
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(solution.x))
