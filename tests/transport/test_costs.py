"""Ground costs: every form gives the passes that its matrix gives, in memory linear in the points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.transport import CostMatrix, Grid, GroundCost, PointCloud, cost_matrix, ground_cost

EPSILON = 0.3


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def _cloud(keep: bool) -> PointCloud:
    rng = np.random.default_rng(0)
    return PointCloud(rng.normal(size=(6, 2)), rng.normal(size=(5, 2)), fr.transport.Euclidean(), keep=keep)


def _forms() -> dict[str, GroundCost]:
    rng = np.random.default_rng(1)
    return {
        "matrix": CostMatrix(rng.uniform(size=(6, 5))),
        "cloud": _cloud(False),
        "grid": Grid(tuple(rng.uniform(size=s) for s in ((2, 3), (4, 2)))),
    }


@pytest.mark.parametrize("form", ["matrix", "cloud", "grid"])
def test_passes_are_those_of_the_matrix(form, monkeypatch):
    """Two columns or rows at a time, so that there are several blocks and the last need not be full."""
    cost = _forms()[form]
    (m, n), C = cost.shape, np.asarray(cost.matrix())
    monkeypatch.setattr(ground_cost, "AT_ONCE", 2 * m)
    monkeypatch.setattr(cost_matrix, "BLOCK", 2 * n)
    rng = np.random.default_rng(2)
    f, g = rng.normal(size=m), rng.normal(size=n)
    f_, g_ = jnp.asarray(f), jnp.asarray(g)

    @jax.jit
    def passes(cost):
        return {
            "soft": cost.soft_columns(jnp.zeros(m), f_, EPSILON),
            "sums": cost.exponential_sums(f_, g_, EPSILON),
            "entries": cost.entrywise(lambda c, r, s: c * r + s, f_, g_),
            "transposed": cost.T.matrix(),
            "weighted": cost.columnwise_sum(lambda c, v: c * v, g_),
            "scale": (cost.mean(), cost.largest()),
        }

    K = np.exp(f[:, None] + g - C / EPSILON)
    wanted = {
        "soft": -EPSILON * np.log(np.exp(f[:, None] - C / EPSILON).sum(0)),
        "sums": (K.sum(1), K.sum(0)),
        "entries": C * f[:, None] + g,
        "transposed": C.T,
        "weighted": C @ g,
        "scale": (C.mean(), C.max()),
    }
    same = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-12)  # noqa: E731
    jax.tree.map(same, passes(cost), wanted)


@pytest.mark.parametrize(("m", "rows"), [(12, 4), (7, 1), (7, 7)])
def test_sums_by_blocks_of_rows_have_their_derivatives(m, rows, monkeypatch):
    """A prime number of rows is one block or as many."""
    n = 5
    monkeypatch.setattr(cost_matrix, "BLOCK", rows * n)
    assert cost_matrix._block(m, n) == rows
    rng = np.random.default_rng(4)
    C, f, g, u, v = (rng.normal(size=s) for s in ((m, n), m, n, m, n))

    def weighed(C, f, g):
        over_rows, over_columns = CostMatrix(C).exponential_sums(f, g, jnp.asarray(EPSILON))
        return over_rows @ u + over_columns @ v

    value, slopes = jax.jit(jax.value_and_grad(weighed, argnums=(0, 1, 2)))(C, f, g)
    K = np.exp(f[:, None] + g - C / EPSILON)
    entries = (u[:, None] + v) * K
    np.testing.assert_allclose(value, entries.sum(), rtol=1e-12)
    wanted = -entries / EPSILON, entries.sum(1), entries.sum(0)
    for got, want in zip(slopes, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_sums_are_never_infinite(precision):
    """A start taken from a problem with a larger epsilon has a residual, however large."""
    cost = CostMatrix(jnp.zeros((3, 2)))
    sums = cost.exponential_sums(jnp.full(3, 1e6), jnp.zeros(2), jnp.asarray(1.0))
    squares = [float(jnp.sum(v**2)) for v in sums]
    assert np.all(np.isfinite(squares)) and min(squares) > 1e10


def test_nested_lists_are_costs_and_points():
    assert float(CostMatrix([[0, 1], [2, 3]]).mean()) == 1.5  # pyright: ignore[reportArgumentType]
    assert PointCloud([[0.0], [3.0]]).matrix().tolist() == [[0.0, 9.0], [9.0, 0.0]]


def test_forbidden_pairs_do_not_count_in_the_scale():
    cost = CostMatrix(jnp.array([[1.0, jnp.inf], [3.0, 2.0]]))
    assert float(cost.mean()) == 2.0 and float(cost.largest()) == 3.0


def test_memory_is_linear_in_the_points():
    """Backwards too: a gradient in the points, at fixed potentials, of a cost with 16 million entries."""
    n = 4000

    def dual(x):
        cloud = PointCloud(x, y, keep=False)
        problem = fr.Transport(cloud, regulariser=fr.transport.Entropic(0.1, relative=False))
        return problem.value(problem.initial())

    y = jax.ShapeDtypeStruct((n, 2), jnp.float64)
    x, y = y, jnp.zeros((n, 2))
    compiled = jax.jit(jax.grad(dual)).lower(x).compile()
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < n * n * 8 / 2


def test_gradient_in_the_points_equals_that_of_the_matrix(monkeypatch):
    rng = np.random.default_rng(3)
    x, y = jnp.asarray(rng.normal(size=(7, 2))), jnp.asarray(rng.normal(size=(5, 2)))
    potentials = fr.Potentials(jnp.asarray(rng.normal(size=7)), jnp.asarray(rng.normal(size=5)))
    monkeypatch.setattr(ground_cost, "AT_ONCE", 14)

    def dual(x, keep):
        cloud = PointCloud(x, y, keep=keep)
        return fr.Transport(cloud, regulariser=fr.transport.Entropic(1.0, relative=False)).value(potentials)

    got, want = jax.jit(lambda x: tuple(jax.grad(dual)(x, keep) for keep in (False, True)))(x)
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CostMatrix(jnp.zeros(3)), "a matrix of at least one source"),
        (lambda: CostMatrix(jnp.zeros((0, 3))), "a matrix of at least one source"),
        (lambda: PointCloud(jnp.zeros((0, 2))), "at least one point"),
        (lambda: PointCloud(jnp.zeros(3)), "a row each"),
        (lambda: PointCloud(jnp.zeros((3, 2)), jnp.zeros((3, 1))), "have 2 coordinates, those of y 1"),
        (lambda: Grid(()), "Grid.squared"),
        (lambda: fr.transport.PowerNorm(-1.0), "p must be above zero"),
    ],
)
def test_bad_costs_are_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
