"""Two levels: an upper objective over the solutions of a lower problem."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import implicit, lift, tree
from frechet.core.problem import Problem
from frechet.core.solve import solve
from frechet.core.status import Ending
from frechet.problems.composite import Composite
from frechet.problems.constrained import Constrained, KKTPoint
from frechet.problems.finite_sum import Mean

Indices = Int[Array, " batch"] | None


class BilevelPoint(NamedTuple):
    """A point of both levels; what a bilevel problem is solved for.

    Attributes:
        upper: $x$, any pytree of arrays.
        lower: $y$, any pytree of arrays; at a solution one of the lower problem at $x$.
        dual_eq: multipliers of the lower problem's equations; None where there are none.
        dual_ineq: multipliers of its inequalities, at least 0; None where there are none.
    """

    upper: PyTree[Array]
    lower: PyTree[Array]
    dual_eq: PyTree[Array] = None
    dual_ineq: PyTree[Array] = None


class SetValued(Composite):
    """A lower problem whose solutions are no isolated points."""

    isolated: ClassVar[bool] = False


class SetValuedConstrained(Constrained):
    """Likewise with constraints."""

    isolated: ClassVar[bool] = False


class Bilevel(Problem):
    r"""Minimise $\Phi(x) = f(x, y^\star(x)) + p(x)$ where $y^\star(x)$ minimises $g(x, \cdot) + q$.

    The lower problem may have constraints that $x$ enters, $h(x, y) = 0$ and $c(x, y) \le 0$. The unknown is
    a `BilevelPoint` $(x, y)$; a start may be a pair, with multipliers 0 added. With $R(x, y) = 0$ the lower
    problem's own optimality map, that of `Composite` or `Constrained`, this one's is

    $$\Bigl(x - \mathrm{prox}_p\bigl(x - \nabla_x f + (\partial_x R)^\top v\bigr),\; R(x, y)\Bigr), \qquad
      (\partial_y R)^\top v = \nabla_y f,$$

    with the linear system solved accurately at the point that is asked about: a solver's own estimate of $v$
    plays no part. Where the lower problem is smooth, $R = \nabla_y g$ and the first part is the gradient of
    $\Phi$ once $y = y^\star(x)$. ``measures`` go further and solve the lower problem too: the hyperobjective
    $\Phi(x)$, the length of its (projected) gradient and the distance from $y$ to $y^\star(x)$; all NaN where
    the lower problem could not be solved. Points are ranked by the residual, as at a $y$ that does not solve
    the lower problem $f$ may be as low as one likes.

    Args:
        outer: $f$, a callable of ``(x, y)``, a scalar.
        inner: $g$, likewise; smooth.
        outer_g: $p$, a proximable function of $x$ or, as an indicator, a set.
        inner_g: $q$, likewise of $y$.
        eq: $h$, a callable of ``(x, y)`` to a pytree of arrays, all zero at a feasible point; None for none.
        ineq: $c$, likewise, nowhere above zero at a feasible point and convex in $y$; None for none.
        joint: the indicator of all $(x, y)$ that satisfy the constraints and lie in the sets of both levels,
            as a function of the pair; some methods for constraints need its projection.
        unique: whether lower solutions are isolated points. Where they are not, the one of least $f$ is
            meant: derivatives are taken with a pseudo-inverse, as of the solution of least norm, and what of
            $\nabla_y f$ lies along the solutions is added to the lower part of the optimality map.
        measure: ``measure(x, y)``, a dictionary of further scalars to watch.

    Raises:
        TypeError: a part of the wrong kind.

    Source:
        Dempe, Zemkoho (editors) 2020, Bilevel Optimization, Springer; Blondel et al. 2022, Efficient and
        modular implicit differentiation, arXiv 2105.15183.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> float(problem.hypergradient(problem.start((0.0, 0.0))))
        -4.0
        >>> [float(v) for v in problem.optimality(problem.start((0.5, 1.0)))[:2]]
        [0.0, 0.0]
    """

    always_feasible: ClassVar[bool] = False

    outer: Callable[[PyTree[Array], PyTree[Array]], Scalar]
    inner: Callable[[PyTree[Array], PyTree[Array]], Scalar]
    outer_g: Function = eqx.field(default_factory=Zero)
    inner_g: Function = eqx.field(default_factory=Zero)
    eq: Callable[[PyTree[Array], PyTree[Array]], PyTree[Array]] | None = None
    ineq: Callable[[PyTree[Array], PyTree[Array]], PyTree[Array]] | None = None
    joint: Function | None = None
    unique: bool = eqx.field(default=True, static=True)
    measure: Callable[[PyTree[Array], PyTree[Array]], Mapping[str, Scalar]] | None = None

    def __check_init__(self):
        for name in ("outer", "inner", "eq", "ineq", "measure"):
            part = getattr(self, name)
            if not callable(part) and (part is not None or name in ("outer", "inner")):
                raise TypeError(f"{name} must be a callable of (x, y), got {type(part).__name__}")
        for name in ("outer_g", "inner_g", "joint"):
            part = getattr(self, name)
            if not isinstance(part, Function) and not (part is None and name == "joint"):
                raise TypeError(f"{name} must be a frechet.convex.Function, got {type(part).__name__}")

    # The oracles. Those of finite sums take indices of terms too, at any number of points.

    def outer_value(self, x: PyTree[Array], y: PyTree[Array], indices: Indices = None) -> Scalar:
        """$f(x, y)$."""
        return _scalar("outer", self.outer, x, y, indices)

    def inner_value(self, x: PyTree[Array], y: PyTree[Array], indices: Indices = None) -> Scalar:
        """$g(x, y)$."""
        return _scalar("inner", self.inner, x, y, indices)

    def outer_gradients(self, x: PyTree[Array], y: PyTree[Array], indices: Indices = None) -> tuple:
        r"""$(\nabla_x f, \nabla_y f)$."""
        return jax.grad(self.outer_value, argnums=(0, 1))(x, y, indices)

    def inner_gradient(self, x: PyTree[Array], y: PyTree[Array], indices: Indices = None) -> PyTree[Array]:
        r"""$\nabla_y g$."""
        return jax.grad(self.inner_value, argnums=1)(x, y, indices)

    def inner_gradients(self, x: PyTree[Array], y: PyTree[Array], indices: Indices = None) -> tuple:
        r"""$(\nabla_x g, \nabla_y g)$."""
        return jax.grad(self.inner_value, argnums=(0, 1))(x, y, indices)

    def inner_hvp(
        self, x: PyTree[Array], y: PyTree[Array], v: PyTree[Array], indices: Indices = None
    ) -> PyTree[Array]:
        r"""$\nabla^2_{yy} g\, v$."""
        slope = lambda y: self.inner_gradient(x, y, indices)  # noqa: E731
        return jax.jvp(slope, (y,), (v,))[1]

    def inner_products(
        self, x: PyTree[Array], y: PyTree[Array], v: PyTree[Array], indices: Indices = None
    ) -> tuple:
        r"""$(\nabla^2_{xy} g\, v, \nabla^2_{yy} g\, v)$, the derivative of $\langle\nabla_y g, v\rangle$."""
        pull = jax.vjp(lambda x, y: self.inner_gradient(x, y, indices), x, y)[1]
        return pull(v)

    def outer_prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step`` times the function of $x$."""
        return self.outer_g.prox(x, step)

    def inner_prox(self, y: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step`` times the function of $y$."""
        return self.inner_g.prox(y, step)

    def constraints(self, x: PyTree[Array], y: PyTree[Array]) -> tuple:
        """``(h(x, y), c(x, y))``, None for what there is not."""
        return tuple(None if c is None else lift.call(c, x, y) for c in (self.eq, self.ineq))

    def constrained_gradients(
        self, x: PyTree[Array], y: PyTree[Array], dual_eq: PyTree[Array], dual_ineq: PyTree[Array]
    ) -> tuple:
        r"""Gradients in $x$ and $y$ of $g + \langle\mu, h\rangle + \langle\lambda, c\rangle$."""

        def lagrangian(x: PyTree[Array], y: PyTree[Array]) -> Scalar:
            h, c = self.constraints(x, y)
            return self.inner_value(x, y) + tree.vdot(dual_eq, h) + tree.vdot(dual_ineq, c)

        return jax.grad(lagrangian, argnums=(0, 1))(x, y)

    def joint_prox(self, x: PyTree[Array], y: PyTree[Array]) -> tuple:
        """The nearest pair that satisfies the constraints."""
        assert self.joint is not None
        return self.joint.prox((x, y), 1.0)

    # The lower problem by itself.

    def lower_problem(self, x: PyTree[Array]) -> Problem:
        """The problem that $y$ has to solve: a `Composite`, or a `Constrained` with its `KKTPoint`."""
        at = lambda part: None if part is None else lambda y: lift.call(part, x, y)  # noqa: E731
        objective = lambda y: self.inner_value(x, y)  # noqa: E731
        if self.constrained:
            kind = Constrained if self.unique else SetValuedConstrained
            return kind(objective, at(self.eq), at(self.ineq), self.inner_g)
        return (Composite if self.unique else SetValued)(objective, self.inner_g)

    @property
    def constrained(self) -> bool:
        """Whether the lower problem has constraints that come as functions."""
        return self.eq is not None or self.ineq is not None

    def lower_point(self, z: BilevelPoint) -> PyTree[Array]:
        """The lower part of a point in the form of the lower problem's own unknown."""
        return KKTPoint(z.lower, z.dual_eq, z.dual_ineq) if self.constrained else z.lower

    def with_lower(self, z: BilevelPoint, point: PyTree[Array]) -> BilevelPoint:
        """A point with its lower part replaced by a lower problem's unknown; inverse of `lower_point`."""
        return BilevelPoint(z.upper, *point) if self.constrained else z._replace(lower=point)

    def solve_lower(self, z: BilevelPoint) -> tuple[BilevelPoint, Bool[Array, ""]]:
        """The point with its lower part solved for accurately from where it is, and whether that worked."""
        found = solve(self.lower_problem(z.upper), self.lower_point(z), differentiate="none")
        code = found.status.code
        return self.with_lower(z, found.x), (code == Ending.CONVERGED) | (code == Ending.STALLED)

    def hypergradient(self, z: BilevelPoint) -> PyTree[Array]:
        r"""$\nabla_x f - (\partial_x R)^\top (\partial_y R)^{-\top}\nabla_y f$ at a point, accurately.

        It is $\nabla\Phi(x)$ (without $p$) where the lower part solves the lower problem.
        """
        slope, pulled = self.outer_gradients(z.upper, z.lower)
        leaves, structure = jax.tree.flatten(z.upper)
        point = self.lower_point(z)

        def moved(dots: list[Array]) -> PyTree[Array]:
            of = lambda leaves: self.lower_problem(structure.unflatten(leaves))  # noqa: E731
            return implicit.response(of, leaves, dots, point)[0]

        through = jax.linear_transpose(moved, leaves)(self._beside(pulled, point))[0]
        return tree.axpy(1.0, structure.unflatten(through), slope)

    def free_slope(self, z: BilevelPoint) -> PyTree[Array]:
        r"""The part of $\nabla_y f$ in the kernel of $\partial_y R$, along which lower solutions extend."""
        lower, point = self.lower_problem(z.upper), self.lower_point(z)
        flat, unravel = ravel_pytree(point)
        right = ravel_pytree(self._beside(self.outer_gradients(z.upper, z.lower)[1], point))[0]
        J = jax.jacfwd(lambda v: ravel_pytree(lower.optimality(unravel(v)))[0])(flat)
        return unravel(right - jnp.linalg.pinv(J) @ (J @ right))

    def _beside(self, primal: PyTree[Array], point: PyTree[Array]) -> PyTree[Array]:
        """In the form of the lower problem's unknown, with zeros for multipliers."""
        return jax.tree.map(jnp.zeros_like, point)._replace(primal=primal) if self.constrained else primal

    # What it means to be solved.

    def objective(self, x: BilevelPoint) -> Scalar:
        return self.outer_value(x.upper, x.lower) + self.outer_g(x.upper)

    def optimality(self, x: BilevelPoint) -> BilevelPoint:
        lower = self.lower_problem(x.upper).optimality(self.lower_point(x))
        if not self.unique:
            lower = tree.axpy(1.0, self.free_slope(x), lower)
        upper = self.outer_g.residual(x.upper, self.hypergradient(x))
        return self.with_lower(x._replace(upper=upper), lower)

    def near_kink(self, x: BilevelPoint, distance: Scalar) -> Bool[Array, ""]:
        lower = self.lower_problem(x.upper).near_kink(self.lower_point(x), distance)
        return lower | self.outer_g.near_kink(tree.subtract(x.upper, self.hypergradient(x)), distance)

    def measures(self, x: BilevelPoint) -> dict[str, Scalar]:
        solved, worked = self.solve_lower(x)
        found = {
            "hyperobjective": self.objective(solved),
            "hypergradient": tree.norm(self.outer_g.residual(x.upper, self.hypergradient(solved))),
            "lower_distance": tree.norm(tree.subtract(x.lower, solved.lower)),
        }
        found = {k: jnp.where(worked, v, jnp.nan) for k, v in found.items()}
        return found if self.measure is None else found | dict(lift.call(self.measure, x.upper, x.lower))

    def offers(self) -> dict[str, str]:
        offered = {
            "outer gradient": "gradients of f",
            "inner gradient": "gradients of g",
            "inner hvp": "second derivatives of g as products",
            "prox": "proximal maps of the functions of x and of y",
        }
        if self.outer_g.smooth:
            offered["smooth upper level"] = "no set or nonsmooth part at the upper level"
        if not self.constrained:
            offered["no constraints"] = "none but sets"
            if self.inner_g.smooth:
                offered["smooth lower level"] = "no constraints, sets or nonsmooth part at the lower level"
        if self.unique:
            offered["unique lower solution"] = "an isolated one"
        if self.joint is not None:
            offered["joint projection"] = "onto the pairs that satisfy the constraints"
        for name, part in {"outer": self.outer, "inner": self.inner}.items():
            if "sample" in getattr(part, "offers", dict)():
                offered[f"{name} sample"] = f"the oracles of single terms of the {name} objective"
        return offered

    @property
    def outer_count(self) -> int:
        """How many terms $f$ has; where it is a finite sum."""
        return self.outer.count  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def inner_count(self) -> int:
        """How many terms $g$ has; where it is a finite sum."""
        return self.inner.count  # pyright: ignore[reportFunctionMemberAccess]

    def start(self, x0: PyTree[Array]) -> BilevelPoint:
        if isinstance(x0, BilevelPoint):
            return x0
        if not (isinstance(x0, tuple | list) and len(x0) == 2):
            raise TypeError(f"x0 must be a pair (x, y) or a BilevelPoint, got a {type(x0).__name__}")
        x, y = (jax.tree.map(jnp.asarray, part) for part in x0)
        forms = jax.eval_shape(self.constraints, x, y)
        return BilevelPoint(x, y, *jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), forms))

    def lifted(self, x: PyTree[Array]) -> "Bilevel":
        point = Bilevel.start(self, x)
        names = {"outer": "outer objective", "inner": "inner objective", "eq": "equality constraint"}
        names |= {"ineq": "inequality constraint", "measure": "measure"}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        lifted = {
            name: lift.lift(part, point.upper, point.lower, what=names[name]) for name, part in given.items()
        }
        same = all(lifted[name] is part for name, part in given.items())
        return self if same else lift.replaced(self, **lifted)

    def sound(self) -> Bool[Array, ""]:
        data = tree.all_finite((self.outer, self.inner, self.eq))
        return data & tree.no_nan((self.ineq, self.outer_g, self.inner_g, self.joint))

    def default_solver(self) -> str:
        if self.constrained:
            return "frechet.solvers.bilevel.lv_hba:LVHBA"
        if not self.unique:
            return "frechet.solvers.bilevel.penalty:PenaltyBilevel"
        return "frechet.solvers.bilevel.approximate_implicit:ApproximateImplicit"


class FiniteSumBilevel(Bilevel):
    r"""A `Bilevel` problem with means at both levels, which can be sampled.

    $$\min_x \frac1n\sum_{j=1}^n f(x, y^\star(x), a_j) + p(x), \qquad
      y^\star(x) = \arg\min_y \frac1m\sum_{i=1}^m g(x, y, b_i) + q(y).$$

    Args:
        outer_loss: ``outer_loss(x, y, one_datum)``, a scalar.
        inner_loss: ``inner_loss(x, y, one_datum)``, a scalar; smooth, regularisers included.
        outer_data: a pytree of arrays that share their leading axis, of length $n$.
        inner_data: likewise, of length $m$.
        outer_g: as in `Bilevel`.
        inner_g: as in `Bilevel`.
        measure: as in `Bilevel`.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> loss = lambda x, y, d: (y - d) ** 2
        >>> ridge = lambda x, y, d: (y - d) ** 2 + jnp.exp(x) * y**2
        >>> problem = fr.FiniteSumBilevel(loss, ridge, jnp.array([1.0, 2.0]), jnp.array([3.0, 3.0, 6.0]))
        >>> float(problem.inner_gradient(0.0, 0.0, jnp.array([2])))
        -12.0
    """

    def __init__(
        self,
        outer_loss: Callable,
        inner_loss: Callable,
        outer_data: PyTree[Array],
        inner_data: PyTree[Array],
        *,
        outer_g: Function | None = None,
        inner_g: Function | None = None,
        measure: Callable[[PyTree[Array], PyTree[Array]], Mapping[str, Scalar]] | None = None,
    ):
        outer, inner = Mean(outer_loss, outer_data), Mean(inner_loss, inner_data)
        super().__init__(outer, inner, outer_g or Zero(), inner_g or Zero(), measure=measure)


def _scalar(name: str, f: Any, x: PyTree[Array], y: PyTree[Array], indices: Indices) -> Scalar:
    out = lift.call(f if indices is None else f.sampled(indices), x, y)
    if jnp.shape(out) != ():
        raise TypeError(f"{name} must return a scalar, got shape {jnp.shape(out)}; take its sum or mean")
    return out
