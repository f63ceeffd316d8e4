"""The step size of gradient steps at the lower level."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.problems.bilevel import Bilevel
from frechet.solvers.bilevel import largest_curvature


def step_or_none(step_size: Any) -> Any:
    """Converter of a solver's ``lower_step`` field: a positive number or array, or None to derive it."""
    return None if step_size is None else parameter("lower_step", step_size, positive=True)


def lower_step(
    problem: Bilevel, x: PyTree[Array], y: PyTree[Array], given: Any, calls: Calls
) -> tuple[Scalar, Calls]:
    r"""The given step, or one over the largest eigenvalue of $\nabla^2_{yy} g(x, y)$; and the calls.

    The eigenvalue is Lanczos' estimate, raised by a twentieth, as it may be a little low.
    """
    if given is not None:
        return jnp.asarray(given, jnp.finfo(jnp.result_type(*jax.tree.leaves(y))).dtype), calls
    curvature, calls = largest_curvature.first(problem, x, y, calls)
    return curvature.step, calls


def shortened(step: Scalar, v: PyTree[Array], product: PyTree[Array], times: float = 1.0) -> Scalar:
    r"""The step, or a shorter one where a product $\nabla^2_{yy} g\, v$ shows more curvature than it allows.

    An eigenvalue of at least $\|\nabla^2_{yy} g\, v\| / \|v\|$ there is, and ``times`` that times the step is
    to be at most one. Where a step is so long that iterates grow, $v$ turns to the eigenvector at fault and
    shows its eigenvalue, so that a lower level may become steeper on the way. It counts as a constant.
    """
    v, product = jax.lax.stop_gradient((v, product))
    length, risen = tree.norm(v), times * tree.norm(product)
    steeper = step * risen > length
    return jnp.where(steeper, length / jnp.where(steeper, risen, 1), step).astype(step.dtype)
