"""The augmented Lagrangian as a problem without constraints, in the constrained problem's own oracles."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.problems.constrained import Constrained, KKTPoint


class AugmentedProblem(Composite):
    r"""Minimise the augmented Lagrangian of Powell, Hestenes and Rockafellar plus $g$,

    $$f(x) + \langle y, h(x)\rangle + \tfrac\rho2\|h(x)\|^2
      + \tfrac1{2\rho}\bigl(\|(\lambda + \rho c(x))_+\|^2 - \|\lambda\|^2\bigr) + g(x).$$

    Its value costs a value of the problem, its gradient (which is the Lagrangian's at the multipliers
    $y + \rho h(x)$ and $(\lambda + \rho c(x))_+$) a gradient, a product with its Hessian a product with the
    Lagrangian's.

    Args:
        problem: the constrained problem.
        dual_eq: $y$, in the form of its equations.
        dual_ineq: $\lambda \ge 0$, in the form of its inequalities.
        penalty: $\rho > 0$.

    Source: Bertsekas 1982, Constrained Optimization and Lagrange Multiplier Methods, chapter 3.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> line = fr.Constrained(lambda x: x @ x, eq=lambda x: x.sum() - 2)
        >>> augmented = AugmentedProblem(line, jnp.array(-1.0), None, jnp.array(10.0))
        >>> float(augmented.value(jnp.ones(2))), augmented.gradient(jnp.ones(2)).tolist()
        (2.0, [1.0, 1.0])
    """

    problem: Constrained = eqx.field(kw_only=True)
    dual_eq: PyTree[Array] = eqx.field(kw_only=True)
    dual_ineq: PyTree[Array] = eqx.field(kw_only=True)
    penalty: Scalar = eqx.field(kw_only=True)

    def __init__(
        self, problem: Constrained, dual_eq: PyTree[Array], dual_ineq: PyTree[Array], penalty: Scalar
    ):
        self.f, self.g = problem.f, problem.g
        self.problem, self.dual_eq, self.dual_ineq, self.penalty = problem, dual_eq, dual_ineq, penalty

    def multipliers(self, x: PyTree[Array]) -> KKTPoint:
        r"""``x`` with the multipliers $y + \rho h(x)$ and $(\lambda + \rho c(x))_+$."""
        shifted = lambda m, c: m + self.penalty * c  # noqa: E731
        return KKTPoint(
            x,
            jax.tree.map(shifted, self.dual_eq, self.problem.equality(x)),
            jax.tree.map(
                lambda m, c: jnp.maximum(shifted(m, c), 0), self.dual_ineq, self.problem.inequality(x)
            ),
        )

    def value(self, x: PyTree[Array]) -> Scalar:
        def of_equation(y: Array, h: Array) -> Array:
            return h * (y + 0.5 * self.penalty * h)

        def of_inequality(m: Array, c: Array) -> Array:
            return jnp.where(m + self.penalty * c > 0, of_equation(m, c), -0.5 * m**2 / self.penalty)

        terms = (
            jax.tree.map(of_equation, self.dual_eq, self.problem.equality(x)),
            jax.tree.map(of_inequality, self.dual_ineq, self.problem.inequality(x)),
        )
        return self.problem.value(x) + sum((jnp.sum(v) for v in jax.tree.leaves(terms)), 0.0)

    def gradient(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.problem.lagrangian_gradient(self.multipliers(x))

    def value_and_gradient(self, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
        return self.value(x), self.gradient(x)

    def hvp(self, x: PyTree[Array], v: PyTree[Array]) -> PyTree[Array]:
        multipliers = self.multipliers(x)

        def active(x: PyTree[Array]) -> tuple:
            """The constraints whose squares are in the augmented Lagrangian at ``multipliers``."""
            inside = lambda m, c: jnp.where(m > 0, c, 0)  # noqa: E731
            c = jax.tree.map(inside, multipliers.dual_ineq, self.problem.inequality(x))
            return self.problem.equality(x), c

        _, along, back = _jvp_and_vjp(active, x, v)
        squares = back(jax.tree.map(lambda u: self.penalty * u, along))
        return jax.tree.map(jnp.add, self.problem.lagrangian_hvp(multipliers, v), squares)

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.g.residual(x, self.gradient(x))

    def objective(self, x: PyTree[Array]) -> Scalar:
        return self.value(x) + self.g(x)


def _jvp_and_vjp(fn: Any, x: PyTree[Array], v: PyTree[Array]) -> tuple:
    out, push = jax.linearize(fn, x)
    back = jax.linear_transpose(push, x)
    return out, push(v), lambda u: back(u)[0]


def violation(problem: Constrained, x: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
    """$h(x)$ and $c(x)_+$."""
    return problem.equality(x), jax.tree.map(lambda c: jnp.maximum(c, 0), problem.inequality(x))


def infeasibility_slope(problem: Constrained, x: PyTree[Array]) -> Scalar:
    r"""Norm of the residual of $\min \tfrac12\|h(x)\|^2 + \tfrac12\|c(x)_+\|^2$ over the domain of $g$.

    Costs two gradients.
    """
    weighted = problem.lagrangian_gradient(KKTPoint(x, *violation(problem, x)))
    slope = tree.subtract(weighted, problem.gradient(x))
    return tree.norm(problem.g.residual(x, slope))
