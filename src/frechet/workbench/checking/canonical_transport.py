"""Tiny transport problems, solved in NumPy: the entropic ones by many sweeps, the rest by enumeration."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from frechet.problems.transport import Potentials, Transport
from frechet.transport.entropic import Entropic
from frechet.transport.quadratic import Quadratic, TopK
from frechet.transport.regulariser import Regulariser
from frechet.workbench.checking.canonical import Case, Parameters, canonical

# ------------------------------------------------------------------ data


def _point(*parts: Any) -> Potentials:
    """Potentials of NumPy arrays."""
    return Potentials(*parts)


def _parameters(m: int, n: int) -> Parameters:
    rng = np.random.default_rng(10 * m + n)
    return {
        "C": rng.uniform(0.2, 1.2, size=(m, n)) + (2 if m == n == 1 else 0),
        "a": np.linspace(-0.3, 0.3, m),
        "b": np.cos(np.arange(n)) / 4,
    }


def _make(regulariser: Regulariser | None, unbalanced: float | None = None) -> Callable[..., Transport]:
    def make(t: dict[str, jax.Array]) -> Transport:
        # As logits, which may be moved one by one.
        return Transport(
            t["C"], jax.nn.softmax(t["a"]), jax.nn.softmax(t["b"]), regulariser, unbalanced=unbalanced
        )

    return make


def _weights(t: Parameters) -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.exp(t[k]) / np.sum(np.exp(t[k])) for k in "ab")
    return a, b


def _centred(f: np.ndarray, g: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shift = (g @ b - f @ a) / 2
    return f + shift, g - shift


# ------------------------------------------------------------------ entropic

EPSILON, PENALTY = 0.5, 0.8


def _entropic(t: Parameters, pull: float = 1.0) -> Potentials:
    (a, b), C = _weights(t), t["C"]
    g = np.zeros(b.size)
    for _ in range(500):
        f = -pull * EPSILON * np.log(np.exp((g - C) / EPSILON) @ b)
        g = -pull * EPSILON * np.log(a @ np.exp((f[:, None] - C) / EPSILON))
    return _point(*(_centred(f, g, a, b) if pull == 1 else (f, g)))


def _bound(t: Parameters, x: Potentials) -> float:
    """The inverse of the least singular value of the map's Jacobian at the solution, thrice as data move."""
    (a, b), C = _weights(t), t["C"]
    P = a[:, None] * b * np.exp((x.f[:, None] + x.g - C) / EPSILON)
    K = np.block([[np.diag(P.sum(1)), P], [P.T, np.diag(P.sum(0))]]) / EPSILON
    tilt = np.concatenate([a, -b])
    K = (K + np.outer(tilt, tilt) / EPSILON) / np.sqrt(np.concatenate([a, b]))[:, None]
    return 3 / float(np.linalg.svd(K, compute_uv=False)[-1])


@canonical
def entropic() -> Iterable[Case]:
    """Sinkhorn's fixed point."""
    for role, m, n in (("array", 4, 3), ("one", 1, 1), ("many", 12, 10)):
        t = _parameters(m, n)
        yield Case(
            f"entropic transport, {role}",
            _make(Entropic(EPSILON, relative=False)),
            t,
            _point(np.full(m, 0.3), np.full(n, -0.2)),
            _entropic,
            _bound(t, _entropic(t)),
            role,
        )


@canonical
def unbalanced() -> Iterable[Case]:
    """The same with marginals that are penalised."""
    t, pull = _parameters(4, 3), PENALTY / (PENALTY + EPSILON)
    yield Case(
        "unbalanced transport, array",
        _make(Entropic(EPSILON, relative=False), PENALTY),
        t,
        _point(np.full(4, 0.3), np.full(3, -0.2)),
        lambda t: _entropic(t, pull),
        30.0,
    )


# ------------------------------------------------------------------ sparse plans


def _by_support(t: Parameters, gamma: float, k: int) -> Potentials:
    """Given which entries are positive, potentials solve a linear system; that which they confirm is right.

    With ``k`` below the number of rows a column has at most as many, its largest slacks.
    """
    (a, b), C = _weights(t), t["C"]
    m, n = C.shape
    columns = [rows for size in range(1, k + 1) for rows in itertools.combinations(range(m), size)]
    for choice in itertools.product(columns, repeat=n):
        A = np.zeros((m, n))
        for j, rows in enumerate(choice):
            A[list(rows), j] = 1
        K = np.block([[np.diag(A.sum(1)), A], [A.T, np.diag(A.sum(0))]])
        right = np.concatenate([gamma * a + (A * C).sum(1), gamma * b + (A * C).sum(0)])
        tilt = np.concatenate([a, -b])
        x = np.linalg.lstsq(K + np.outer(tilt, tilt), right, rcond=None)[0]
        S = x[:m, None] + x[m:] - C
        rank = np.argsort(np.argsort(-S, axis=0), axis=0)
        if np.all((A == 1) == ((S > 0) & (rank < k))) and np.allclose(K @ x, right):
            return _point(x[:m], x[m:])
    raise AssertionError("no support fits")


GAMMA = 0.8


@canonical
def quadratic() -> Iterable[Case]:
    """Quadratic regularisation, by trying every support of the plan."""
    t = _parameters(3, 3)
    yield Case(
        "quadratic transport, array",
        _make(Quadratic(GAMMA)),
        t,
        _point(np.full(3, 0.3), np.full(3, 0.1)),
        lambda t: _by_support(t, GAMMA, 3),
        30.0,
    )


@canonical
def top_k() -> Iterable[Case]:
    """At most two entries a column, likewise."""
    t = _parameters(3, 3)
    yield Case(
        "sparse transport, array",
        _make(TopK(2, GAMMA)),
        t,
        _point(np.full(3, 0.3), np.full(3, 0.1)),
        lambda t: _by_support(t, GAMMA, 2),
        30.0,
    )


# ------------------------------------------------------------------ exact


def _vertex(t: Parameters) -> Potentials:
    """The linear program's solution, by trying every spanning tree of its transport graph."""
    (a, b), C = _weights(t), t["C"]
    m, n = C.shape
    pairs = list(itertools.product(range(m), range(n)))
    for edges in itertools.combinations(pairs, m + n - 1):
        K = np.zeros((m + n, len(edges)))
        for e, (i, j) in enumerate(edges):
            K[i, e] = K[m + j, e] = 1
        if np.linalg.matrix_rank(K) < m + n - 1:
            continue
        mass = np.linalg.lstsq(K, np.concatenate([a, b]), rcond=None)[0]
        x = np.linalg.lstsq(K.T, np.array([C[e] for e in edges]), rcond=None)[0]
        f, g = x[:m], x[m:]
        if np.all(mass >= -1e-12) and np.all(f[:, None] + g <= C + 1e-12):
            plan = np.zeros((m, n))
            for e, mass_of in zip(edges, mass, strict=True):
                plan[e] = mass_of
            return _point(*_centred(f, g, a, b), plan)
    raise AssertionError("no vertex is optimal")


@canonical
def linear_program() -> Iterable[Case]:
    """No regularisation: the plan is a vertex."""
    t = _parameters(3, 3)
    start = _point(np.full(3, 0.3), np.full(3, 0.1), np.full((3, 3), 1 / 9))
    yield Case("exact transport, array", _make(None), t, start, _vertex, 30.0)
