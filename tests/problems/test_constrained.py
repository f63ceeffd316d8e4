"""`Constrained`: the KKT map on points made by hand, its oracles, starts and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr


def disc(dtype):
    """The lowest x + y in the disc of radius sqrt(2), on the line x - y = 0; solved by (-1, -1)."""
    two = jnp.asarray(2.0, dtype)
    return fr.Constrained(
        lambda v: v["x"] + v["y"],
        eq=lambda v: v["x"] - v["y"],
        ineq=lambda v: (v["x"] ** 2 + v["y"] ** 2 - two, -v["x"] - 5),
    )


def at(x, y, nu, active, slack, dtype):
    number = lambda v: jnp.asarray(v, dtype)  # noqa: E731
    return fr.KKTPoint({"x": number(x), "y": number(y)}, number(nu), (number(active), number(slack)))


def test_the_map_vanishes_at_the_solution_and_only_there(precision):
    problem = disc(precision)
    solution = at(-1, -1, 0, 0.5, 0, precision)
    F = problem.optimality(solution)
    assert jax.tree.structure(F) == jax.tree.structure(solution)
    assert all(v == 0 and v.dtype == precision for v in jax.tree.leaves(F))


# Each point breaks one condition alone; what the map says about it follows by hand.
BROKEN = {
    "stationarity": ((-1, -1, 0, 0.25, 0), {"primal": (0.5, 0.5)}),
    "the equation": ((-1, -0.5, 0, 0.5, 0), {"dual_eq": -0.5}),
    "the inequality": ((-2, -2, 0, 0.25, 0), {"dual_ineq": (-6.0, 0.0)}),
    "the sign": ((1, 1, 0, -0.5, 0), {"dual_ineq": (-0.5, 0.0)}),
    "complementarity": ((-1, -1, 0, 0.5, 0.25), {"dual_ineq": (0.0, 0.25)}),
    "complementarity, slack the smaller": ((-1, -1, 0, 0.5, 7.0), {"dual_ineq": (0.0, 4.0)}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_condition_is_seen(what, precision):
    values, expected = BROKEN[what]
    F = disc(precision).optimality(at(*values, precision))
    for part, value in expected.items():
        np.testing.assert_allclose(jax.tree.leaves(getattr(F, part)), np.ravel(value), atol=1e-6)


def test_a_weakly_active_constraint_counts_as_inactive():
    # (1/2)(x - a)^2 with x <= 0 at a = 0: x = min(a, 0), so the slopes are 1 and 0; documented is the 1.
    def solution(a):
        problem = fr.Constrained(lambda x: 0.5 * (x - a) ** 2, ineq=lambda x: x)
        return problem.optimality(fr.KKTPoint(jnp.zeros(()), None, jnp.zeros(())))

    assert all(v == 0 for v in jax.tree.leaves(solution(0.0)))
    problem = fr.Constrained(lambda x: 0.5 * x**2, ineq=lambda x: x)
    kink = fr.KKTPoint(jnp.zeros(()), None, jnp.zeros(()))
    slope = jax.jvp(problem.optimality, (kink,), (fr.KKTPoint(jnp.zeros(()), None, jnp.ones(())),))[1]
    assert float(slope.dual_ineq) == 1.0  # the multiplier itself has to be zero: inactive
    slope = jax.jvp(problem.optimality, (kink,), (fr.KKTPoint(jnp.ones(()), None, jnp.zeros(())),))[1]
    assert float(slope.dual_ineq) == 0.0


def test_oracles_against_finite_differences():
    with jax.enable_x64(True):
        problem = disc(float)
        z = at(0.3, -0.7, 0.4, 0.9, 0.2, float)
        v = {"x": jnp.asarray(0.6), "y": jnp.asarray(-1.1)}
        shifted = lambda s: z._replace(primal={k: z.primal[k] + s * v[k] for k in v})  # noqa: E731
        h = 1e-5
        L = [problem.lagrangian(shifted(s)) for s in (-h, h)]
        slope = problem.lagrangian_gradient(z)
        np.testing.assert_allclose(sum(slope[k] * v[k] for k in v), (L[1] - L[0]) / (2 * h), rtol=1e-8)
        G = [problem.lagrangian_gradient(shifted(s)) for s in (-h, h)]
        for k, product in problem.lagrangian_hvp(z, v).items():
            np.testing.assert_allclose(product, (G[1][k] - G[0][k]) / (2 * h), rtol=1e-8)
        # L = f + <y, h> + <lambda, c>, by hand
        f, e = 0.3 - 0.7, 0.3 + 0.7
        c = 0.3**2 + 0.7**2 - 2, -0.3 - 5
        np.testing.assert_allclose(problem.lagrangian(z), f + 0.4 * e + 0.9 * c[0] + 0.2 * c[1], rtol=1e-14)
        np.testing.assert_allclose(problem.infeasibility(z.primal), 1.0)
        assert problem.measures(z).keys() == {"infeasibility"}


def test_bounds_enter_by_projection(precision):
    problem = fr.Constrained(lambda x: jnp.sum(x), g=fr.convex.Box(jnp.asarray(-1.0, precision), jnp.inf))
    F = problem.optimality(fr.KKTPoint(jnp.array([-1.0, 0.5, -2.0], precision)))
    np.testing.assert_allclose(F.primal, [0.0, 1.0, -1.0])
    assert F.dual_eq is None and F.dual_ineq is None
    assert {"bounds", "equations only"} <= problem.offers().keys()


def test_a_primal_start_gets_multipliers_of_zero(precision):
    x = {"x": jnp.asarray(1.0, precision), "y": jnp.asarray(2.0, precision)}
    start = disc(precision).start(x)
    assert start.primal is x and start.dual_eq == 0 and start.dual_ineq == (0, 0)
    assert all(v.dtype == precision for v in jax.tree.leaves(start))
    assert disc(precision).start(start) is start


WRONG = {
    "f": ({"f": 3.0}, "f must be callable, got float"),
    "no f": ({"f": None}, "f must be callable, got NoneType"),
    "eq": ({"f": jnp.sum, "eq": jnp.ones(2)}, "eq must be callable"),
    "ineq": ({"f": jnp.sum, "ineq": "x < 0"}, "ineq must be callable, got str"),
    "g": ({"f": jnp.sum, "g": jnp.sum}, "g must be a frechet.convex.Function"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_named(what):
    arguments, words = WRONG[what]
    with pytest.raises(TypeError, match=words):
        fr.Constrained(**arguments)


def test_an_objective_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="scalar"):
        fr.Constrained(lambda x: x).value(jnp.ones(2))
