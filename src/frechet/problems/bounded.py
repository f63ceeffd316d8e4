"""Bounds on the unknowns."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.box import Box
from frechet.problems.composite import Composite


class Bounded(Composite):
    r"""Minimise $f(x)$ subject to $l \le x \le u$: a `Composite` with a `frechet.convex.Box`.

    Args:
        f: the smooth objective, a callable from a pytree ``x`` to a scalar.
        lower: $l$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``; may be infinite.
        upper: $u$, likewise.

    Raises:
        ValueError: a lower bound above its upper bound.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bounded(lambda x: jnp.sum((x - 3) ** 2), lower=0.0, upper=jnp.array([1.0, 5.0]))
        >>> fr.solve(problem, jnp.zeros(2)).x.round(4).tolist()
        [1.0, 3.0]
    """

    def __init__(
        self,
        f: Callable[[PyTree[Array]], Scalar],
        lower: PyTree[Any] = -jnp.inf,
        upper: PyTree[Any] = jnp.inf,
    ):
        self.f = f
        self.g = Box(lower, upper)

    def default_solver(self) -> str:
        return "frechet.solvers.bounds.lbfgsb:LBFGSB"
