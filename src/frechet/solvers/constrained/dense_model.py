"""A constrained problem as vectors and dense matrices, for methods of moderate size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.problems.constrained import Constrained, KKTPoint


class Form(NamedTuple):
    """How a `KKTPoint` is laid out as two vectors: the point, and multipliers of equations and inequalities.

    Attributes:
        like: a point of that form.
        equations: how many of the multipliers belong to equations.
    """

    like: KKTPoint
    equations: int

    @staticmethod
    def of(like: KKTPoint) -> "Form":
        """The form of a point."""
        return Form(like, sum(v.size for v in jax.tree.leaves(like.dual_eq)))

    def vectors(self, z: KKTPoint) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
        """The point and its multipliers as vectors."""
        x = ravel_pytree(z.primal)[0]
        return x, ravel_pytree((z.dual_eq, z.dual_ineq))[0].astype(x.dtype)

    def primal(self, x: Float[Array, " n"]) -> PyTree[Array]:
        """A vector as a point."""
        return ravel_pytree(self.like.primal)[1](x)

    def point(self, x: Float[Array, " n"], multipliers: Float[Array, " m"]) -> KKTPoint:
        """Vectors as a `KKTPoint`."""
        flat, unravel = ravel_pytree((self.like.dual_eq, self.like.dual_ineq))
        return KKTPoint(self.primal(x), *unravel(multipliers.astype(flat.dtype)))

    def rows(self, problem: Constrained, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """$h(x)$ and $c(x)$ in one vector."""
        point = self.primal(x)
        return ravel_pytree((problem.equality(point), problem.inequality(point)))[0].astype(x.dtype)

    def value(self, problem: Constrained, x: Float[Array, " n"]) -> Scalar:
        """$f(x)$, in the dtype of ``x``; costs a value."""
        return problem.value(self.primal(x)).astype(x.dtype)

    def linearised(self, problem: Constrained, x: Float[Array, " n"]) -> tuple[Array, Array, Array]:
        """The gradient of $f$, the rows and their Jacobian; costs a gradient and a Jacobian."""
        gradient = ravel_pytree(problem.gradient(self.primal(x)))[0]
        rows = self.rows(problem, x)
        jacobian = jax.jacrev if rows.size < x.size else jax.jacfwd
        return gradient, rows, jacobian(lambda x: self.rows(problem, x))(x)

    def hessian(
        self, problem: Constrained, x: Float[Array, " n"], multipliers: Float[Array, " m"]
    ) -> Float[Array, "n n"]:
        """The Hessian of the Lagrangian; costs as many products with it as there are unknowns."""
        z = self.point(x, multipliers)

        def product(v: Array) -> Array:
            return ravel_pytree(problem.lagrangian_hvp(z, self.primal(v)))[0]

        H = jax.vmap(product)(jnp.eye(x.size, dtype=x.dtype))
        return 0.5 * (H + H.T)

    def bounds(self, problem: Constrained) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Lower and upper bounds."""
        lower, upper = (ravel_pytree(b)[0] for b in problem.g.bounds(self.like.primal))
        return lower, upper
