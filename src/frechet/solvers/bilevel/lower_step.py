"""The step size of gradient steps at the lower level."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core.calls import Calls
from frechet.derivatives.curvature import lanczos
from frechet.problems.bilevel import Bilevel

PRODUCTS = 10
"""Hessian-vector products that an estimate takes, at most as many as the lower level has unknowns."""


def lower_step(
    problem: Bilevel, x: PyTree[Array], y: PyTree[Array], given: Any, calls: Calls
) -> tuple[Scalar, Calls]:
    r"""The given step, or one over the largest eigenvalue of $\nabla^2_{yy} g(x, y)$; and the calls.

    The eigenvalue is Lanczos' estimate, raised by a twentieth, as it may be a little low.
    """
    leaves, structure = jax.tree.flatten(y)
    dtype = jnp.finfo(jnp.result_type(*leaves)).dtype
    if given is not None:
        return jnp.asarray(given, dtype), calls
    start = [jnp.cos(1.0 + i + 1.7 * jnp.arange(v.size)).reshape(v.shape) for i, v in enumerate(leaves)]
    start = structure.unflatten([u.astype(v.dtype) for u, v in zip(start, leaves, strict=True)])
    steps = min(PRODUCTS, sum(v.size for v in leaves))
    T = lanczos(lambda v: problem.inner_hvp(x, y, v), start, steps)
    matrix = jnp.diag(T.diagonal) + jnp.diag(T.off_diagonal, 1) + jnp.diag(T.off_diagonal, -1)
    largest = 1.05 * jnp.max(jnp.abs(jnp.linalg.eigvalsh(matrix))).astype(dtype)
    return 1 / jnp.where(largest > 0, largest, 1), calls.add(hvp=steps)
