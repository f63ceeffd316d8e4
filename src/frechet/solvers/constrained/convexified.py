"""A positive definite Hessian that leaves Newton steps on the active constraints as they are."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FACTORISATIONS = 3


def convexified(
    H: Float[Array, "n n"], A: Float[Array, "m n"], r: Float[Array, " m"], active: Bool[Array, " m"]
) -> tuple[Float[Array, "n n"], Float[Array, " n"]]:
    r"""$B \succ 0$ and a slope $b$ that stand for $H$ where the active constraints hold to first order.

    If $H$ is positive definite on their null space, $\tfrac12 d^\top B d + b^\top d$ and
    $\tfrac12 d^\top H d$ differ by a constant wherever $A_i d = -r_i$ for the active $i$.

    If it is not, negative eigenvalues on the null space change sign, and small ones are raised. On the rest
    of the space a multiple of the squared constraints is added, as in an augmented Lagrangian, no more than
    positive definiteness asks for. Takes three eigendecompositions.

    Args:
        H: symmetric.
        A: the constraints' gradients.
        r: their values.
        active: which of them count.

    Source: Gill, Saunders, Wong 2016, On the performance of SQP methods for nonlinear optimization
    (convexification); Nocedal, Wright 2006, Numerical Optimization, section 18.5.

    Example:
        >>> import jax.numpy as jnp
        >>> H, A = jnp.diag(jnp.array([1.0, -5.0])), jnp.array([[0.0, 1.0]])
        >>> B, _ = convexified(H, A, jnp.zeros(1), jnp.array([True]))
        >>> bool(jnp.all(jnp.linalg.eigvalsh(B) > 0)), round(float(B[0, 0]), 5)
        (True, 1.0)
    """
    eps = jnp.finfo(H.dtype).eps
    size = jnp.linalg.norm(A, axis=1)
    counts = active & (size > 0)
    unit = jnp.where(counts, 1 / jnp.where(size > 0, size, 1), 0)
    A, r = A * unit[:, None], r * unit
    squares, Q = jnp.linalg.eigh(A.T @ A)
    null = squares <= jnp.sqrt(eps)
    largest = jnp.max(jnp.abs(H), initial=0.0)
    least = 1e-4 * jnp.where(largest > 0, largest, 1)

    T = Q.T @ H @ Q
    inner = jnp.where(null[:, None] & null[None, :], T, 0) + jnp.diag(jnp.where(null, 0, largest))
    e, V = jnp.linalg.eigh(inner)
    raised = jnp.maximum(jnp.abs(e), least)
    inner = (V * raised) @ V.T
    cross = jnp.where(null[:, None] & ~null[None, :], T, 0)
    outer = jnp.where(~null[:, None] & ~null[None, :], T, 0)
    schur = outer - cross.T @ ((V / raised) @ V.T) @ cross + jnp.diag(jnp.where(null, largest, 0))
    e, V = jnp.linalg.eigh(schur)
    more = (V * (jnp.maximum(e, least) - e)) @ V.T
    more = jnp.where(null[:, None] | null[None, :], 0, more)

    inside = jnp.where(null[:, None] & null[None, :], inner, 0)
    B = Q @ (inside + cross + cross.T + outer + more) @ Q.T
    # The least d with Ad = -r.
    feasible = -Q @ jnp.where(null, 0, (r @ A @ Q) / jnp.where(null, 1, squares))
    return 0.5 * (B + B.T), -Q @ (more @ (Q.T @ feasible))
