"""What variance-reduced methods for inclusions share: how steep the components are."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core.problem import Problem
from frechet.core.solver import Solver
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.lipschitz import positive_or_none


class ComponentMethod(Solver):
    """A solver that corrects components of the operator by evaluations of all of it.

    Attributes:
        lipschitz: a constant of the components, of the kind that the method's theory asks for; derived from
            ``F.lipschitz_terms()`` when left out.
    """

    accepts: ClassVar[type] = Inclusion
    needs: ClassVar[frozenset[str]] = frozenset({"operator", "prox", "sample"})
    stochastic: ClassVar[bool] = True
    lipschitz: float | Scalar | None = eqx.field(default=None, converter=positive_or_none, kw_only=True)

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason is None and self.lipschitz is None and not hasattr(problem.F, "lipschitz_terms"):  # pyright: ignore
            name = type(self).__name__
            reason = f"needs a Lipschitz constant: F has no lipschitz_terms; pass lipschitz to {name}"
        return reason

    def largest(self, problem: Inclusion, z: PyTree[Array]) -> Scalar:
        """The constant given, or the largest of the components'."""
        return self._constant(problem, z, jnp.max)

    def in_quadratic_mean(self, problem: Inclusion, z: PyTree[Array]) -> Scalar:
        """The constant given, or the root of the mean square of the components'."""
        return self._constant(problem, z, lambda L: jnp.sqrt(jnp.mean(L**2)))

    def _constant(self, problem: Inclusion, z: PyTree[Array], combined) -> Scalar:
        L = self.lipschitz
        if L is None:
            L = combined(problem.F.lipschitz_terms())  # pyright: ignore[reportFunctionMemberAccess]
            L = jnp.where(L > 0, L, 1)
        dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype
        return jax.lax.stop_gradient(jnp.asarray(L, dtype))
