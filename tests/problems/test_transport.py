"""The transport kind: what is refused, what its report promises, its derivatives."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import logsumexp

import frechet as fr
from frechet.core import tree
from frechet.core.status import Origin, Status
from frechet.transport import Entropic, Grid, PointCloud

RNG = np.random.default_rng(0)
PLAIN, ACCELERATED = fr.solvers.Sinkhorn(history=0, scaling=False), fr.solvers.Sinkhorn()
C = RNG.uniform(0.1, 1.1, size=(7, 6))
A, B = (v / v.sum() for v in (RNG.uniform(0.5, 1.5, 7), RNG.uniform(0.5, 1.5, 6)))


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def _sweeps(C, a, b, epsilon, penalty=None, count=4000):
    """Sinkhorn's algorithm in NumPy."""
    pull = 1 if penalty is None else penalty / (penalty + epsilon)
    g = np.zeros(b.size)
    for _ in range(count):
        f = -pull * epsilon * logsumexp((g - C) / epsilon, axis=1, b=b)
        g = -pull * epsilon * logsumexp((f[:, None] - C) / epsilon, axis=0, b=a[:, None])
    return a[:, None] * b * np.exp((f[:, None] + g - C) / epsilon)


def _kl(p, q):
    return np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0) - p + q)


def _entropic(C, a, b, epsilon, **options):
    return fr.Transport(C, a, b, Entropic(epsilon, relative=False), **options)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fr.Transport(C, A - 0.2, B), "a has an entry -.*must be above zero"),
        (
            lambda: fr.Transport(C, A, np.where(np.arange(6) == 0, 0, B)),
            "b has an entry 0;.*leave out targets",
        ),
        (lambda: fr.Transport(C, A, 2 * B), "a sums to 1 and b to 2; they must agree"),
        (lambda: fr.Transport(C, B, A), r"a has shape \(6,\); the cost has 7 sources"),
        (lambda: fr.Transport(np.zeros((0, 3))), "at least one source"),
        (lambda: fr.Transport(C, np.zeros(0), B), r"a has shape \(0,\)"),
        (lambda: fr.Transport(C, A, B, None, unbalanced=1.0), "needs a regulariser"),
        (lambda: fr.Transport(C, A, B, unbalanced=-1.0), "unbalanced must be above zero"),
        (lambda: Entropic(0.0), "epsilon must be above zero"),
    ],
)
def test_bad_input_is_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_wrong_kinds_are_refused():
    problem = fr.Transport(C, A, B)
    with pytest.raises(TypeError, match=r"regulariser must be one of frechet\.transport"):
        fr.Transport(C, A, B, 0.1)
    with pytest.raises(TypeError, match=r"x0 must be Potentials, such as problem.initial\(\)"):
        fr.solve(problem, jnp.zeros(7))
    with pytest.raises(TypeError, match="only Entropic has an epsilon"):
        _ = fr.Transport(C, A, B, fr.transport.Quadratic(1.0)).epsilon


def test_what_may_go_nowhere_and_costs_without_a_scale_are_refused():
    blocked = C.copy()
    blocked[2] = np.inf
    with pytest.raises(ValueError, match="source 2 has no target: all its costs are infinite; leave it out"):
        fr.Transport(blocked)
    with pytest.raises(ValueError, match="target 2 has no source"):
        fr.Transport(blocked.T)
    for cost, mean in ((0 * C, "0"), (-np.ones_like(C), "-1")):
        with pytest.raises(ValueError, match=f"the mean cost, which is {mean}; .* with relative=False"):
            fr.Transport(cost)
    problem = fr.Transport((-C).tolist(), regulariser=Entropic(0.1, relative=False))
    assert fr.solve(problem, problem.initial()).status.converged


def test_weights_of_another_sum_are_scaled_and_that_is_said():
    with pytest.warns(UserWarning, match="weights sum to 3; they are scaled to sum to 1"):
        problem = fr.Transport(C, 3 * A, 3 * B)
    np.testing.assert_allclose(problem.a, A, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unbalanced = fr.Transport(C, 3 * A, B, unbalanced=1.0)
    np.testing.assert_allclose(unbalanced.a, 3 * A, rtol=1e-6)


def test_nan_costs_end_with_their_origin():
    spoiled = C.copy()
    spoiled[2, 3] = np.nan
    solution = fr.solve(_entropic(spoiled, A, B, 0.1), fr.Transport(C).initial(), PLAIN)
    assert solution.status.code == Status.of(4).code and int(solution.status.origin) == Origin.DATA


def test_too_small_an_epsilon_names_the_smallest_that_works():
    """And that one works: single precision, a random cost, no NaN."""
    with pytest.raises(ValueError, match=r"epsilon = .* is too small for float32.*of the mean cost"):
        fr.Transport(C, A, B, Entropic(1e-8))
    least = 32 * np.finfo(np.float32).eps * np.float32(C).max()
    problem = _entropic(np.float32(C), A, B, float(least) * 1.0001)
    solution = fr.solve(problem, problem.initial(), ACCELERATED, max_steps=600)
    report = problem.report(solution.x)
    assert solution.status.name != "nonfinite" and float(report.marginal_error) < 0.2
    assert all(np.isfinite(float(v)) for v in (report.objective, report.duality_gap, solution.residual))


def test_forbidden_pairs_carry_nothing(double):
    forbidden = C.copy()
    forbidden[RNG.uniform(size=C.shape) < 0.3] = np.inf
    problem = _entropic(forbidden, A, B, 0.1)
    solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-10)
    P = np.asarray(problem.plan(solution.x))
    assert solution.status.converged and np.all(P[np.isinf(forbidden)] == 0)
    np.testing.assert_allclose(P, _sweeps(forbidden, A, B, 0.1), atol=1e-9)


# ------------------------------------------------------------------ the report


def _optimum(epsilon, penalty):
    P = _sweeps(C, A, B, epsilon, penalty)
    value = np.sum(P * C) + epsilon * _kl(P, np.outer(A, B))
    return value if penalty is None else value + penalty * (_kl(P.sum(1), A) + _kl(P.sum(0), B))


@pytest.mark.parametrize("penalty", [None, 0.7], ids=["balanced", "unbalanced"])
def test_the_gap_bounds_the_error_and_goes_to_zero(double, penalty):
    """At any potentials, with a plan that has the marginals exactly."""
    problem = _entropic(C, A, B, 0.05, unbalanced=penalty)
    solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-12)
    optimum, report = _optimum(0.05, penalty), jax.jit(lambda x: problem.report(x))
    for size in (1, 1e-1, 1e-2, 1e-4, 0):
        wave = jax.tree.map(lambda v: jnp.cos(jnp.arange(v.size)), solution.x)
        x = tree.axpy(size, wave, solution.x)
        r = report(x)
        error = float(r.objective) - optimum
        assert -1e-12 <= error <= float(r.duality_gap) + 1e-12
    assert float(r.duality_gap) < 1e-11 and float(r.marginal_error) < 1e-11


def test_entropic_cost_tends_to_the_exact_one(double):
    """At least the linear program's, and above it by no more than epsilon times the entropy of b."""
    m, n = C.shape
    rows, columns = np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))
    exact = linprog(C.ravel(), A_eq=np.r_[rows, columns], b_eq=np.r_[A, B], method="highs").fun
    for epsilon in (0.3, 0.1, 0.03):
        problem = _entropic(C, A, B, epsilon)
        solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-10)
        cost = float(problem.report(solution.x).transport_cost)
        assert -1e-12 <= cost - exact <= -epsilon * np.sum(B * np.log(B)) + 1e-12


def test_grids_and_unstored_clouds_give_the_plan_of_their_matrix(double):
    side = np.linspace(0, 1, 3)
    at = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    a, b = (v / v.sum() for v in RNG.uniform(0.5, 1.5, size=(2, 9)))
    dense = ((at[:, None] - at) ** 2).sum(-1)
    want = _sweeps(dense, a, b, 0.05)
    for cost in (Grid.squared((3, 3)), PointCloud(at, keep=False)):
        problem = _entropic(cost, a, b, 0.05)
        solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-11)
        assert solution.status.converged
        np.testing.assert_allclose(problem.plan(solution.x), want, atol=1e-10)


# ------------------------------------------------------------------ derivatives


def _worth(t, size, unbalanced=None):
    """Something that depends on all of the solution, of clouds, logits and a strength."""
    cloud = PointCloud(t["x"], t["y"])
    a, b = (jax.nn.softmax(t[k]) for k in "ab")
    problem = fr.Transport(cloud, a, b, Entropic(t["epsilon"], relative=False), unbalanced=unbalanced)
    solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-11)
    plan = problem.plan(solution.x)
    return jnp.sum(plan**2 * size**2) + jnp.sum(jnp.sin(3 * solution.x.f) * a)


# The large one has more unknowns than are solved for by a factorisation: conjugate gradients.
@pytest.mark.parametrize(("m", "n", "unbalanced"), [(5, 4, 0.5), (140, 130, None)])
def test_derivatives_equal_finite_differences(double, m, n, unbalanced):
    rng = np.random.default_rng(m)
    t = {
        "x": rng.normal(size=(m, 2)),
        "y": rng.normal(size=(n, 2)),
        "a": 0.3 * rng.normal(size=m),
        "b": 0.3 * rng.normal(size=n),
        "epsilon": np.asarray(0.8),
    }
    both = jax.jit(jax.value_and_grad(lambda t: _worth(t, m, unbalanced)))
    worth, slopes = lambda t: both(t)[0], both(t)[1]
    for name in t:
        d, h = rng.normal(size=t[name].shape), 1e-4
        ahead, back = (float(worth({**t, name: t[name] + s * h * d})) for s in (1, -1))
        np.testing.assert_allclose(np.sum(slopes[name] * d), (ahead - back) / (2 * h), rtol=2e-5, atol=1e-8)


def test_a_batch_of_epsilons_is_each_by_itself(double):
    epsilons = jnp.array([0.5, 0.1, 0.05])

    def plan(epsilon):
        problem = _entropic(jnp.asarray(C), A, B, epsilon)
        solution = fr.solve(problem, problem.initial(), PLAIN, tol=1e-11)
        return problem.plan(solution.x), solution.status.converged

    plans, converged = jax.jit(jax.vmap(plan))(epsilons)
    assert np.all(converged)
    for P, epsilon in zip(plans, epsilons, strict=True):
        np.testing.assert_allclose(P, _sweeps(C, A, B, float(epsilon)), atol=1e-10)


def test_a_start_from_another_epsilon_is_taken(precision):
    """A solution for a large epsilon, at which plans for a small one overflow, is a start like any other."""
    large, small = (_entropic(jnp.asarray(C), A, B, e) for e in (5.0, 0.01))
    start = fr.solve(large, large.initial(), ACCELERATED).x
    solution = fr.solve(small, start, ACCELERATED)
    assert solution.status.converged
    atol = 1e-3 if precision == jnp.float32 else 1e-7
    np.testing.assert_allclose(small.plan(solution.x), _sweeps(C, A, B, 0.01), atol=atol)
