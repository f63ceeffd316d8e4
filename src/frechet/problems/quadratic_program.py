"""Quadratic and linear programs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from frechet.convex.box import Box
from frechet.convex.parameters import known, parameter
from frechet.convex.zero import Zero
from frechet.problems.constrained import Constrained

Matrix = Any  # a dense array or a BCOO, whose module takes half a second to load

# Up to here a look at the matrices' ranks costs little beside a solve.
_LOOKED_AT_UP_TO = 2000


class QuadraticForm(eqx.Module):
    r"""$x \mapsto \tfrac12 x^\top P x + q^\top x$.

    Args:
        P: symmetric, shape (n, n), dense or a `BCOO`; None for zero.
        q: shape (n,).
    """

    P: Matrix | None
    q: Float[Array, " n"]

    def __call__(self, x: Float[Array, " n"]) -> Scalar:
        return self.q @ x if self.P is None else x @ (0.5 * (self.P @ x) + self.q)


class AffineMap(eqx.Module):
    """$x \\mapsto A x - b$.

    Args:
        A: shape (m, n), dense or a `BCOO`.
        b: shape (m,).
    """

    A: Matrix
    b: Float[Array, " m"]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.A @ x - self.b


class QuadraticProgram(Constrained):
    r"""Minimise $\tfrac12 x^\top P x + q^\top x$ subject to $Ax = b$, $Gx \le h$ and $l \le x \le u$.

    Without ``P`` it is a linear program. A `Constrained` that shows its matrices: the multipliers in the
    solution, a `frechet.problems.KKTPoint`, belong to $A$ and $G$; those of the bounds are, where one is
    active, the slope $-(Px + q + A^\top y + G^\top\lambda)$.

    What is wrong with concrete data raises here; with traced data (under ``jit``) it ends in a status.

    Args:
        P: symmetric positive semidefinite, shape (n, n); a dense array, a `jax.experimental.sparse.BCOO` or a
            SciPy sparse matrix. None for a linear program.
        q: shape (n,); None for zero.
        A: shape (m, n), with independent rows; like ``P`` dense or sparse. None for no equations.
        b: shape (m,).
        G: shape (k, n), dense or sparse. None for no inequalities.
        h: shape (k,); infinite where there is no constraint.
        lower: $l$, a number or shape (n,); None for none.
        upper: $u$, likewise.

    Raises:
        ValueError: shapes that do not fit, ``P`` not symmetric or not positive semidefinite, dependent rows
            in ``A``, or bounds that no point satisfies.

    Example:
        The point of the unit simplex nearest to another:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.QuadraticProgram(
        ...     P=jnp.eye(3), q=-jnp.array([1.0, 0.6, -1.0]), A=jnp.ones((1, 3)), b=jnp.ones(1), lower=0.0
        ... )
        >>> x = fr.solve(problem, jnp.zeros(3)).x.primal
        >>> [round(float(v), 3) for v in x]
        [0.7, 0.3, 0.0]
    """

    def __init__(
        self,
        P: Any = None,
        q: Any = None,
        A: Any = None,
        b: Any = None,
        G: Any = None,
        h: Any = None,
        lower: Any = None,
        upper: Any = None,
    ):
        P, A, G = _matrix("P", P), _matrix("A", A), _matrix("G", G)
        sizes = [M.shape[1] for M in (P, A, G) if M is not None]
        vectors = [v for v in (q, lower, upper) if v is not None and np.ndim(v) == 1]
        if not sizes and not vectors:
            raise ValueError("a quadratic program needs at least one of P, q, A and G to say how large x is")
        n = sizes[0] if sizes else len(vectors[0])
        q = jnp.zeros(n, _dtype(P, A, G)) if q is None else _vector("q", q)
        _require_shapes(n, P, q, A, G)
        _require_bounds(n, {"lower": lower, "upper": upper})
        self.f = QuadraticForm(P, q)
        self.eq = _affine("A", A, "b", b)
        self.ineq = _affine("G", G, "h", h)
        if lower is None and upper is None:
            self.g = Zero()
        else:
            self.g = Box(-jnp.inf if lower is None else lower, jnp.inf if upper is None else upper)
        if known(*jax.tree.leaves(P)):
            _require_convex(P)
        if known(*jax.tree.leaves(A)):
            _require_independent(A)

    @property
    def P(self) -> Matrix | None:
        """The matrix of the objective; None where that is linear."""
        return self.f.P  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def q(self) -> Float[Array, " n"]:
        """The linear part of the objective."""
        return self.f.q  # pyright: ignore[reportFunctionMemberAccess]

    def equations(self) -> tuple[Matrix | None, Array | None]:
        """``A`` and ``b``."""
        return (None, None) if self.eq is None else (self.eq.A, self.eq.b)  # pyright: ignore

    def inequalities(self) -> tuple[Matrix | None, Array | None]:
        """``G`` and ``h``."""
        return (None, None) if self.ineq is None else (self.ineq.A, self.ineq.b)  # pyright: ignore

    def offers(self) -> dict[str, str]:
        offered = super().offers() | {"matrices": "P, A and G themselves"}
        if not any(is_sparse(M) for M in (self.P, self.equations()[0], self.inequalities()[0])):
            offered["dense matrices"] = "none of them sparse"
        if self.ineq is None and self.eq is None:
            offered["bounds only"] = "neither equations nor inequalities"
        if self.ineq is None and self.g.smooth:
            offered["equations alone"] = "neither inequalities nor bounds"
        return offered

    def default_solver(self) -> str:
        return "frechet.solvers.quadratic.admm:QuadraticADMM"


def is_sparse(M: Any) -> bool:
    """Whether a matrix is a `BCOO`."""
    return hasattr(M, "todense")


def _matrix(name: str, M: Any) -> Matrix | None:
    if hasattr(M, "tocoo"):  # SciPy's
        from jax.experimental.sparse import BCOO

        made = BCOO.from_scipy_sparse(M)
    elif M is None or is_sparse(M):
        made = M
    else:
        made = _real(name, np.asarray(M) if isinstance(M, list | tuple) else M)
    if made is not None and len(jnp.shape(made)) != 2:
        raise ValueError(f"{name} must be a matrix, got shape {jnp.shape(made)}")
    return made


def _vector(name: str, v: Any) -> Array:
    if np.ndim(v) != 1:
        raise ValueError(f"{name} must be a vector, got {'a number' if np.ndim(v) == 0 else np.shape(v)}")
    return _real(name, np.asarray(v) if isinstance(v, list | tuple) else v)


def _real(name: str, v: Any) -> Any:
    v = parameter(name, v)
    if jnp.issubdtype(jnp.result_type(v), jnp.complexfloating):
        raise TypeError(f"{name} is complex; a quadratic program has real data")
    return v


def _dtype(*matrices: Matrix | None) -> Any:
    return jnp.result_type(float, *[M.dtype for M in matrices if M is not None])


def _affine(matrix: str, M: Matrix | None, vector: str, v: Any) -> AffineMap | None:
    if (M is None) != (v is None):
        missing, given = (matrix, vector) if M is None else (vector, matrix)
        raise ValueError(f"{given} was given without {missing}; give both or neither")
    if M is None:
        return None
    v = _vector(vector, v)
    if v.shape != M.shape[:1]:
        raise ValueError(f"{vector} has shape {v.shape}; {matrix} has {M.shape[0]} rows, so ({M.shape[0]},)")
    return AffineMap(M, v)


def _require_shapes(n: int, P: Matrix | None, q: Array, A: Matrix | None, G: Matrix | None) -> None:
    if q.shape != (n,):
        raise ValueError(f"q has shape {q.shape}; with {n} unknowns it needs ({n},)")
    for name, M in {"P": P, "A": A, "G": G}.items():
        if M is not None and M.shape[1] != n:
            raise ValueError(f"{name} has shape {M.shape}; with {n} unknowns it needs {n} columns")
    if P is not None and P.shape[0] != n:
        raise ValueError(f"P has shape {P.shape}; it must be square")


def _require_bounds(n: int, bounds: dict[str, Any]) -> None:
    for name, bound in bounds.items():
        if isinstance(bound, dict | list | tuple):
            raise TypeError(f"{name} must be a number or an array, got a {type(bound).__name__}")
        if bound is not None and np.shape(bound) not in ((), (1,), (n,)):
            raise ValueError(f"{name} has shape {np.shape(bound)}; with {n} unknowns it needs () or ({n},)")


def _entries(M: Matrix | None) -> np.ndarray | None:
    """A matrix as a dense NumPy array; None where there is none, it is too large, or holds no numbers."""
    if M is None or max(M.shape) > _LOOKED_AT_UP_TO:
        return None
    entries = np.asarray(M.todense() if is_sparse(M) else M, float)
    return entries if np.all(np.isfinite(entries)) else None


def _require_convex(P: Matrix | None) -> None:
    entries = _entries(P)
    if entries is None or not entries.size:
        return
    assert P is not None
    size = np.max(np.abs(entries))
    slack = 10 * entries.shape[0] * float(jnp.finfo(P.dtype).eps) * max(size, np.finfo(float).tiny)
    if np.max(np.abs(entries - entries.T)) > slack:
        raise ValueError("P is not symmetric; pass (P + P.T) / 2, which has the same quadratic form")
    try:
        np.linalg.cholesky(entries + slack * np.eye(len(entries)))
    except np.linalg.LinAlgError:
        lowest = np.linalg.eigvalsh(entries)[0]
        if lowest < -slack:
            raise ValueError(
                f"P is not positive semidefinite (least eigenvalue {lowest:.2g}), so the program is not "
                "convex; use fr.Constrained for a stationary point"
            ) from None


def _require_independent(A: Matrix | None) -> None:
    entries = _entries(A)
    if entries is None or not entries.size:
        return
    import scipy.linalg

    m, n = entries.shape
    factor, order = scipy.linalg.qr(entries.T, mode="r", pivoting=True)  # pyright: ignore
    pivots = np.abs(np.diagonal(factor))
    assert A is not None
    least = max(m, n) * float(jnp.finfo(A.dtype).eps) * max(pivots[0], np.finfo(float).tiny)
    rank = int(np.sum(pivots > least))
    if rank < m:
        raise ValueError(
            f"the rows of A are dependent: row {order[rank]} is a combination of others; drop it "
            "(or, if its entry of b says otherwise, the equations contradict each other)"
        )
