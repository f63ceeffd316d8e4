"""Inclusions, saddle points and games: operators, residuals, samples, derivatives of solutions, refusals."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.core import tree
from frechet.workbench.checking.counting import instrumented

M = np.array([[0.8, -1.0, 0.2], [1.1, 0.7, 0.0], [0.1, 0.3, 0.9]])
Q = np.array([0.4, -2.0, 0.3])
A = np.array([[2.0, -1.0], [0.5, 1.0], [-1.0, 0.3]])


class Extragradient(fr.Solver):
    """Plain steps, so that these tests ask for no solver of the library."""

    accepts: ClassVar[type[fr.Problem]] = fr.Inclusion

    def init(self, problem, x0, *, key):
        return fr.State(x0, fr.Calls())

    def step(self, problem, state, *, key):
        ahead = problem.prox(tree.axpy(-0.3, problem.operator(state.x), state.x), 0.3)
        x = problem.prox(tree.axpy(-0.3, problem.operator(ahead), state.x), 0.3)
        return fr.State(x, state.calls.add(gradient=2, prox=2))


def affine(z):
    return jnp.asarray(M, z.dtype) @ z + jnp.asarray(Q, z.dtype)


def bilinear(x, y):
    """Convex in a dict ``x``, concave in an array ``y``."""
    u = jnp.concatenate([x["a"], x["b"][None]])
    return 0.5 * jnp.sum(u**4) + u @ jnp.asarray(A, u.dtype) @ y - jnp.sum(jnp.cosh(y))


def pair(precision):
    x = {"a": jnp.asarray([0.5, -1.0], precision), "b": jnp.asarray(0.3, precision)}
    return fr.SaddlePoint(x, jnp.asarray([0.2, -0.4], precision))


# ------------------------------------------------------------------ operators


def test_the_operator_of_a_saddle_is_its_signed_gradient(precision):
    z = pair(precision)
    problem = fr.Saddle(bilinear)
    got = problem.operator(z)
    assert isinstance(got, fr.SaddlePoint)
    # in NumPy, by hand
    u, y = np.append(np.asarray(z.minimiser["a"], float), float(z.minimiser["b"])), np.asarray(z.maximiser)
    in_x, in_y = 2 * u**3 + A @ y, -(A.T @ u - np.sinh(y))
    tol = 50 * float(jnp.finfo(precision).eps)
    np.testing.assert_allclose(got.minimiser["a"], in_x[:2], rtol=tol, atol=tol)
    np.testing.assert_allclose(got.minimiser["b"], in_x[2], rtol=tol, atol=tol)
    np.testing.assert_allclose(got.maximiser, in_y, rtol=tol, atol=tol)
    assert all(v.dtype == precision for v in jax.tree.leaves(got))
    np.testing.assert_allclose(
        problem.value(z), 0.5 * np.sum(u**4) + u @ A @ y - np.sum(np.cosh(y)), rtol=tol
    )


def test_the_operator_of_a_game_is_every_players_own_gradient():
    def costs(z):
        coupled = jnp.sum(z["b"]["c"]) * z["a"] @ z["a"]
        return {"a": coupled - jnp.sum(z["a"]), "b": -(coupled**2), "d": jnp.sin(z["d"] * z["a"][0])}

    z = {
        "a": jnp.asarray([0.5, -1.0]),
        "b": {"c": jnp.asarray([[0.3], [0.4]])},
        "d": jnp.asarray(0.7),
    }
    own = {name: jax.grad(lambda z, name=name: costs(z)[name])(z)[name] for name in z}
    for game in (fr.Game(costs), fr.Game(lambda z: list(costs(z).values())).lifted(z)):
        got = game.operator(z)
        assert jax.tree.structure(got) == jax.tree.structure(z)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(own), strict=True):
            np.testing.assert_allclose(a, b, rtol=50 * float(jnp.finfo(jnp.float32).eps))
    alone = fr.Game(lambda z: (jnp.sum(z**3),)).operator(jnp.asarray([1.0, 2.0]))
    np.testing.assert_array_equal(alone, [3.0, 12.0])


def test_a_game_calls_its_costs_once():
    seen = []

    def costs(z):
        seen.append(z)
        return [jnp.sum(part * z[0]) for part in z]

    jax.make_jaxpr(fr.Game(costs).operator)(tuple(jnp.ones(2) for _ in range(5)))
    assert len(seen) == 1


# ------------------------------------------------------------------ residuals


def test_the_residual_is_zero_at_a_solution_and_nowhere_near(precision):
    # In [-1, 1]^3 the second entry is at its bound and the others solve what is left.
    free = [0, 2]
    z = np.array([0.0, 1.0, 0.0])
    z[free] = np.linalg.solve(M[np.ix_(free, free)], -(Q + M[:, 1])[free])
    assert np.all(np.abs(z) <= 1) and (M @ z + Q)[1] < 0
    problem = fr.Inclusion(affine, fr.convex.Box(-1.0, 1.0))
    at = jnp.asarray(z, precision)
    np.testing.assert_allclose(problem.optimality(at), 0, atol=8 * float(jnp.finfo(precision).eps))
    for other in np.random.default_rng(0).uniform(-1, 1, (20, 3)):
        modulus, L = np.linalg.eigvalsh((M + M.T) / 2)[0], np.linalg.norm(M, 2)
        residual = np.linalg.norm(problem.optimality(jnp.asarray(other, precision)))
        assert residual >= 0.99 * np.linalg.norm(other - z) * modulus / (1 + L)
        np.testing.assert_allclose(
            problem.objective(jnp.asarray(other, precision)), residual**2 / 2, rtol=1e-4
        )


def test_a_matrix_game_is_solved_at_its_mixed_equilibrium():
    # [[2, -1], [-1, 1]]: both players mix 2/5 and 3/5, the value is 1/5.
    payoff = jnp.asarray([[2.0, -1.0], [-1.0, 1.0]])
    simplex = fr.convex.Simplex()
    game = fr.Saddle(
        lambda x, y: x @ payoff @ y,
        simplex,
        simplex,
        lambda x, y: jnp.max(payoff.T @ x) - jnp.min(payoff @ y),
    )
    mixed = jnp.asarray([0.4, 0.6])
    z = fr.SaddlePoint(mixed, mixed)
    eps = float(jnp.finfo(jnp.float32).eps)
    np.testing.assert_allclose(tree.norm(game.optimality(z)), 0, atol=8 * eps)
    np.testing.assert_allclose(game.objective(z), 0.2, rtol=8 * eps)
    np.testing.assert_allclose(game.measures(z)["duality_gap"], 0, atol=8 * eps)
    pure = z._replace(maximiser=jnp.asarray([1.0, 0.0]))
    np.testing.assert_allclose(game.measures(pure)["duality_gap"], 0.2 + 1.0, rtol=8 * eps)
    assert tree.norm(game.optimality(pure)) > 0.1
    outside = jnp.asarray([2.0, 0.0])
    assert game.objective(z._replace(maximiser=outside)) == -jnp.inf
    assert game.objective(fr.SaddlePoint(outside, outside)) == jnp.inf


def test_measures_are_those_that_were_given():
    assert fr.Saddle(bilinear).measures(pair(jnp.float32)) == {}
    game = fr.Game(lambda z: [jnp.sum(z[0] * z[1])] * 2, exploitability=lambda z: z[0] + z[1])
    run = fr.run(
        fr.Saddle(lambda x, y: x * y, gap=lambda x, y: x**2 + y**2),
        (1.0, 2.0),
        Extragradient(),
        budget=fr.Budget(steps=10),
        progress=False,
    )
    assert float(game.measures((jnp.asarray(1.0), jnp.asarray(2.0)))["exploitability"]) == 3.0
    x, y = run.solution.x
    assert run.trace.rows[-1]["measure_duality_gap"] == pytest.approx(float(x**2 + y**2))
    # one step shrinks by |1 - 0.3 i (1 - 0.3 i)|^2, a rotation being multiplication by i
    assert run.trace.rows[-1]["measure_duality_gap"] == pytest.approx(
        5 * abs(1 - 0.3j - 0.09) ** 20, rel=1e-3
    )


# ------------------------------------------------------------------ components


def test_a_mean_of_components_is_the_operator_and_its_samples(precision):
    rng = np.random.default_rng(1)
    Ms, qs = rng.normal(size=(7, 3, 3)), rng.normal(size=(7, 3))
    data = (jnp.asarray(Ms, precision), jnp.asarray(qs, precision))
    problem = fr.FiniteSumInclusion(lambda z, d: {"z": d[0] @ z["z"] + d[1]}, data)
    z, indices = {"z": jnp.asarray([0.3, -1.0, 2.0], precision)}, jnp.array([3, 3, 6])
    v, tol = np.asarray(z["z"]), 100 * float(jnp.finfo(precision).eps)
    assert problem.count == 7 and "sample" in problem.offers()
    np.testing.assert_allclose(problem.operator(z)["z"], np.mean(Ms @ v + qs, 0), rtol=tol, atol=tol)
    np.testing.assert_allclose(
        problem.sample_operator(z, indices)["z"], np.mean((Ms @ v + qs)[[3, 3, 6]], 0), rtol=tol, atol=tol
    )
    everything = problem.lifted(z).sample_operator(z, jnp.arange(7))
    np.testing.assert_allclose(everything["z"], problem.operator(z)["z"], rtol=tol, atol=tol)


def test_a_mean_of_terms_is_the_saddle_and_its_samples():
    rng = np.random.default_rng(2)
    K, c = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2))
    data = {"K": jnp.asarray(K), "c": jnp.asarray(c)}
    problem = fr.FiniteSumSaddle(lambda x, y, d: x @ d["K"] @ y + d["c"] @ x, data)
    z = problem.start((jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 0.0, 1.0])))
    x, y = (np.asarray(v) for v in z)
    tol = 100 * float(jnp.finfo(jnp.float32).eps)
    for indices in ([0, 1, 2, 3, 4], [2, 2, 4]):
        got = problem.sample_operator(z, jnp.array(indices))
        np.testing.assert_allclose(got.minimiser, (K[indices] @ y + c[indices]).mean(0), rtol=tol, atol=tol)
        np.testing.assert_allclose(got.maximiser, -(x @ K[indices]).mean(0), rtol=tol, atol=tol)
    np.testing.assert_allclose(problem.operator(z).maximiser, -(x @ K).mean(0), rtol=tol, atol=tol)


def test_counts_are_of_gradients_samples_and_products():
    problem, seen = instrumented(fr.FiniteSumInclusion(lambda z, d: d * z, jnp.ones(4), fr.convex.L1(1.0)))
    z = jnp.ones(2)
    jax.jvp(problem.operator, (z,), (z,))
    problem.sample_operator(z, jnp.arange(3))
    problem.prox(z, 1.0)
    jax.effects_barrier()
    assert dict(seen) == {"gradient": 1, "hvp": 1, "sample": 3, "prox": 1}
    problem.optimality(z)
    jax.effects_barrier()
    assert dict(seen) == {"gradient": 2, "hvp": 1, "sample": 3, "prox": 2}


# ------------------------------------------------------------------ what they say of themselves


def test_what_is_offered():
    common = {"operator", "prox"}
    simplex = common | {"linear_min", "vertices", "entropy prox"}
    assert set(fr.Inclusion(affine, fr.convex.Simplex()).offers()) == simplex
    assert set(fr.Inclusion(affine).offers()) >= common | {"smooth", "bounds"}
    assert "separable" in fr.Inclusion(affine, fr.convex.L1(1.0)).offers()
    saddle = fr.Saddle(bilinear, g_y=fr.convex.Simplex())
    assert set(saddle.offers()) == common | {"value", "players"}
    assert "smooth" in fr.Saddle(bilinear).offers() and "players" in fr.Game(sum).offers()
    assert isinstance(saddle.g_x, fr.convex.Zero) and isinstance(saddle.g_y, fr.convex.Simplex)
    assert not hasattr(saddle.F, "lipschitz")


def test_a_saddle_has_the_constants_of_its_function():
    class Known(fr.losses.Squared):
        def __call__(self, x, y):
            return super().__call__(x) - super().__call__(y)

    loss = Known(jnp.eye(2), jnp.zeros(2))
    problem = fr.Saddle(loss)
    assert problem.F.lipschitz() == loss.lipschitz() and problem.count == 2


def test_a_start_is_moved_into_bounds_and_a_pair_is_enough():
    box = fr.convex.Box(0.0, 1.0)
    z = fr.Saddle(lambda x, y: x * y, box, box).start([jnp.asarray(3.0), jnp.asarray(-1.0)])
    assert z == fr.SaddlePoint(1.0, 0.0)
    z = fr.Inclusion(affine, box).start(jnp.array([jnp.inf, 2.0, 0.5]))
    assert z.tolist() == [jnp.inf, 1.0, 0.5]


# ------------------------------------------------------------------ solutions and their derivatives


def solved(q, upper, start=(0.0, 0.0, 0.0)):
    F = lambda z: jnp.asarray(M, z.dtype) @ z + q  # noqa: E731
    problem = fr.Inclusion(F, fr.convex.Box(-1.0, upper))
    return fr.solve(problem, jnp.asarray(start), Extragradient(), tol=1e-10)


def test_the_solution_of_a_variational_inequality_has_a_derivative():
    with jax.enable_x64(True):
        q, upper, h = jnp.asarray(Q), jnp.asarray(1.0), 1e-5
        find = jax.jit(lambda q, upper: solved(q, upper).x)
        assert find(q, upper)[1] == 1.0
        in_q, in_upper = jax.jit(jax.jacfwd(find, argnums=(0, 1)))(q, upper)
        for j in range(3):
            e = h * jnp.eye(3)[j]
            np.testing.assert_allclose(
                in_q[:, j], (find(q + e, upper) - find(q - e, upper)) / (2 * h), atol=1e-4
            )
        np.testing.assert_allclose(in_upper, (find(q, upper + h) - find(q, upper - h)) / (2 * h), atol=1e-4)


def test_a_constraint_weakly_active_is_a_kink():
    box, at, distance = fr.convex.Box(-1.0, 1.0), jnp.ones(2), jnp.asarray(1e-3)
    # Without the box the solution lies exactly on its boundary, or far from it.
    assert fr.Inclusion(lambda z: z - 1.0, box).near_kink(at, distance)
    assert not fr.Inclusion(lambda z: z - 3.0, box).near_kink(at, distance)


# ------------------------------------------------------------------ refusals

ONES = jnp.ones(2)
WRONG = {
    "F is no function": (lambda: fr.Inclusion(3.0), "F must be callable, got float"),
    "g is no function": (lambda: fr.Inclusion(affine, 1.0), "g must be a frechet.convex.Function, got float"),
    "f is no function": (lambda: fr.Saddle(3.0), "f must be callable, got float"),
    "g_y is no function": (lambda: fr.Saddle(bilinear, g_y=1.0), "g_y must be a frechet.convex.Function"),
    "gap is no function": (lambda: fr.Saddle(bilinear, gap=1.0), "gap must be callable or None, got float"),
    "costs are no function": (lambda: fr.Game([1.0]), "costs must be callable, got list"),
    "a component is no function": (lambda: fr.FiniteSumInclusion(1.0, ONES), "component must be callable"),
    "F of another shape": (
        lambda: fr.solve(fr.Inclusion(jnp.sum, fr.convex.NonNegative()), ONES, Extragradient()),
        r"x is float32\[2\] but F\(x\) there is float32\[\]",
    ),
    "F of another structure": (
        lambda: fr.solve(fr.Inclusion(lambda z: (z, z)), ONES, Extragradient()),
        r"F\(x\) has structure .*; return a pytree like x",
    ),
    "f is a vector": (
        lambda: fr.solve(fr.Saddle(lambda x, y: x * y), (ONES, ONES), Extragradient()),
        r"f\(x, y\) must be a scalar, got shape \(2,\); take its sum or mean",
    ),
    "a start that is no pair": (
        lambda: fr.solve(fr.Saddle(jnp.vdot), ONES, Extragradient()),
        r"the point of a Saddle is a pair \(x, y\)",
    ),
    "a start of three": (
        lambda: fr.solve(fr.Saddle(jnp.vdot), (ONES,) * 3, Extragradient()),
        r"a pair \(x, y\), got 3 parts",
    ),
    "too few costs": (
        lambda: fr.solve(fr.Game(lambda z: [z[0] @ z[1]]), (ONES, ONES), Extragradient()),
        r"costs\(x\) must be 2 scalars, one for each top-level part \(player\) of x, got shapes \[\]",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_says_in_a_line_what_is_wrong(what):
    make, words = WRONG[what]
    with pytest.raises(TypeError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
