"""Equations: roots and fixed points."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core import lift, tree
from frechet.core.problem import Problem


def half_square(r: PyTree[Array]) -> Scalar:
    """Half the squared Euclidean norm over all leaves."""
    return jnp.asarray(0.5 * sum(jnp.sum(jnp.square(v)) for v in jax.tree.leaves(r)))


class Root(Problem):
    r"""Solve $F(x) = 0$; the objective is $\tfrac12\|F(x)\|^2$.

    Args:
        F: a callable from a pytree ``x`` to a pytree of the same structure, shapes and dtypes.
        bracket: a lower and an upper bound, each like ``x`` or a scalar, between which each entry of $F$, a
            function of the same entry of ``x`` alone, changes sign; for bisection.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Root(lambda x: x**2 - 2)
        >>> float(problem.optimality(jnp.asarray(2.0)))
        2.0
    """

    F: Callable[[PyTree[Array]], PyTree[Array]]
    bracket: tuple[PyTree[Array], PyTree[Array]] | None = None

    def __check_init__(self):
        if self.bracket is not None and not (isinstance(self.bracket, tuple) and len(self.bracket) == 2):
            raise TypeError(f"bracket is a pair (lower, upper), got {self.bracket!r}")

    def bounds(self, x: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """The bracket in the form of ``x``."""

        def full(bound: Any) -> PyTree[Array]:
            like = jax.tree.leaves(bound) if jax.tree.structure(bound) == jax.tree.structure(x) else None
            leaves, treedef = jax.tree.flatten(x)
            values = [bound] * len(leaves) if like is None else like
            return jax.tree.unflatten(
                treedef,
                [
                    jnp.broadcast_to(jnp.asarray(b, v.dtype), v.shape)
                    for b, v in zip(values, leaves, strict=True)
                ],
            )

        lower, upper = self.bracket  # pyright: ignore[reportGeneralTypeIssues]
        return full(lower), full(upper)

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        return lift.call(self.F, x)

    def objective(self, x: PyTree[Array]) -> Scalar:
        return half_square(self.optimality(x))

    def offers(self) -> dict[str, str]:
        offered = {"equation": "F(x)"}
        return (
            offered if self.bracket is None else offered | {"bracket": "bounds that F changes sign between"}
        )

    def lifted(self, x: PyTree[Array]) -> "Root":
        F = lift.lift(self.F, x, what="equation")
        return self if F is self.F else lift.replaced(self, F=F)

    def default_solver(self) -> str:
        return "frechet.solvers.wrappers.optimistix:Newton"


class FixedPoint(Problem):
    r"""Solve $T(x) = x$; the objective is $\tfrac12\|x - T(x)\|^2$.

    Args:
        T: a callable from a pytree ``x`` to a pytree of the same structure, shapes and dtypes.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.FixedPoint(jnp.cos)
        >>> abs(float(problem.optimality(jnp.asarray(0.7390851)))) < 1e-6
        True
    """

    T: Callable[[PyTree[Array]], PyTree[Array]]

    def apply(self, x: PyTree[Array]) -> PyTree[Array]:
        """The map itself, ``T(x)``."""
        return lift.call(self.T, x)

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        return tree.subtract(x, self.apply(x))

    def objective(self, x: PyTree[Array]) -> Scalar:
        return half_square(self.optimality(x))

    def offers(self) -> dict[str, str]:
        return {"map": "T(x)"}

    def lifted(self, x: PyTree[Array]) -> "FixedPoint":
        T = lift.lift(self.T, x, what="map")
        return self if T is self.T else lift.replaced(self, T=T)

    def default_solver(self) -> str:
        return "frechet.solvers.wrappers.optimistix:FixedPointIteration"
