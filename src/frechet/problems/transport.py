"""Optimal transport between two discrete measures."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from frechet.convex.parameters import known, parameter
from frechet.core import lift, tree
from frechet.core.problem import Problem
from frechet.transport.cost_matrix import CostMatrix
from frechet.transport.entropic import Entropic
from frechet.transport.ground_cost import GroundCost
from frechet.transport.point_cloud import PointCloud
from frechet.transport.regulariser import Regulariser, Side


class Potentials(eqx.Module):
    """The unknowns of a transport problem.

    Attributes:
        f: dual potentials of the sources, in units of the cost.
        g: those of the targets.
        plan: the transport plan, where nothing regularises it; elsewhere the potentials say what it is.
    """

    f: Float[Array, " m"]
    g: Float[Array, " n"]
    plan: Float[Array, "m n"] | None = None


class Report(eqx.Module):
    """What a pair of potentials is worth.

    Attributes:
        transport_cost: $\\langle P, C\\rangle$ of a plan that has the prescribed marginals (of the plan as
            it is, where marginals are penalised or its columns may have only some entries).
        objective: that plan's value of the problem, an upper bound of the optimum. A plan of at most $k$
            entries a column is the best of those with its own marginals, whatever these are.
        duality_gap: how far it is above the potentials' dual value, a lower bound: the error of
            ``objective`` is at most this. Infinite for plans of few entries a column that miss the marginals
            by more than rounding: these bound nothing.
        marginal_error: $\\|P1 - a\\|_1 + \\|P^\\top 1 - b\\|_1$ of the plan that the potentials stand for.
    """

    transport_cost: Scalar
    objective: Scalar
    duality_gap: Scalar
    marginal_error: Scalar


class Transport(Problem):
    r"""Move mass from sources with weights $a$ to targets with weights $b$ at least cost.

    $$\min_{P \ge 0}\; \langle P, C\rangle + R(P) \quad\text{with}\quad P1 = a,\; P^\top 1 = b,$$

    solved over dual potentials $x = (f, g)$, which maximise

    $$D(f, g) = \langle f, a\rangle + \langle g, b\rangle - R^*(f \oplus g - C).$$

    The objective is $-D$. The optimality map is the error of the marginals of
    $P = \nabla R^*(f\oplus g - C)$, $(P1 - a)/\sqrt a$ and $(P^\top 1 - b)/\sqrt b$: its norm bounds each
    side's error in $\ell_1$. As a constant may pass from one potential to the other, they are those with
    $\langle f, a\rangle = \langle g, b\rangle$.

    With ``unbalanced`` marginals need not be met: $\rho\,\mathrm{KL}(P1|a)$ and
    $\rho\,\mathrm{KL}(P^\top 1|b)$ are added to the objective in place of the
    constraints. Without a regulariser it is a linear program, the plan is an unknown too, and the optimality
    map is the residual of its optimality conditions.

    `report` gives the cost of a plan with exactly the prescribed marginals and the gap between primal and
    dual value, so that a number can be trusted however a solve ended; ``measures`` shows the same along a
    run. All of it is differentiable in points, weights, costs and strengths.

    Args:
        cost: a matrix of costs, shape (m, n), or a `frechet.transport.GroundCost` such as
            `frechet.transport.PointCloud` or `frechet.transport.Grid`.
        a: weights of the sources, positive, shape (m,); uniform when left out. Weights that do not sum to one
            are scaled to it, with a warning, unless ``unbalanced``.
        b: those of the targets, shape (n,), of the same sum.
        regulariser: `frechet.transport.Entropic` (the default; its strength is relative to the mean cost),
            `frechet.transport.Quadratic`, `frechet.transport.TopK` or None.
        unbalanced: $\rho > 0$ in units of the cost, or a pair of them for sources and targets, of which one
            may be None for a constraint.

    Raises:
        ValueError: shapes that disagree, weights that are negative, zero or of different sums, a source or
            target whose costs are all infinite, or an ``epsilon`` that is too small for the dtype.

    Source:
        Peyré, Cuturi 2019, Computational optimal transport, arXiv 1803.00567; Blondel, Seguy, Rolet 2018,
        Smooth and sparse optimal transport, arXiv 1710.06276; rounding: Altschuler, Weed, Rigollet 2017,
        Near-linear time approximation algorithms for optimal transport via Sinkhorn iteration,
        arXiv 1705.09634; unbalanced: Chizat, Peyré, Schmitzer, Vialard 2018, Scaling algorithms for
        unbalanced transport problems, arXiv 1607.05816.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> x, y = jnp.array([[0.0], [1.0]]), jnp.array([[3.0], [2.0]])
        >>> problem = fr.Transport(fr.transport.PointCloud(x, y), regulariser=fr.transport.Entropic(0.01))
        >>> solution = fr.solve(problem, problem.initial())
        >>> [[round(float(v), 3) for v in row] for row in problem.plan(solution.x)]
        [[0.0, 0.5], [0.5, 0.0]]
        >>> round(float(problem.report(solution.x).transport_cost), 3)
        4.0
    """

    cost: GroundCost
    a: Float[Array, " m"]
    b: Float[Array, " n"]
    regulariser: Regulariser | None
    unbalanced: tuple[Any, Any]
    unit: Scalar

    def __init__(
        self,
        cost: GroundCost | Array | np.ndarray,
        a: Any = None,
        b: Any = None,
        regulariser: Regulariser | None = Entropic(),
        *,
        unbalanced: Any = None,
    ):
        if not isinstance(cost, GroundCost):
            cost = CostMatrix(cost)
        if regulariser is not None and not isinstance(regulariser, Regulariser):
            raise TypeError(
                f"regulariser must be one of frechet.transport or None, got a {type(regulariser).__name__}"
            )
        penalties = unbalanced if isinstance(unbalanced, tuple) else (unbalanced, unbalanced)
        sources, targets = (
            None if v is None else parameter("unbalanced", v, positive=True) for v in penalties
        )
        self.unbalanced = sources, targets
        if any(v is not None for v in self.unbalanced) and regulariser is None:
            raise ValueError("unbalanced transport needs a regulariser such as frechet.transport.Entropic")
        self.cost = cost.stored()
        _require_ways(self.cost)
        self.a, self.b = _weights(a, b, self.cost, self.balanced)
        self.regulariser = None if regulariser is None else regulariser.resolved(self.cost)
        if self.regulariser is not None:
            _require_reachable(self.regulariser, self.cost)
        unit = self.cost.mean() if self.regulariser is None else self.regulariser.unit(self.cost)
        self.unit = jax.lax.stop_gradient(jnp.asarray(unit, self.cost.dtype))

    @property
    def balanced(self) -> bool:
        """Whether both marginals are met exactly."""
        return all(v is None for v in self.unbalanced)

    @property
    def isolated(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether potentials are unique: where plans are sparse, only those of a connected plan are."""
        return self.regulariser is not None and (self.regulariser.isolated or not self.balanced)

    def initial(self, key: PRNGKeyArray | None = None) -> Potentials:
        """Potentials of zero, the usual start."""
        m, n = self.cost.shape
        zero = lambda *shape: jnp.zeros(shape, self.cost.dtype)  # noqa: E731
        return Potentials(zero(m), zero(n), zero(m, n) if self.regulariser is None else None)

    def start(self, x0: Potentials) -> Potentials:
        if not isinstance(x0, Potentials):
            raise TypeError(f"x0 must be Potentials, such as problem.initial(); got a {type(x0).__name__}")
        if self.regulariser is None and x0.plan is None:
            return Potentials(x0.f, x0.g, self.initial().plan)
        return x0

    # The oracles. A pass over the cost is what counts.

    def value(self, x: Potentials) -> Scalar:
        """Minus the dual value, $-D(f, g)$."""
        linear = _gain(x.f, self.a, self.unbalanced[0]) + _gain(x.g, self.b, self.unbalanced[1])
        return self._regulariser.total_conjugate(self.cost, *self._sides(x)) - linear

    def marginals(self, x: Potentials) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        """Row and column sums of the plan: two passes over the cost."""
        return self._regulariser.marginals(self.cost, *self._sides(x))

    def supplies(self, x: Potentials) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        """The row and column sums that the potentials ask for: $a$ and $b$ where these are prescribed."""
        return _supply(x.f, self.a, self.unbalanced[0]), _supply(x.g, self.b, self.unbalanced[1])

    def gradient(self, x: Potentials) -> Potentials:
        """Gradient of `value`: marginals minus supplies."""
        return Potentials(*tree.subtract(Transport.marginals(self, x), self.supplies(x)))

    def best_f(self, g: Float[Array, " n"]) -> Float[Array, " m"]:
        """The potentials of the sources that are best for those of the targets: a pass over the cost."""
        return self.pulled(self._regulariser.best_columns(self.cost.T, Side(g, self.b), self.a), 0)

    def best_g(self, f: Float[Array, " m"]) -> Float[Array, " n"]:
        """The potentials of the targets that are best for those of the sources: a pass over the cost."""
        return self.pulled(self._regulariser.best_columns(self.cost, Side(f, self.a), self.b), 1)

    def plan(self, x: Potentials) -> Float[Array, "m n"]:
        """The transport plan as a matrix: a pass over the cost."""
        if x.plan is not None:
            return x.plan
        return self._regulariser.plan(self.cost, *self._sides(x))

    def product(self, P: Float[Array, "m n"], v: Float[Array, " n"]) -> Float[Array, " m"]:
        """$Pv$ of a matrix that `plan` gave."""
        return P @ v

    def transposed_product(self, P: Float[Array, "m n"], u: Float[Array, " m"]) -> Float[Array, " n"]:
        r"""$P^\top u$ of a matrix that `plan` gave."""
        return u @ P

    # Not oracles: what potentials are worth and what they say.

    def push(self, x: Potentials, values: Float[Array, "n k"]) -> Float[Array, "m k"]:
        r"""The barycentric projection: for every source the mean of ``values`` over where its mass goes."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        if x.plan is not None:
            total, mass = jnp.tensordot(x.plan, values, 1), jnp.sum(x.plan, 1)
        else:
            column = self._regulariser.column

            def part(c: Array, g: Scalar, b: Scalar, v: Array) -> tuple[Array, Array]:
                p = column(x.f + g - c, self.a, b)
                return jnp.tensordot(p, v, 0), p

            total, mass = self.cost.columnwise_sum(part, x.g, self.b, values)
        return total / mass.reshape(shape)

    def pulled(self, potentials: Array, side: int) -> Array:
        """What penalties make of potentials that meet the marginal of ``side`` (0 or 1)."""
        penalty = self.unbalanced[side]
        return potentials if penalty is None else self._regulariser.pulled(potentials, penalty)

    @property
    def epsilon(self) -> Scalar:
        """The strength of entropic regularisation, in units of the cost."""
        if not isinstance(self.regulariser, Entropic):
            raise TypeError(f"only Entropic has an epsilon, not {type(self.regulariser).__name__}")
        return self.regulariser.epsilon

    def at_epsilon(self, epsilon: Scalar) -> "Transport":
        """The same problem with another strength of entropic regularisation."""
        return lift.replaced(self, regulariser=Entropic(epsilon, relative=False))

    def centred(self, x: Potentials) -> Potentials:
        r"""The same potentials with $\langle f, a\rangle = \langle g, b\rangle$, where a constant is free."""
        if not self.balanced:
            return x
        shift = (x.g @ self.b - x.f @ self.a) / (jnp.sum(self.a) + jnp.sum(self.b))
        return Potentials(x.f + shift, x.g - shift, x.plan)

    def report(self, x: Potentials) -> Report:
        """What the potentials are worth, with a plan that has the prescribed marginals: four passes."""
        if self.regulariser is None:
            return self._exact_report(x)
        column, penalty = self.regulariser.column, self.regulariser.value
        rows, columns = Transport.marginals(self, x)
        a, b = self.supplies(x)
        error = jnp.sum(jnp.abs(rows - a)) + jnp.sum(jnp.abs(columns - b))
        # Rounding: rows, then columns are scaled down where there is too much; the rest is of rank one.
        rounded = self._regulariser.rounded
        exact = tuple(v is None and rounded for v in self.unbalanced)
        scale = jnp.minimum(1, a / jnp.maximum(rows, jnp.finfo(a.dtype).tiny)) if exact[0] else 1
        held = lambda c, g, b: scale * column(x.f + g - c, self.a, b)  # noqa: E731

        def fitted(c: Array, g: Scalar, b: Scalar) -> Array:
            p = held(c, g, b)
            mass = jnp.sum(p)
            return p * jnp.minimum(1, b / jnp.maximum(mass, jnp.finfo(b.dtype).tiny)) if exact[1] else p

        if self.balanced and rounded:
            left = jnp.maximum(a - self.cost.columnwise_sum(fitted, x.g, self.b), 0)
            missing = jnp.sum(left)
            share = left / jnp.where(missing > 0, missing, 1)
        else:
            share = jnp.zeros_like(a)

        def worth(c: Array, g: Scalar, b: Scalar) -> tuple[Array, ...]:
            p = fitted(c, g, b)
            p = p + share * jnp.maximum(b - jnp.sum(p), 0)
            return jnp.sum(jnp.where(p > 0, p * c, 0)), penalty(p, self.a, b), p, _away(jnp.sum(p), b)

        carried, spent, rows, off = self.cost.columnwise_sum(worth, x.g, self.b)
        value = carried + spent
        if self.unbalanced[0] is not None:
            value = value + self.unbalanced[0] * jnp.sum(_away(rows, self.a))
        if self.unbalanced[1] is not None:
            value = value + self.unbalanced[1] * off
        gap = value + Transport.value(self, x)
        if not rounded and any(v is None for v in self.unbalanced):
            met = error <= 2 * jnp.sqrt(jnp.finfo(error.dtype).eps) * jnp.sum(self.a)
            gap = jnp.where(met, jnp.abs(gap), jnp.inf)
        return Report(carried, value, gap, error)

    # What it means to be solved.

    def objective(self, x: Potentials) -> Scalar:
        if self.regulariser is None:
            P = self.plan(x)
            return jnp.sum(jnp.where(P != 0, P * self.cost.matrix(), 0))
        return self.value(x)

    @property
    def always_feasible(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Plans that are on their way to their marginals cannot be ranked by cost; potentials can."""
        return self.regulariser is not None

    def conditions(self, x: Potentials) -> Potentials:
        P = None
        if self.regulariser is None:
            P = self.plan(x)
            rows, columns = jnp.sum(P, 1) - self.a, jnp.sum(P, 0) - self.b
        else:
            e = Transport.gradient(self, x)
            rows, columns = e.f, e.g
        if self.balanced:
            # The constant that is free: as large a change in the map as one in the potentials makes there.
            tilt = (x.f @ self.a - x.g @ self.b) / self.unit
            rows, columns = rows + tilt * self.a, columns - tilt * self.b
        if P is None:
            return Potentials(rows, columns)
        # The lesser of the two is zero; where both are, the mass counts: pairs without any stay without.
        slack = (self.cost.matrix() - x.f[:, None] - x.g) / self.unit
        return Potentials(rows, columns, jnp.where(slack < P, slack, P))

    def optimality(self, x: Potentials) -> Potentials:
        e = self.conditions(x)
        return Potentials(e.f / jnp.sqrt(self.a), e.g / jnp.sqrt(self.b), e.plan)

    def symmetric_parts(self, x: Potentials) -> tuple[Callable, Callable] | None:
        if self.regulariser is None:
            return None
        return lambda v: v, jax.linearize(self.conditions, x)[1]

    def measures(self, x: Potentials) -> dict[str, Scalar]:
        r = self.report(x)
        return {
            "transport_cost": r.transport_cost,
            "duality_gap": r.duality_gap,
            "marginal_error": r.marginal_error,
        }

    def offers(self) -> dict[str, str]:
        if self.regulariser is None:
            return {"linear program": "transport without regularisation"}
        offered = {
            "value": "minus the dual value",
            "gradient": "errors of the marginals",
            "best g": "the best potentials of the targets for those of the sources",
        }
        offered |= self.regulariser.offers
        if "entropic" not in offered and not self.balanced:
            del offered["best g"]
        if self.regulariser.symmetric and "best g" in offered:
            offered["best f"] = "the best potentials of the sources for those of the targets"
        if self.balanced:
            offered["balanced"] = "both marginals prescribed"
        if isinstance(self.cost, CostMatrix):
            offered["plan"] = "the plan as a matrix"
        return offered

    def lifted(self, x: Potentials) -> "Transport":
        if not isinstance(self.cost, PointCloud):
            return self
        cloud = self.cost
        cost = lift.lift(cloud.cost, cloud.x[0], cloud.y[0], what="cost")
        return lift.replaced(self, cost=lift.replaced(cloud, cost=cost))

    def sound(self) -> Bool[Array, ""]:
        return tree.no_nan(self.cost) & tree.all_finite((self.a, self.b, self.regulariser, self.unit))

    def default_solver(self) -> str:
        if self.regulariser is None:
            return "frechet.solvers.transport.network_simplex:NetworkSimplex"
        if "entropic" in self.regulariser.offers:
            if self.balanced and isinstance(self.cost, CostMatrix):
                return "frechet.solvers.transport.sinkhorn_then_newton:SinkhornThenNewton"
            return "frechet.solvers.transport.sinkhorn:Sinkhorn"
        if not self.balanced:
            return "frechet.solvers.transport.semismooth_newton:SemismoothNewton"
        # At kinks BFGS is the one that gets there, with a matrix as large as the sources are many.
        if not self.regulariser.symmetric and self.a.size <= 1000:
            return "frechet.solvers.transport.semi_dual:SemiDualBFGS"
        return "frechet.solvers.transport.semi_dual:SemiDualLBFGS"

    def _sides(self, x: Potentials) -> tuple[Side, Side]:
        return Side(x.f, self.a), Side(x.g, self.b)

    @property
    def _regulariser(self) -> Regulariser:
        if self.regulariser is None:
            raise TypeError("transport without a regulariser has no plan to its potentials")
        return self.regulariser

    def _exact_report(self, x: Potentials) -> Report:
        C, P = self.cost.matrix(), self.plan(x)
        a, b = self.a, self.b
        rows, columns = jnp.sum(P, 1), jnp.sum(P, 0)
        error = jnp.sum(jnp.abs(rows - a)) + jnp.sum(jnp.abs(columns - b))
        carried = jnp.sum(jnp.where(P != 0, P * C, 0))
        g = jnp.min(C - x.f[:, None], 0)  # feasible, and no worse than the given ones
        return Report(carried, carried, carried - x.f @ a - g @ b, error)


def _gain(f: Array, a: Array, penalty: Any) -> Scalar:
    """The conjugate of what a marginal is held by."""
    return f @ a if penalty is None else -penalty * jnp.sum(a * jnp.expm1(-f / penalty))


def _supply(f: Array, a: Array, penalty: Any) -> Array:
    return a if penalty is None else a * jnp.exp(-f / penalty)


def _away(mass: Array, weight: Array) -> Array:
    """KL(mass | weight), entrywise."""
    some = mass > 0
    return jnp.where(some, mass * jnp.log(jnp.where(some, mass, 1) / weight), 0) - mass + weight


def _weights(a: Any, b: Any, cost: GroundCost, balanced: bool) -> tuple[Array, Array]:
    (m, n), dtype = cost.shape, cost.dtype
    given = []
    for name, v, size, of in (("a", a, m, "sources"), ("b", b, n, "targets")):
        v = jnp.full(size, 1 / size, dtype) if v is None else jnp.asarray(v, dtype)
        if v.shape != (size,):
            raise ValueError(f"{name} has shape {v.shape}; the cost has {size} {of}, so ({size},) is right")
        if known(v) and np.any(np.asarray(v) <= 0):
            raise ValueError(
                f"{name} has an entry {np.min(np.asarray(v)):g}; weights must be above zero: leave out "
                f"{of} without mass"
            )
        given.append(v)
    if not balanced:
        return given[0], given[1]
    if known(*given):
        one, two = (float(np.sum(np.asarray(v, float))) for v in given)
        close = float(np.sqrt(jnp.finfo(dtype).eps))
        if abs(one - two) > close * one:
            raise ValueError(
                f"a sums to {one:g} and b to {two:g}; they must agree: divide each by its sum, or let mass "
                "appear and vanish with unbalanced=..."
            )
        if abs(one - 1) > close:
            warnings.warn(f"weights sum to {one:g}; they are scaled to sum to 1", stacklevel=3)
    return given[0] / jnp.sum(given[0]), given[1] / jnp.sum(given[1])


def _require_ways(cost: GroundCost) -> None:
    if not isinstance(cost, CostMatrix) or not known(cost.C):
        return
    for axis, one, other in ((1, "source", "target"), (0, "target", "source")):
        blocked = np.flatnonzero(np.asarray(jnp.min(cost.C, axis)) == np.inf)
        if blocked.size:
            raise ValueError(
                f"{one} {blocked[0]} has no {other}: all its costs are infinite; leave it out, or give it one"
            )


def _require_reachable(regulariser: Regulariser, cost: GroundCost) -> None:
    limit = regulariser.smallest(cost) if known(*jax.tree.leaves((regulariser, cost))) else None
    if limit is None:
        return
    name, strength, least = limit
    if strength < least:
        relative = f", {least / cost.mean():.2g} of the mean cost" if cost.mean() > 0 else ""
        raise ValueError(
            f"{name} = {strength:.2g} is too small for {cost.dtype} and costs up to {cost.largest():.3g}; "
            f"the smallest that works is {least:.2g}{relative}"
        )
