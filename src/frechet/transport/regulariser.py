"""What a regulariser of transport plans offers: a conjugate, a column at a time."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.transport.ground_cost import GroundCost


class Side(NamedTuple):
    """The sources of a plan, its rows, or the targets, its columns.

    Attributes:
        potential: shape (m,) or (n,).
        weight: likewise.
    """

    potential: Float[Array, " n"]
    weight: Float[Array, " n"]


class Regulariser(eqx.Module):
    r"""A convex $R(P) = \sum_j R_j(P_j)$ of the plan's columns.

    With slacks $S_{ij} = f_i + g_j - C_{ij}$ the dual problem is to maximise
    $A(f) + B(g) - \sum_j R_j^*(S_j)$, and the plan's columns are $\nabla R_j^*(S_j)$. A subclass gives
    these for one column, with ``a`` the weights of the sources and ``b`` that of the column's target.

    Attributes:
        symmetric: whether rows may be treated as columns are, with the weights exchanged.
        isolated: whether the dual solution is unique but for a constant.
        rounded: whether plans may be changed a little to meet their marginals, with a value that changes
            little.
        offers: what solvers may ask of its problems, besides what all offer.
    """

    symmetric: ClassVar[bool] = True
    isolated: ClassVar[bool] = False
    rounded: ClassVar[bool] = True
    offers: ClassVar[dict[str, str]] = {}

    @abc.abstractmethod
    def column(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Float[Array, " m"]:
        r"""The plan's column, $\nabla R_j^*(s)$."""

    @abc.abstractmethod
    def conjugate(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        r"""$R_j^*(s)$."""

    @abc.abstractmethod
    def value(self, p: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        r"""$R_j(p)$ of a nonnegative column."""

    @abc.abstractmethod
    def best(self, z: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        r"""The $g$ at which the column of the slack $z + g$ has mass ``b``."""

    def resolved(self, cost: GroundCost) -> "Regulariser":
        """This regulariser with its strength in units of the cost."""
        return self

    def smallest(self, cost: GroundCost) -> tuple[str, Scalar, Scalar] | None:
        """What its strength is called, its value and the least that the dtype allows; None for no limit."""
        return None

    def unit(self, cost: GroundCost) -> Scalar:
        """The size of changes in the potentials that change the plan much."""
        return cost.mean()

    def pulled(self, best: Float[Array, " n"], penalty: Any) -> Float[Array, " n"]:
        """The best potentials where a marginal is penalised, of those where it is prescribed."""
        raise TypeError("best potentials of unbalanced transport are known with Entropic only")

    # Passes over the whole cost; a subclass may know shorter ways.

    def best_columns(self, cost: GroundCost, rows: Side, weight: Float[Array, " n"]) -> Float[Array, " n"]:
        """`best` for every column, of these weights."""
        f, a = rows
        return cost.columnwise(lambda c, b: self.best(f - c, a, b), weight)

    def plan(self, cost: GroundCost, rows: Side, columns: Side) -> Float[Array, "m n"]:
        """All of the plan."""
        f, a = rows
        return cost.columnwise(lambda c, g, b: self.column(f + g - c, a, b), *columns).T

    def marginals(
        self, cost: GroundCost, rows: Side, columns: Side
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        """Row and column sums of the plan, shapes (m,) and (n,)."""
        f, a = rows
        column = lambda c, g, b: self.column(f + g - c, a, b)  # noqa: E731
        by_column = cost.columnwise(lambda *at: jnp.sum(column(*at)), *columns)
        return cost.columnwise_sum(column, *columns), by_column

    def total_conjugate(self, cost: GroundCost, rows: Side, columns: Side) -> Scalar:
        """The conjugates' sum."""
        f, a = rows
        return cost.columnwise_sum(lambda c, g, b: self.conjugate(f + g - c, a, b), *columns)
