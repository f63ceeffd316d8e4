"""A quadratic program in the form that its homogeneous embedding takes."""

import jax.numpy as jnp
from jaxtyping import Array

from frechet.convex.homogeneous import Program
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic.equilibration import Scaling


def program(problem: QuadraticProgram, like: Array, scaling: Scaling) -> Program:
    """The scaled program; ``like`` is a primal point, for shape and dtype."""
    n, (D, E, c) = like.size, scaling
    (A, b), (G, h) = problem.equations(), problem.inequalities()
    P = jnp.zeros((n, n), like.dtype) if problem.P is None else problem.P
    A, b = (jnp.zeros((0, n), like.dtype), jnp.zeros(0, like.dtype)) if A is None else (A, b)
    G, h = (jnp.zeros((0, n), like.dtype), jnp.zeros(0, like.dtype)) if G is None else (G, h)
    assert b is not None and h is not None
    E, F = jnp.split(E, [b.size])
    limited = jnp.isfinite(h)
    signs, limits = jnp.zeros((0, n), like.dtype), jnp.zeros((0, n), like.dtype)
    equal = jnp.zeros((0, n), bool)
    if not problem.g.smooth:
        lower, upper = problem.g.bounds(like)
        fixed = lower == upper
        below, above = jnp.isfinite(lower), jnp.isfinite(upper) & ~fixed
        signs = jnp.stack([-below.astype(like.dtype), above.astype(like.dtype)])
        limits = jnp.stack([jnp.where(below, -lower / D, 1), jnp.where(above, upper / D, 1)])
        equal = jnp.stack([fixed & below, jnp.zeros_like(fixed)])
    return Program(
        c * D[:, None] * P * D,
        c * D * problem.q,
        E[:, None] * A * D,
        E * b,
        jnp.where(limited, F, 0)[:, None] * G * D,
        signs,
        jnp.concatenate([jnp.where(limited, F * h, 1), limits.ravel()]),
        ~jnp.concatenate([jnp.zeros(h.shape, bool), equal.ravel()]),
    )
