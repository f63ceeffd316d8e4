"""Second-order conditions of local minimax points."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar


class MinimaxCurvature(NamedTuple):
    """What decides to second order whether a stationary point is a local minimax point.

    Attributes:
        maximiser: the largest eigenvalue of $\\nabla^2_{yy} f$; positive where the maximiser can do better.
        minimiser: the least eigenvalue of the restricted Schur complement; negative where the minimiser can,
            whatever the maximiser answers; infinite where nothing is left to restrict it to.
    """

    maximiser: Scalar
    minimiser: Scalar


def minimax_curvature(
    f: Callable[[PyTree[Array], PyTree[Array]], Scalar],
    x: PyTree[Array],
    y: PyTree[Array],
    rank_tol: float | None = None,
) -> MinimaxCurvature:
    r"""Curvatures of $\min_x \max_y f(x, y)$ at a stationary point, also where $\nabla^2_{yy} f$ is singular.

    With $A = \nabla^2_{xx} f$, $B = \nabla^2_{yy} f$, $C = \nabla^2_{xy} f$ and $U$ an orthonormal basis of
    those directions $u$ in $x$ for which $C^\top u$ has no part in the kernel of $B$, the restricted Schur
    complement is

    $$S = U^\top (A - C B^\dagger C^\top)\, U.$$

    A local minimax point has $B \preceq 0$ and $S \succeq 0$; a stationary point where either is violated is
    none. It forms the Hessian, for a check at one point in up to a few thousand unknowns.

    Args:
        f: a callable from two pytrees to a scalar, twice differentiable.
        x: the minimiser's part.
        y: the maximiser's part.
        rank_tol: eigenvalues and singular values below this share of the Hessian's norm count as zero; the
            square root of the dtype's epsilon when left out.

    Returns:
        The extreme eigenvalues of $B$ and $S$.

    Source:
        Chae, Kim, Kim 2024, Two-timescale extragradient for finding local minimax points, ICLR,
        arXiv 2305.16242 (restricted Schur complement, refined second-order necessary condition).

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x, y: -(x[0] ** 2) + 2 * x[0] * y[0] - y[0] ** 2 / 2 + x[1] * y[1]
        >>> [round(float(v), 5) for v in minimax_curvature(f, jnp.zeros(2), jnp.zeros(2))]
        [0.0, 2.0]
    """
    u, unravel_x = ravel_pytree(x)
    v, unravel_y = ravel_pytree(y)
    n = u.size
    H = jax.hessian(lambda z: f(unravel_x(z[:n]), unravel_y(z[n:])))(jnp.concatenate([u, v]))
    A, B, C = H[:n, :n], H[n:, n:], H[:n, n:]
    floor = (jnp.sqrt(jnp.finfo(H.dtype).eps) if rank_tol is None else rank_tol) * jnp.linalg.norm(H)
    values, vectors = jnp.linalg.eigh(B)
    regular = jnp.abs(values) > floor
    coupled = C @ vectors
    inverse = jnp.where(regular, 1 / jnp.where(regular, values, 1), 0)
    left, sizes, _ = jnp.linalg.svd(jnp.where(regular, 0, coupled))
    bound = jnp.zeros(n, bool).at[: sizes.size].set(sizes > floor)
    S = left.T @ (A - (coupled * inverse) @ coupled.T) @ left
    # Of fixed shape: directions that are left out have an eigenvalue above all others.
    kept = jnp.where(bound[:, None] | bound, 0, S)
    above = 2 * jnp.linalg.norm(S) + 1
    least = jnp.linalg.eigvalsh(kept + jnp.diag(jnp.where(bound, above, 0)))[0]
    return MinimaxCurvature(values[-1], jnp.where(jnp.all(bound), jnp.inf, least))
