"""The smooth part of a problem that may have none, asked only where there is one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.problems.linear_composite import LinearComposite


def present(problem: LinearComposite) -> int:
    """1 where there is a smooth part, else 0: what one evaluation of it counts."""
    return int(problem.f is not None)


def value(problem: LinearComposite, x: PyTree[Array]) -> Scalar:
    """$f(x)$, or 0."""
    return problem.value(x) if present(problem) else jnp.zeros((), jnp.result_type(*jax.tree.leaves(x)))


def gradient(problem: LinearComposite, x: PyTree[Array]) -> PyTree[Array]:
    r"""$\nabla f(x)$, or zeros."""
    return problem.gradient(x) if present(problem) else jax.tree.map(jnp.zeros_like, x)
