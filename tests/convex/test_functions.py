"""Every function and set: a generic convex solver, identities, derivatives, precision."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from frechet import convex


@dataclass(frozen=True)
class Case:
    """A function, the shape of its argument, and its reference: ``variable -> (expression, constraints)``."""

    make: Callable[[], convex.Function]
    shape: tuple[int, ...]
    reference: Callable[[cp.Variable], tuple[Any, list]]


def discovered() -> dict[str, type]:
    """Every public concrete convex subclass of Function in the package."""
    found = {}
    for module in pkgutil.iter_modules(convex.__path__, "frechet.convex."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(value) or not issubclass(value, convex.Function):
                continue
            # Of nonconvex sets other things hold; see test_projections.py.
            if not name.startswith("_") and not inspect.isabstract(value) and value.convex:
                found[name] = value
    return found


W = np.array([0.5, 0.0, 2.0, 1.0, 0.7, 0.3])
A = np.array([[1.0, 2.0, 0.0, -1.0, 0.5, 0.0], [0.0, 1.0, 1.0, 0.0, -2.0, 0.3]])
B = np.array([1.0, -0.5])
HALVES = np.array(
    [[1.0, 1.0, 0.5, 0.0, 0.0, -1.0], [-1.0, 0.0, 1.0, 2.0, 0.0, 0.0], [0.0, -2.0, 0.0, 1.0, 1.0, 0.3]]
)
SIDES = np.array([0.4, 1.0, -0.5])
ROWS, COLUMNS = np.array([0.5, 1.0, 2.0]), np.array([0.25, 1.25, 1.5, 0.5])
GROUPS = np.array([0, 0, 1, 2, 2, 2])


def _group_norms(u):
    return 0.5 * cp.norm(u[:2]) + 1.2 * cp.norm(u[2:3]) + 0.8 * cp.norm(u[3:])


def _psd(u):
    return 0, [u == u.T, u >> 0]


CASES: dict[str, list[Case]] = {
    "Zero": [Case(convex.Zero, (6,), lambda u: (0, []))],
    "L1": [
        Case(lambda: convex.L1(0.8), (6,), lambda u: (0.8 * cp.norm1(u), [])),
        Case(lambda: convex.L1(W), (6,), lambda u: (W @ cp.abs(u), [])),
    ],
    "Rows": [
        Case(
            lambda: convex.Rows(convex.L2(0.7)),
            (3, 2),
            lambda u: (0.7 * sum(cp.norm(u[i]) for i in range(3)), []),
        )
    ],
    "L2": [Case(lambda: convex.L2(1.3), (6,), lambda u: (1.3 * cp.norm(u), []))],
    "SquaredL2": [Case(lambda: convex.SquaredL2(W), (6,), lambda u: (W @ cp.square(u) / 2, []))],
    "ElasticNet": [
        Case(
            lambda: convex.ElasticNet(l1=W, l2=0.4),
            (6,),
            lambda u: (W @ cp.abs(u) + 0.2 * cp.sum_squares(u), []),
        )
    ],
    "GroupLasso": [
        Case(
            lambda: convex.GroupLasso(GROUPS, jnp.array([0.5, 1.2, 0.8])),
            (6,),
            lambda u: (_group_norms(u), []),
        )
    ],
    "Nuclear": [
        Case(lambda: convex.Nuclear(0.9), (3, 3), lambda u: (0.9 * cp.normNuc(u), [])),
        Case(lambda: convex.Nuclear(0.9), (4, 2), lambda u: (0.9 * cp.normNuc(u), [])),
        Case(lambda: convex.Nuclear(0.9), (2, 4), lambda u: (0.9 * cp.normNuc(u), [])),
    ],
    "Huber": [
        # CVXPY's huber(t, M) is twice the one of this library.
        Case(
            lambda: convex.Huber(weight=0.8, delta=1.5), (6,), lambda u: (0.4 * cp.sum(cp.huber(u, 1.5)), [])
        ),
    ],
    "TotalVariation1D": [
        Case(lambda: convex.TotalVariation1D(0.9), (8,), lambda u: (0.9 * cp.norm1(cp.diff(u)), [])),
        Case(
            lambda: convex.TotalVariation1D(W[1:5]),
            (2, 5),
            lambda u: (W[1:5] @ (cp.abs(cp.diff(u[0])) + cp.abs(cp.diff(u[1]))), []),
        ),
    ],
    "Box": [
        Case(lambda: convex.Box(-0.5, W), (6,), lambda u: (0, [u >= -0.5, u <= W])),
        Case(lambda: convex.Box(lower=0.5), (6,), lambda u: (0, [u >= 0.5])),
    ],
    "NonNegative": [Case(convex.NonNegative, (6,), lambda u: (0, [u >= 0]))],
    "Simplex": [Case(lambda: convex.Simplex(1.5), (6,), lambda u: (0, [u >= 0, cp.sum(u) == 1.5]))],
    "L1Ball": [Case(lambda: convex.L1Ball(1.5), (6,), lambda u: (0, [cp.norm1(u) <= 1.5]))],
    "L2Ball": [Case(lambda: convex.L2Ball(1.5), (6,), lambda u: (0, [cp.norm(u) <= 1.5]))],
    "LinfBall": [Case(lambda: convex.LinfBall(1.5), (6,), lambda u: (0, [cp.norm_inf(u) <= 1.5]))],
    "Halfspace": [Case(lambda: convex.Halfspace(A[0], 1.0), (6,), lambda u: (0, [A[0] @ u <= 1.0]))],
    "Hyperplane": [Case(lambda: convex.Hyperplane(A[0], 1.0), (6,), lambda u: (0, [A[0] @ u == 1.0]))],
    "AffineSet": [
        Case(lambda: convex.AffineSet(A, B), (6,), lambda u: (0, [A @ u == B])),
    ],
    "Polyhedron": [
        Case(
            lambda: convex.Polyhedron(A=A[:1], b=B[:1], G=HALVES, h=SIDES),
            (6,),
            lambda u: (0, [A[0] @ u == B[0], HALVES @ u <= SIDES]),
        ),
    ],
    "BoxSection": [
        Case(
            lambda: convex.BoxSection(-0.5, W, w=A[0], c=0.3),
            (6,),
            lambda u: (0, [u >= -0.5, u <= W, A[0] @ u == 0.3]),
        ),
        Case(lambda: convex.BoxSection(0.0, np.inf, c=1.5), (6,), lambda u: (0, [u >= 0, cp.sum(u) == 1.5])),
    ],
    "TransportPolytope": [
        Case(
            lambda: convex.TransportPolytope(ROWS, COLUMNS),
            (3, 4),
            lambda u: (0, [u >= 0, cp.sum(u, 1) == ROWS, cp.sum(u, 0) == COLUMNS]),
        )
    ],
    "BirkhoffPolytope": [
        Case(
            convex.BirkhoffPolytope,
            (3, 3),
            lambda u: (0, [u >= 0, cp.sum(u, 1) == 1, cp.sum(u, 0) == 1]),
        )
    ],
    "Monotone": [
        Case(convex.Monotone, (8,), lambda u: (0, [cp.diff(u) >= 0])),
        Case(
            lambda: convex.Monotone(increasing=False),
            (2, 5),
            lambda u: (0, [cp.diff(u[0]) <= 0, cp.diff(u[1]) <= 0]),
        ),
    ],
    "SecondOrderCone": [Case(convex.SecondOrderCone, (4,), lambda u: (0, [cp.norm(u[1:]) <= u[0]]))],
    "PSDCone": [Case(convex.PSDCone, (3, 3), _psd)],
    "Scaled": [
        Case(lambda: convex.Scaled(1.7, convex.L2(0.5)), (6,), lambda u: (0.85 * cp.norm(u), [])),
        Case(lambda: convex.Scaled(1.7, convex.NonNegative()), (6,), lambda u: (0, [u >= 0])),
    ],
    "PlusQuadratic": [
        Case(
            lambda: convex.PlusQuadratic(convex.L1(0.8), a=0.6, b=A[0]),
            (6,),
            lambda u: (0.8 * cp.norm1(u) + 0.3 * cp.sum_squares(u) + A[0] @ u, []),
        ),
        Case(
            lambda: convex.PlusQuadratic(convex.Simplex(), a=0.6, b=A[0]),
            (6,),
            lambda u: (0.3 * cp.sum_squares(u) + A[0] @ u, [u >= 0, cp.sum(u) == 1]),
        ),
    ],
    "Translated": [
        Case(lambda: convex.Translated(convex.L1(W), A[0]), (6,), lambda u: (W @ cp.abs(u - A[0]), [])),
        Case(lambda: convex.Translated(convex.L2Ball(), A[0]), (6,), lambda u: (0, [cp.norm(u - A[0]) <= 1])),
    ],
    "PerLeaf": [Case(lambda: convex.PerLeaf(convex.L1(0.8)), (6,), lambda u: (0.8 * cp.norm1(u), []))],
}

ALL = [(f"{name}-{i}", case) for name, cases in CASES.items() for i, case in enumerate(cases)]


each = pytest.mark.parametrize("case", [case for _, case in ALL], ids=[name for name, _ in ALL])
few = settings(derandomize=True, deadline=None, max_examples=3, database=None)
many = settings(derandomize=True, deadline=None, max_examples=15, database=None)


def points(case: Case):
    """Arguments, with the zeros and ties that Hypothesis likes; no digits beyond float32."""
    numbers = st.floats(-8, 8, width=32, allow_subnormal=False).map(lambda v: round(v, 3))
    return hnp.arrays(np.float64, case.shape, elements=numbers)


steps = st.sampled_from([0.1, 0.5, 1.0, 3.0])


def generic(case: Case, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=case.shape) * 2


# Compiling is what takes the time here, so the compiler is told not to try hard.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@quick
def oracles(g, x, step):
    """Everything a function offers; compiled once for each case and precision, which keeps this file fast."""
    return {
        "prox": g.prox(x, step),
        "value": g(x),
        "envelope": g.envelope(x, step),
        "gradient": g.envelope_gradient(x, step),
        "conjugate": g.conjugate_prox(x, step),
        "residual": g.residual(x, step * x),
    }


def split(g):
    leaves, rest = eqx.partition(g, eqx.is_inexact_array_like)
    return jax.tree.map(np.asarray, leaves), rest


@quick
def _jacobians(x, step, leaves, rest):
    def prox(x, step, leaves):
        return eqx.combine(leaves, rest).prox(x, step)

    argnums = (0, 1, 2)
    return jax.jacfwd(prox, argnums)(x, step, leaves), jax.jacrev(prox, argnums)(x, step, leaves)


def jacobians(case, x, step):
    """Derivatives of the proximal map by ``x``, the step and the parameters: forward mode, reverse mode."""
    modes = _jacobians(x, np.asarray(step, x.dtype), *split(case.make()))
    return [np.hstack([np.reshape(v, (x.size, -1)) for v in jax.tree.leaves(mode)]) for mode in modes]


def test_every_function_has_a_case():
    assert set(discovered()) == set(CASES)


def test_every_case_is_of_its_class():
    assert all(type(case.make()).__name__ == name for name, cases in CASES.items() for case in cases)


@each
def test_prox_agrees_with_a_generic_solver(case):
    # What is minimised is 1/s-strongly convex, so a gap t puts the solver's point within sqrt(2 s t) of ours.
    u, x, half = cp.Variable(case.shape), cp.Parameter(case.shape), cp.Parameter(nonneg=True)
    value, constraints = case.reference(u)
    objective = value + half * cp.sum_squares(u) - cp.sum(cp.multiply(x, u))
    problem = cp.Problem(cp.Minimize(objective), constraints)

    @few
    @given(points(case), steps)
    def check(point, step):
        x.value, half.value = point / step, 0.5 / step
        problem.solve(solver=cp.CLARABEL)
        theirs, gap = u.value, 1e-8 * (1 + abs(problem.value))
        ours = np.asarray(oracles(g, point, step)["prox"])
        np.testing.assert_allclose(ours, theirs, atol=np.sqrt(2 * step * gap))
        u.value = ours
        assert objective.value <= problem.value + 1e-8 * (1 + abs(problem.value))
        assert all(np.max(c.violation()) < 1e-9 for c in constraints)

    with jax.enable_x64(True):
        g = case.make()
        check()


@each
def test_value_agrees_with_a_generic_solver(case):
    u = cp.Variable(case.shape)
    value, constraints = case.reference(u)
    with jax.enable_x64(True):
        g = case.make()
        for seed in range(3):
            point = generic(case, seed)
            for v in (point, np.asarray(oracles(g, point, 0.5)["prox"])):
                u.value = v
                inside = all(np.max(c.violation()) < 1e-9 for c in constraints)
                expected = value if isinstance(value, int) else value.value
                found = float(oracles(g, v, 0.5)["value"])
                assert found == pytest.approx(expected if inside else np.inf, rel=1e-9, abs=1e-12)


@each
def test_moreau_identity_with_the_conjugate_of_a_generic_solver(case):
    # x = p + s q with p = prox of s g at x and q = prox of g*/s at x/s says that g(p) + g*(q) = <p, q>. The
    # conjugate g*(q) = sup <q, u> - g(u) is computed here by CVXPY (over a large box, so that it stays finite
    # where q is on the edge of the domain).
    u, q = cp.Variable(case.shape), cp.Parameter(case.shape)
    value, constraints = case.reference(u)
    problem = cp.Problem(cp.Maximize(cp.sum(cp.multiply(q, u)) - value), [*constraints, cp.abs(u) <= 50])
    with jax.enable_x64(True):
        g = case.make()
        for seed, step in ((0, 0.5), (1, 2.0)):
            x = generic(case, seed)
            dual = oracles(g, x / step, 1 / step)["conjugate"]
            p = np.asarray(x - step * dual)
            q.value = np.asarray(dual)
            problem.solve(solver=cp.CLARABEL)
            found = float(oracles(g, p, step)["value"]) + problem.value - np.sum(p * q.value)
            assert found == pytest.approx(0, abs=1e-5)


@each
def test_conjugate_prox_satisfies_its_optimality_condition(case):
    # q = prox of s g* at x  iff  u = (x - q)/s is in dg*(q)  iff  q in dg(u)  iff  u = prox of g at u + q.
    @many
    @given(points(case), steps)
    def check(x, step):
        q = np.asarray(oracles(g, x, step)["conjugate"])
        u = (x - q) / step
        np.testing.assert_allclose(oracles(g, u + q, 1.0)["prox"], u, atol=1e-10)

    with jax.enable_x64(True):
        g = case.make()
        check()


@each
def test_prox_is_firmly_nonexpansive(case, precision):
    @many
    @given(points(case), points(case), steps)
    def check(x, y, step):
        x, y = x.astype(precision), y.astype(precision)
        p, q = (np.asarray(oracles(g, v, step)["prox"], np.float64) for v in (x, y))
        d = x.astype(np.float64) - y.astype(np.float64)
        slack = 64 * np.finfo(precision).eps * (1 + np.linalg.norm(x) + np.linalg.norm(y)) ** 2
        assert np.sum((p - q) ** 2) <= np.sum((p - q) * d) + slack

    g = case.make()
    check()


@each
def test_residual(case):
    with jax.enable_x64(True):
        g = case.make()
        x = generic(case)
        p = oracles(g, x, 1.0)["prox"]
        # p minimises g + |. - x|^2 / 2, so p - x is the gradient that makes it a solution.
        np.testing.assert_allclose(quick(lambda g, x, p: g.residual(p, p - x))(g, x, p), 0, atol=1e-12)
        expected = x - oracles(g, x - 0.7 * x, 1.0)["prox"]
        np.testing.assert_allclose(oracles(g, x, 0.7)["residual"], expected, atol=1e-14)


@each
def test_envelope_and_its_gradient(case):
    with jax.enable_x64(True):
        g = case.make()
        x, step, h = generic(case, 3), 0.7, 1e-5
        at = oracles(g, x, step)
        slope = jax.jit(jax.grad(lambda g, x: g.envelope(x, step), argnums=1))(g, x)
        np.testing.assert_allclose(slope, at["gradient"], atol=1e-10)
        assert at["envelope"] <= at["value"] + 1e-12
        p = at["prox"]
        least = oracles(g, np.asarray(p), step)["value"] + np.sum((x - p) ** 2) / (2 * step)
        assert float(at["envelope"]) == pytest.approx(float(least), abs=1e-12)
        for seed in range(3):
            v = generic(case, seed + 10)
            ahead, behind = (oracles(g, x + t * v, step)["envelope"] for t in (h, -h))
            # The gradient is 1/s-Lipschitz: the error is at most |v|^2 h / s even across a kink.
            error = np.sum(v**2) * h / step + 1e-9
            assert float((ahead - behind) / (2 * h)) == pytest.approx(np.sum(at["gradient"] * v), abs=error)


@each
def test_jit_vmap_and_dtype(case, precision):
    g = case.make()
    batch = np.stack([generic(case, seed) for seed in range(2)]).astype(precision)
    steps = np.asarray([0.7, 0.4], precision)
    together = quick(jax.vmap(lambda g, x, step: (g.prox(x, step), g(x)), (None, 0, 0)))(g, batch, steps)
    tolerance = 200 * np.finfo(precision).eps
    for i, step in enumerate((0.7, 0.4)):
        alone = oracles(g, batch[i], step)
        assert {value.dtype for value in alone.values()} == {precision}
        np.testing.assert_allclose(together[0][i], alone["prox"], atol=tolerance)
        np.testing.assert_allclose(together[1][i], alone["value"], rtol=tolerance)
    eager = g.prox(batch[1], 0.4)
    assert eager.dtype == precision
    np.testing.assert_allclose(eager, alone["prox"], atol=tolerance)
    np.testing.assert_allclose(g(batch[1]), alone["value"], rtol=tolerance)


@each
def test_float32_agrees_with_float64(case):
    x = generic(case, 4).astype(np.float32)
    with jax.enable_x64(True):
        exact = np.asarray(oracles(case.make(), x.astype(np.float64), 0.7)["prox"])
        # A float32 x stays what it is, whatever the step and the weights are.
        mixed = jax.eval_shape(oracles, case.make(), x, jnp.asarray(0.7))
        assert all(value.dtype == np.float32 for name, value in mixed.items() if name != "envelope"), mixed
    with jax.enable_x64(False):
        single = oracles(case.make(), x, 0.7)["prox"]
    np.testing.assert_allclose(single, exact, atol=100 * np.finfo(np.float32).eps)


@each
def test_derivatives_of_prox_agree_with_finite_differences(case):
    with jax.enable_x64(True):
        for seed in range(2):
            rng = np.random.default_rng(seed + 100)  # not the direction of x itself
            x = generic(case, seed)
            forward, reverse = jacobians(case, x, 0.7)
            np.testing.assert_allclose(forward, reverse, atol=1e-10)
            leaves, rest = split(case.make())
            at = jax.tree.map(np.asarray, (x, 0.7, leaves))
            # Weights of zero stay, since they may not become negative; infinite bounds stay too.
            fixed = jax.tree.map(lambda v: (v == 0) | ~np.isfinite(v), at)
            along = jax.tree.map(lambda v, f, rng=rng: np.where(f, 0, rng.normal(size=v.shape)), at, fixed)
            expected = []
            for h in (1e-6, -1e-6):
                moved = jax.tree.map(lambda v, d, f, h=h: np.where(f, v, v + h * d), at, along, fixed)
                expected.append(oracles(eqx.combine(moved[2], rest), moved[0], moved[1])["prox"])
            expected = np.ravel(np.asarray(expected[0]) - np.asarray(expected[1])) / 2e-6
            direction = np.concatenate([np.ravel(v) for v in jax.tree.leaves(along)])
            np.testing.assert_allclose(forward @ direction, expected, atol=1e-6)


@each
def test_derivatives_at_kinks_are_in_the_generalised_jacobian(case, precision):
    # Every element of the generalised Jacobian of a proximal map is symmetric with eigenvalues in [0, 1].
    ones = np.ones(case.shape)
    projected = oracles(case.make(), generic(case).astype(precision), 0.7)["prox"]
    repeated = np.eye(*case.shape) if len(case.shape) == 2 else 2 * ones
    tolerance = 200 * np.finfo(precision).eps
    for point in (0 * ones, ones, -ones, repeated, projected):
        forward, reverse = jacobians(case, np.asarray(point, precision), 0.7)
        assert np.all(np.isfinite(forward)) and np.all(np.isfinite(reverse))
        J = forward[:, : ones.size].astype(np.float64)
        np.testing.assert_allclose(J, reverse[:, : ones.size], atol=tolerance)
        np.testing.assert_allclose(J, J.T, atol=tolerance)
        eigenvalues = np.linalg.eigvalsh(J)
        assert eigenvalues.min() > -tolerance and eigenvalues.max() < 1 + tolerance


@each
def test_nan_does_not_vanish(case, precision):
    x = generic(case).astype(precision)
    x[(0,) * x.ndim] = np.nan
    assert np.any(np.isnan(oracles(case.make(), x, 0.7)["prox"]))


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if hasattr(c[0].make(), "weight")])
def test_twice_the_weight_is_twice_the_step(name):
    case = CASES[name][0]
    with jax.enable_x64(True):
        g = case.make()
        double = eqx.tree_at(lambda g: g.weight, g, jax.tree.map(lambda w: 2 * w, g.weight))
        x = generic(case)
        heavy, long = oracles(double, x, 0.4), oracles(g, x, 0.8)
        np.testing.assert_allclose(heavy["prox"], long["prox"], atol=1e-13)
        assert float(heavy["value"]) == pytest.approx(2 * float(long["value"]))


separable = [(name, case) for name, case in ALL if case.make().separable]


@pytest.mark.parametrize("case", [c for _, c in separable], ids=[n for n, _ in separable])
def test_prox_of_a_coordinate_agrees_with_the_whole(case, precision):
    g = case.make()
    x = jnp.asarray(generic(case), precision)
    whole, tolerance = oracles(g, x, 0.7)["prox"], 4 * np.finfo(precision).eps
    one = jax.jit(lambda i: g.prox_coordinate(x[i], i, 0.7))
    alone = jnp.stack([one(i) for i in range(x.size)])
    assert alone.dtype == precision
    np.testing.assert_allclose(alone, whole, atol=tolerance)
    some = jnp.array([4, 1])
    together = g.prox_coordinate(x[some], some, jnp.array([0.7, 0.7]))
    np.testing.assert_allclose(together, whole[some], atol=tolerance)


@pytest.mark.parametrize("case", [c for _, c in separable], ids=[n for n, _ in separable])
def test_coordinates_of_a_separable_function_do_not_meet(case):
    with jax.enable_x64(True):
        x = generic(case)
        J = jacobians(case, x, 0.7)[0][:, : x.size]
        np.testing.assert_array_equal(J, np.diag(np.diag(J)))


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not c[0].make().separable])
def test_no_coordinate_where_not_separable(name):
    with pytest.raises(TypeError, match="not separable"):
        CASES[name][0].make().prox_coordinate(jnp.ones(()), 0, 1.0)
