"""What the solvers that sample a finite sum share: draws, and the step size its terms allow."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.problems.composite import Composite
from frechet.problems.minimisation import Minimisation


def rounds(problem: Composite, batch_size: int) -> int:
    """How many batches make one pass over as many terms as there are (at least one)."""
    return max(1, problem.count // batch_size)


def draw(
    key: PRNGKeyArray, problem: Minimisation, rounds: int, batch_size: int
) -> Int[Array, "rounds batch"]:
    """Indices of terms, uniform and independent (with replacement)."""
    return jax.random.randint(key, (rounds, batch_size), 0, problem.count)  # pyright: ignore


def check_batch_size(batch_size: Any) -> None:
    """Raises unless it is a positive Python integer."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")


def lacks_step_size(problem: Composite, solver: str) -> str | None:
    """Why no default step size can be derived, or None if one can."""
    if not hasattr(problem.f, "lipschitz_terms"):
        return f"needs a step size: f has no lipschitz_terms to derive one from; pass step_size to {solver}"
    curvature = getattr(problem.f, "curvature", None)
    if isinstance(curvature, float) and math.isinf(curvature):
        return f"needs a step size: the gradient of f is not Lipschitz; pass step_size to {solver}"
    return None


def initial_step_size(
    problem: Composite, x: PyTree[Array], given: Any, batch_size: int, times: float
) -> Scalar:
    r"""The given step size, or one over ``times`` the expected smoothness of a batch.

    Of a mean over $b$ terms drawn with replacement that is $L_{\max}/b + (1 - 1/b) L$ for convex terms, with
    $L_{\max}$ the largest Lipschitz constant of a term's gradient and $L$ that of the whole sum.

    Source: Gower, Loizou, Qian, Sailanbayev, Shulgin, Richtárik 2019, SGD: general analysis and improved
    rates, arXiv 1901.09401.
    """
    dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(x))).dtype
    if given is None:
        f: Any = problem.f
        smoothness = jnp.max(f.lipschitz_terms())
        if batch_size > 1 and hasattr(f, "lipschitz"):
            smoothness = smoothness / batch_size + (1 - 1 / batch_size) * f.lipschitz()
        given = 1 / (times * jnp.where(smoothness > 0, smoothness, 1))
    return jnp.asarray(given, dtype)
