"""Half a squared norm that shows its residual."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems.composite import Composite


class HalfSquaredNorm(eqx.Module):
    r"""$x \mapsto \tfrac12\|r(x)\|^2$ over all leaves of the residual.

    Args:
        residual_map: ``r(x)``, a pytree of arrays.
    """

    residual_map: Callable

    def residual(self, x: PyTree[Array]) -> PyTree[Array]:
        """The residual ``r(x)``."""
        return lift.call(self.residual_map, x)

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return jnp.asarray(0.5 * sum(jnp.sum(jnp.square(v)) for v in jax.tree.leaves(self.residual(x))))

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"residual": "the residual of the least squares"}

    def lifted(self, x: PyTree[Array]) -> "HalfSquaredNorm":
        """With the residual made a pytree."""
        r = lift.lift(self.residual_map, x, what="residual")
        return self if r is self.residual_map else HalfSquaredNorm(r)


class LeastSquares(Composite):
    r"""Minimise $\tfrac12\|r(x)\|^2 + g(x)$; a `Composite` that shows its residual.

    Args:
        r: the residual, a callable from a pytree ``x`` to a pytree of arrays.
        g: the proximable part.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.LeastSquares(lambda x: x - jnp.array([3.0, 4.0]))
        >>> float(problem.objective(jnp.zeros(2)))
        12.5
    """

    def __init__(self, r: Callable, g: Function | None = None):
        if not callable(r):
            raise TypeError(f"r must be callable, got {type(r).__name__}")
        self.f = HalfSquaredNorm(r)
        self.g = Zero() if g is None else g

    def residual(self, x: PyTree[Array]) -> PyTree[Array]:
        """The residual ``r(x)``."""
        return self.f.residual(x)  # pyright: ignore[reportFunctionMemberAccess]

    def default_solver(self) -> str:
        if self.g.smooth:
            return "frechet.solvers.wrappers.optimistix:LevenbergMarquardt"
        return super().default_solver()
