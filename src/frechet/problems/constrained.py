"""Smooth constraints: what a point and its multipliers have to satisfy."""

import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift, tree
from frechet.problems.smooth_part import SmoothPart


class KKTPoint(NamedTuple):
    """A point with its Lagrange multipliers; what a constrained problem is solved for.

    Attributes:
        primal: the point, any pytree of arrays.
        dual_eq: multipliers of the equations, in their form; None where there are none.
        dual_ineq: multipliers of the inequalities, in their form and at least 0; None where there are none.
    """

    primal: PyTree[Array]
    dual_eq: PyTree[Array] = None
    dual_ineq: PyTree[Array] = None


class Constrained(SmoothPart):
    r"""Minimise $f(x) + g(x)$ subject to $h(x) = 0$ and $c(x) \le 0$.

    The unknown is a `KKTPoint` $(x, y, \lambda)$; a start may be the primal point alone, with multipliers 0
    added. The optimality map is that of Karush, Kuhn and Tucker,

    $$\bigl(x - \mathrm{prox}_g(x - \nabla_x L),\; h(x),\; \min\{\lambda, -c(x)\}\bigr), \qquad
      L = f(x) + \langle y, h(x)\rangle + \langle\lambda, c(x)\rangle,$$

    with the entrywise minimum as the complementarity function: it is zero iff $\lambda \ge 0$, $c(x) \le 0$
    and $\lambda_i c_i(x) = 0$. Where a constraint is weakly active ($\lambda_i = c_i(x) = 0$) the map has a
    kink and the solution in general only one-sided derivatives. The one returned takes such a constraint for
    inactive where both are exactly zero, else goes by the larger of the two; a `frechet.DerivativeWarning`
    says so. Bounds belong into ``g``, as `frechet.convex.Box`, without multipliers.

    Args:
        f: the smooth objective, a callable from a pytree ``x`` to a scalar.
        eq: $h$, a callable from ``x`` to a pytree of arrays, all zero at a feasible point; None for none.
        ineq: $c$, likewise, nowhere above zero at a feasible point; None for none.
        g: a proximable part or, as an indicator, a set with a projection.

    Source:
        Blondel et al. 2022, Efficient and modular implicit differentiation, arXiv 2105.15183 (section 2.2);
        Nocedal, Wright 2006, Numerical Optimization, chapter 12.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> circle = fr.Constrained(lambda x: x.sum(), ineq=lambda x: x @ x - 2.0)
        >>> point = circle.start(jnp.array([-1.0, -1.0]))._replace(dual_ineq=jnp.array(0.5))
        >>> circle.optimality(point).primal.tolist(), float(circle.optimality(point).dual_ineq)
        ([0.0, 0.0], 0.0)
    """

    always_feasible: ClassVar[bool] = False

    f: Callable[[PyTree[Array]], Scalar]
    eq: Callable[[PyTree[Array]], PyTree[Array]] | None = None
    ineq: Callable[[PyTree[Array]], PyTree[Array]] | None = None
    g: Function = eqx.field(default_factory=Zero)

    def __check_init__(self):
        for name, part in {"f": self.f, "eq": self.eq, "ineq": self.ineq}.items():
            if not callable(part) and (part is not None or name == "f"):
                raise TypeError(f"{name} must be callable, got {type(part).__name__}")

    # The oracles; they take the primal point. Those of f and g alone are inherited.

    def equality(self, x: PyTree[Array]) -> PyTree[Array]:
        """``h(x)``; None where there are no equations."""
        return None if self.eq is None else lift.call(self.eq, x)

    def inequality(self, x: PyTree[Array]) -> PyTree[Array]:
        """``c(x)``; None where there are no inequalities."""
        return None if self.ineq is None else lift.call(self.ineq, x)

    def lagrangian(self, z: KKTPoint) -> Scalar:
        r"""$f(x) + \langle y, h(x)\rangle + \langle\lambda, c(x)\rangle$."""
        equality = tree.vdot(z.dual_eq, self.equality(z.primal))
        return self.value(z.primal) + equality + tree.vdot(z.dual_ineq, self.inequality(z.primal))

    def lagrangian_gradient(self, z: KKTPoint) -> PyTree[Array]:
        """Gradient of the Lagrangian in the primal point."""
        return jax.grad(lambda x: self.lagrangian(z._replace(primal=x)))(z.primal)

    def lagrangian_hvp(self, z: KKTPoint, v: PyTree[Array]) -> PyTree[Array]:
        """Hessian of the Lagrangian in the primal point, applied to ``v``."""
        gradient = lambda x: self.lagrangian_gradient(z._replace(primal=x))  # noqa: E731
        return jax.jvp(gradient, (z.primal,), (v,))[1]

    def infeasibility(self, x: PyTree[Array]) -> Scalar:
        """The largest violation of a constraint, in absolute value."""
        positive = jax.tree.map(lambda c: jnp.maximum(c, 0), self.inequality(x))
        return jnp.maximum(tree.largest(self.equality(x)), tree.largest(positive))

    # What it means to be solved.

    def objective(self, x: KKTPoint) -> Scalar:
        return self.value(x.primal) + self.g(x.primal)

    def optimality(self, x: KKTPoint) -> KKTPoint:
        def complementarity(multiplier: Array, c: Array) -> Array:
            # min(multiplier, -c); where both are zero the multiplier, so the constraint counts as inactive.
            return multiplier - jnp.where(multiplier + c > 0, multiplier + c, 0)

        slope = self.lagrangian_gradient(x)
        return KKTPoint(
            self.g.residual(x.primal, slope),
            self.equality(x.primal),
            jax.tree.map(complementarity, x.dual_ineq, self.inequality(x.primal)),
        )

    def near_kink(self, x: KKTPoint, distance: Scalar) -> Bool[Array, ""]:
        apart = lambda multiplier, c: jnp.min(jnp.abs(multiplier + c), initial=jnp.inf)  # noqa: E731
        gaps = jax.tree.leaves(jax.tree.map(apart, x.dual_ineq, self.inequality(x.primal)))
        weakly_active = functools.reduce(jnp.minimum, gaps, jnp.inf) <= distance
        ahead = tree.subtract(x.primal, self.lagrangian_gradient(x))
        return weakly_active | self.g.near_kink(ahead, distance)

    def measures(self, x: KKTPoint) -> dict[str, Scalar]:
        return {"infeasibility": self.infeasibility(x.primal)}

    def offers(self) -> dict[str, str]:
        offered = {
            "value": "f(x) and the constraints",
            "gradient": "the gradient of the Lagrangian",
            "hvp": "Hessian-vector products of the Lagrangian",
        } | self.g.oracles()
        if self.ineq is None:
            offered["equations only"] = "no inequalities"
        return offered

    def start(self, x0: PyTree[Array]) -> KKTPoint:
        if isinstance(x0, KKTPoint):
            return x0
        y, multiplier = jax.eval_shape(lambda x: (self.equality(x), self.inequality(x)), x0)
        zeros = lambda s: jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), s)  # noqa: E731
        return KKTPoint(x0, zeros(y), zeros(multiplier))

    def lifted(self, x: PyTree[Array]) -> "Constrained":
        x = x.primal if isinstance(x, KKTPoint) else x
        parts = {"f": "objective", "eq": "equality constraint", "ineq": "inequality constraint"}
        given = {name: getattr(self, name) for name in parts if getattr(self, name) is not None}
        lifted = {name: lift.lift(part, x, what=parts[name]) for name, part in given.items()}
        same = all(lifted[name] is part for name, part in given.items())
        return self if same else lift.replaced(self, **lifted)

    def sound(self) -> Bool[Array, ""]:
        # Bounds, right-hand sides of inequalities and weights may be infinite.
        data = tree.all_finite(self.f) & tree.all_finite(self.eq)
        return data & tree.no_nan(self.ineq) & tree.no_nan(self.g)

    def default_solver(self) -> str:
        return "frechet.solvers.constrained.augmented_lagrangian:AugmentedLagrangian"
