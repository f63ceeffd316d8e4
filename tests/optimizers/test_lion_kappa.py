"""Lion-K: its updates against the table in NumPy, its conjugates, the problem it solves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import frechet as fr
from frechet import convex
from frechet.optimizers.conjugate import DecayPenalty, conjugate_value
from frechet.optimizers.kappa import EpsilonInsensitive, KLargest, LogCosh, LpNorm, PseudoHuber
from frechet.optimizers.lion_kappa import lion_kappa, scale_by_lion_kappa
from tests.optimizers.trajectory import trajectory

E = 0.3
GROUPS = np.array([0, 0, 1, 2, 2, 2])


def _by_group(u):
    sizes = np.sqrt(np.bincount(GROUPS, np.ravel(u) ** 2))
    return u / sizes[GROUPS].reshape(u.shape)


def _largest(u):
    kept = np.argsort(-np.abs(u), axis=None)[:3]
    return np.where(np.isin(np.arange(u.size), kept), np.sign(u), 0)


def _polar(u):
    left, _, right = np.linalg.svd(u.reshape(3, 2), full_matrices=False)
    return (left @ right).reshape(u.shape)


# K and its gradient as the paper's table has it
MEMBERS: dict[str, tuple[convex.Function, Any]] = {
    "l1": (convex.L1(), np.sign),
    "l2": (convex.L2(), lambda u: u / np.linalg.norm(u)),
    "l_p": (LpNorm(3.0), lambda u: np.sign(u) * u**2 / np.sum(np.abs(u) ** 3) ** (2 / 3)),
    "group l2": (convex.GroupLasso(GROUPS), _by_group),
    "Huber": (convex.Huber(1 / E, E), lambda u: np.clip(u / E, -1, 1)),
    "epsilon-insensitive": (EpsilonInsensitive(E), lambda u: np.where(np.abs(u) > E, np.sign(u), 0)),
    "k largest": (KLargest(3), _largest),
    "pseudo-Huber": (PseudoHuber(E), lambda u: u / np.sqrt(u**2 + E**2)),
    "log cosh": (LogCosh(), np.tanh),
    "half squared l2": (convex.SquaredL2(), lambda u: u),
    "nuclear": (convex.Nuclear(), _polar),
}


def _shaped(name: str, v: Any) -> Any:
    return v.reshape(*v.shape[:-1], 3, 2) if name == "nuclear" else v


@pytest.mark.parametrize("name", MEMBERS)
def test_updates_are_those_of_the_table_over_a_hundred_random_gradients(precision, name):
    kappa, gradient = MEMBERS[name]
    g = 3 * np.random.default_rng(0).normal(size=(100, 6)).astype(precision)
    updates = trajectory(scale_by_lion_kappa(kappa), _shaped(name, g), _shaped(name, np.zeros(6, precision)))[
        1
    ]
    m = np.zeros(6)
    for t in range(100):
        c = 0.9 * m + 0.1 * g[t].astype(np.float64)
        m = 0.99 * m + 0.01 * g[t]
        # Rounding turns the polar factor by the condition number times as much.
        sensitivity = np.linalg.cond(c.reshape(3, 2)) if name == "nuclear" else 1
        error, size = np.linalg.norm(np.ravel(updates[t]) - gradient(c)), np.linalg.norm(gradient(c))
        assert error <= {"float32": 1e-6, "float64": 1e-12}[precision.name] * sensitivity * size


def test_by_default_it_is_optax_lion_to_the_bit(precision):
    rng = np.random.default_rng(0)
    g = {k: jnp.asarray(rng.normal(size=(100, *s)), precision) for k, s in {"w": (4, 3), "b": ()}.items()}
    start = jax.tree.map(lambda v: 2 * jnp.ones_like(v[0]), g)
    ours, theirs = (
        trajectory(make(0.01, weight_decay=0.1), g, start)[0] for make in (lion_kappa, optax.lion)
    )
    assert all(np.array_equal(ours[k], theirs[k]) for k in g)


@pytest.mark.parametrize("proximal", [False, True])
def test_half_the_squared_norm_gives_momentum_with_either_form_of_decay(precision, proximal):
    g = np.random.default_rng(0).normal(size=(100, 6)).astype(precision)
    schedule = lambda t: 0.1 - 0.001 * t  # noqa: E731
    tx = lion_kappa(schedule, weight_decay=0.5, kappa=convex.SquaredL2(), proximal=proximal)
    path = trajectory(tx, g, jnp.ones(6, precision))[0]
    x, m = np.ones(6), np.zeros(6)
    for t in range(100):
        rate, c = 0.1 - 0.001 * t, 0.9 * m + 0.1 * g[t].astype(np.float64)
        m = 0.99 * m + 0.01 * g[t]
        x = (x - rate * c) / (1 + rate * 0.5) if proximal else x - rate * (c + 0.5 * x)
    error = np.linalg.norm(path[-1] - x) / np.linalg.norm(x)
    assert error < {"float32": 1e-6, "float64": 1e-12}[precision.name]


def test_the_trace_of_the_box():
    target = jnp.array([5.0, 0.3, -4.0])
    tx = lion_kappa(0.01, weight_decay=0.5)

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(x - target, state, x)
        return (x + updates, state), x

    with jax.enable_x64(True):
        x0 = jnp.array([10.0, -7.0, 1.0])
        path = jax.jit(lambda x0: jax.lax.scan(step, (x0, tx.init(x0)), length=1001)[1])(x0)
    outside = np.max(np.abs(path) - 2, axis=1).clip(0)
    assert round(float(outside[100]), 2) == 3.27
    assert np.all(outside <= 8 * 0.995 ** np.arange(1001) * (1 + 1e-12))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_gradient_of_zero_moves_nothing(name):
    x = _shaped(name, jnp.zeros(6))
    assert not np.any(trajectory(scale_by_lion_kappa(MEMBERS[name][0]), x[None], x)[1])


@pytest.mark.parametrize("g", [convex.L1(), convex.ElasticNet(), convex.TotalVariation1D()])
def test_gradients_of_penalties_are_zero_where_they_vanish(g):
    assert np.array_equal(jax.grad(g)(jnp.zeros(3)), np.zeros(3))


def test_weights_of_rank_one_gradients_move_along_them_alone():
    u, v = np.array([0.6, 0.8, 0.0]), np.array([0.0, 1.0])
    g = jnp.asarray(7 * np.outer(u, v))
    assert np.allclose(jax.grad(convex.Nuclear())(g), np.outer(u, v), atol=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_conjugates_and_proximal_maps(name):
    # By Fenchel and Young K(p) + K*(q) = <p, q> holds where q is a subgradient at p, and there alone.
    kappa = MEMBERS[name][0]

    @jax.jit
    def gaps(u, step):
        y, p = jax.grad(kappa)(u), kappa.prox(u, step)
        q = (u - p) / step
        return [kappa(a) + conjugate_value(kappa, b) - jnp.sum(a * b) for a, b in ((u, y), (p, q))]

    with jax.enable_x64(True):
        u = _shaped(name, np.random.default_rng(0).normal(size=(5, 6)))
        for i, step in enumerate([0.05, 0.3, 1.0, 3.0, 30.0]):
            assert np.max(np.abs(np.asarray(gaps(u[i], step)))) < 1e-10


@pytest.mark.parametrize("kappa", [LpNorm(3.0), LpNorm(1.4), KLargest(3), PseudoHuber(E), LogCosh()])
def test_proximal_maps_have_their_derivatives(kappa):
    with jax.enable_x64(True):
        u, du = np.random.default_rng(0).normal(size=(2, 6))
        prox = jax.jit(kappa.prox)
        slope = jax.jit(lambda u, s: jax.jvp(kappa.prox, (u, s), (du, 0.7)))(u, 0.5)[1]
        h = 1e-6
        differences = (prox(u + h * du, 0.5 + 0.7 * h) - prox(u - h * du, 0.5 - 0.7 * h)) / (2 * h)
        assert np.max(np.abs(slope - differences)) < 1e-8


@pytest.mark.parametrize(
    ("kappa", "y", "value"),
    [
        (convex.L2(), [0.6, 0.81], np.inf),
        (KLargest(1), [0.7, 0.4], np.inf),
        (convex.L1(2.0), [2.0, -1.0], 0.0),
        (convex.SquaredL2(2.0), [2.0, -2.0], 2.0),
        (convex.Huber(2.0, 0.5), [1.0, -0.5], 0.3125),
        (EpsilonInsensitive(0.5), [1.0, -0.5], 0.75),
        (PseudoHuber(0.5), [0.6, -0.8], -0.7),
        (LogCosh(), [1.0, 0.0], np.log(2)),
        (LogCosh(), [1.1, 0.0], np.inf),
    ],
)
def test_values_of_conjugates_by_hand(kappa, y, value):
    assert np.isclose(conjugate_value(kappa, jnp.array(y)), value, rtol=1e-6)


def test_functions_of_parts_have_the_conjugates_of_their_parts():
    rows = convex.Rows(convex.L2())
    y = jnp.array([[0.6, 0.8], [0.0, 1.0]])
    assert conjugate_value(rows, y) == 0 and conjugate_value(rows, 1.01 * y) == np.inf
    parts = convex.PerLeaf({"w": rows, "b": convex.SquaredL2()})
    assert conjugate_value(parts, {"w": y, "b": jnp.array([2.0])}) == 2
    updates = trajectory(
        scale_by_lion_kappa(parts), {"w": y[None], "b": jnp.ones((1, 1))}, {"w": y, "b": jnp.ones(1)}
    )
    assert np.allclose(updates[1]["w"][0], y) and np.allclose(updates[1]["b"], 0.1)


class _Hinge(convex.Function):
    """The sum of positive parts: not symmetric, its conjugate the indicator of [0, 1]."""

    def __call__(self, x):
        return jnp.sum(jnp.where(x > 0, x, 0))

    def prox(self, x, step):
        return jnp.where(x > step, x - step, jnp.where(x > 0, 0, x))


def test_any_convex_function_will_do_also_one_that_is_not_symmetric():
    target = jnp.array([5.0, 0.3, -4.0])
    schedule = optax.linear_schedule(0.02, 0.0, 4000)
    tx = lion_kappa(schedule, weight_decay=0.5, kappa=_Hinge())
    problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - target) ** 2), DecayPenalty(_Hinge(), 0.5))

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(x - target, state, x)
        return (x + updates, state), None

    x0 = jnp.ones(3)
    x = jax.jit(lambda x0: jax.lax.scan(step, (x0, tx.init(x0)), length=4000)[0][0])(x0)
    assert np.allclose(x, [2.0, 0.3, 0.0], atol=1e-3)
    assert np.allclose(problem.g.prox(target, 1.0), [2.0, 0.3, 0.0])
    with pytest.raises(TypeError, match="conjugate of _Hinge is not known in closed form"):
        problem.objective(x)


def test_the_function_may_stand_beside_injected_hyperparameters():
    tx = optax.inject_hyperparams(lion_kappa, static_args="kappa")(0.1, weight_decay=0.0, kappa=convex.L2())
    updates: Any = tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.ones(2)), jnp.ones(2))[0]
    assert np.allclose(updates, [-0.06, 0.08])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lion_kappa(kappa="l1"), TypeError, "must be a convex function"),  # pyright: ignore
        (lambda: LpNorm(1.0), ValueError, "p must be between 1 and infinity"),
        (lambda: KLargest(0), ValueError, "k must be a positive integer"),
        (lambda: PseudoHuber(0.0), ValueError, "width must be above zero"),
        (lambda: DecayPenalty(convex.L1(), 0.0), ValueError, "weight_decay must be above zero"),
    ],
)
def test_errors_name_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()
