"""Two levels of finite sums of quadratics whose every answer is a closed form."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

_MOST_DRAWS = 20


class Terms(NamedTuple):
    r"""The terms of a level, their vectors stacked along a leading axis of length ``samples``.

    Term $i$ is $\tfrac12 (u_i \cdot y)^2 + \tfrac12 (w_i \cdot x)^2 + (c_i \cdot x)(d_i \cdot y)
    + a_i \cdot y + b_i \cdot x$: see `quadratic_term`.

    Attributes:
        u: shape (samples, lower), as d and a.
        w: shape (samples, upper), as c and b.
        c: of the product, the part in the upper variable.
        d: of the product, the part in the lower variable.
        a: linear in the lower variable.
        b: linear in the upper variable.
    """

    u: np.ndarray
    w: np.ndarray
    c: np.ndarray
    d: np.ndarray
    a: np.ndarray
    b: np.ndarray


def quadratic_term(x: Any, y: Any, datum: Any) -> Any:
    """A term at the upper variable ``x`` and the lower one ``y``; a loss of either level."""
    u, w, c, d, a, b = datum
    return 0.5 * (u @ y) ** 2 + 0.5 * (w @ x) ** 2 + (c @ x) * (d @ y) + a @ y + b @ x


@dataclasses.dataclass(frozen=True)
class Means:
    r"""A level's mean, $\tfrac12 y^\top A y + \tfrac12 x^\top B x + x^\top C y + a \cdot y + b \cdot x$."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(0.5 * y @ self.A @ y + 0.5 * x @ self.B @ x + x @ self.C @ y + self.a @ y + self.b @ x)


@dataclasses.dataclass(frozen=True)
class BilevelQuadratics:
    r"""Both levels, with the closed forms that $y^\star(x) = J x + j$ gives.

    Attributes:
        outer: the terms of $f$.
        inner: the terms of $g$.
    """

    outer: Terms
    inner: Terms

    @property
    def means(self) -> tuple[Means, Means]:
        """Those of the outer and the inner terms."""
        return _means(self.outer), _means(self.inner)

    def lower(self, x: np.ndarray) -> np.ndarray:
        r"""$y^\star(x)$."""
        g = _means(self.inner)
        return -np.linalg.solve(g.A, g.C.T @ x + g.a)

    def hyperobjective(self, x: np.ndarray) -> float:
        r"""$\Phi(x) = f(x, y^\star(x))$."""
        return _means(self.outer)(x, self.lower(x))

    def quadratic(self) -> tuple[np.ndarray, np.ndarray]:
        r"""$(H, h)$ of $\nabla\Phi(x) = H x + h$."""
        f, g = self.means
        J, j = -np.linalg.solve(g.A, g.C.T), -np.linalg.solve(g.A, g.a)
        H = J.T @ f.A @ J + f.B + f.C @ J + J.T @ f.C.T
        return H, J.T @ (f.A @ j + f.a) + f.C @ j + f.b

    def hypergradient(self, x: np.ndarray) -> np.ndarray:
        r"""$\nabla\Phi(x)$."""
        H, h = self.quadratic()
        return H @ x + h

    def solution(self) -> np.ndarray:
        r"""The $x$ of least $\Phi$."""
        H, h = self.quadratic()
        return -np.linalg.solve(H, h)


def bilevel_quadratics(
    samples: int = 256,
    *,
    upper: int = 20,
    lower: int = 20,
    curvature: float = 0.1,
    coupling: float = 0.1,
    seed: int = 0,
) -> BilevelQuadratics:
    r"""Quadratics of rank one at both levels, drawn again until the hyperobjective is strongly convex.

    The vectors $u_i$ and $w_i$ are normal, with covariances of eigenvalues from ``curvature`` to 1, in equal
    ratios; those of $w_i$ have one more direction without curvature. The products have a mean of norm
    ``coupling``, and the linear terms are standard normal.

    Args:
        samples: terms of either level.
        upper: unknowns of the upper level, at least 2.
        lower: unknowns of the lower level.
        curvature: the least eigenvalue.
        coupling: of the two variables.
        seed: of NumPy's default generator.

    Returns:
        The terms and their closed forms.

    Raises:
        ValueError: no draw of twenty was strongly convex in $y$ below and in $x$ above.

    Source:
        The quadratics of Dagreou, Ablin, Vaiter, Moreau 2022, A framework for bilevel optimization that
        enables stochastic and global variance reduction algorithms, arXiv 2201.13409.

    Example:
        >>> levels = bilevel_quadratics(64, upper=3, lower=4)
        >>> x = levels.solution()
        >>> x.shape, levels.lower(x).shape, bool(abs(levels.hypergradient(x)).max() < 1e-12)
        ((3,), (4,), True)
    """
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        outer, inner = (_terms(rng, samples, upper, lower, curvature, coupling) for _ in range(2))
        drawn = BilevelQuadratics(outer, inner)
        if _least(_means(inner).A) > 0.01 * curvature and _least(drawn.quadratic()[0]) > 1e-3:
            return drawn
    raise ValueError("no draw was strongly convex at both levels; ask for more samples or less coupling")


def _least(matrix: np.ndarray) -> float:
    """The least eigenvalue."""
    return float(np.linalg.eigvalsh(matrix)[0])


def _terms(rng: np.random.Generator, n: int, p: int, q: int, curvature: float, coupling: float) -> Terms:
    def vectors(size: int, spectrum: np.ndarray) -> np.ndarray:
        Q = np.linalg.qr(rng.normal(size=(size, size)))[0]
        return rng.normal(size=(n, size)) * np.sqrt(spectrum) @ Q.T

    k = min(p, q)
    U, V = (np.linalg.qr(rng.normal(size=(size, size)))[0][:, :k] for size in (p, q))
    shared = rng.normal(size=(n, k))
    u = vectors(q, np.geomspace(curvature, 1, q))
    w = vectors(p, np.concatenate([[0.0], np.geomspace(curvature, 1, p - 1)]))
    # The two factors share their normals, so their product does not vanish on average.
    c, d = coupling * shared @ U.T, shared @ V.T
    return Terms(u, w, c, d, rng.normal(size=(n, q)), rng.normal(size=(n, p)))


def _means(t: Terms) -> Means:
    n = len(t.u)
    return Means(t.u.T @ t.u / n, t.w.T @ t.w / n, t.c.T @ t.d / n, t.a.mean(0), t.b.mean(0))
