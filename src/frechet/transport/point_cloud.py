"""Costs between two clouds of points."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from frechet.convex.parameters import float_array
from frechet.transport.cost_functions import SquaredEuclidean
from frechet.transport.cost_matrix import CostMatrix
from frechet.transport.ground_cost import STORED_UP_TO, GroundCost


class PointCloud(GroundCost):
    r"""$C_{ij} = c(x_i, y_j)$ for two clouds of points.

    Up to some millions of pairs the costs are stored. Beyond, they are computed anew in every pass, and
    memory stays linear in the number of points.

    Args:
        x: the sources, shape (m, d).
        y: the targets, shape (n, d), of the same dtype; the sources when left out.
        cost: $c$, a function of two points, such as those of `frechet.transport`.
        keep: whether to store the costs; decided by their number when left out.

    Raises:
        ValueError: a cloud is no matrix or empty, or the clouds differ in dimension.

    Example:
        >>> import jax.numpy as jnp
        >>> cloud = PointCloud(jnp.array([[0.0], [1.0]]), jnp.array([[2.0], [3.0]]))
        >>> cloud.matrix().tolist()
        [[4.0, 9.0], [1.0, 4.0]]
    """

    x: Float[Array, "m d"]
    y: Float[Array, "n d"]
    cost: Callable[[Array, Array], Scalar]
    keep: bool | None = eqx.field(static=True)

    def __init__(
        self,
        x: Any,
        y: Any = None,
        cost: Callable[[Array, Array], Scalar] | None = None,
        *,
        keep: bool | None = None,
    ):
        self.x = float_array(x)
        self.y = self.x if y is None else float_array(y)
        self.cost = SquaredEuclidean() if cost is None else cost
        self.keep = keep
        for name, v in (("x", self.x), ("y", self.y)):
            if v.ndim != 2 or not v.shape[0]:
                raise ValueError(
                    f"{name} must be a cloud of at least one point, a row each; got shape {v.shape}"
                )
        if self.x.shape[1] != self.y.shape[1]:
            raise ValueError(f"points of x have {self.x.shape[1]} coordinates, those of y {self.y.shape[1]}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape[0], self.y.shape[0]

    @property
    def dtype(self) -> Any:
        return jnp.result_type(self.x, self.y)

    @property
    def T(self) -> "PointCloud":
        return PointCloud(self.y, self.x, _Flipped(self.cost), keep=self.keep)

    def column(self, j: Int[Array, ""]) -> Float[Array, " m"]:
        return jax.vmap(self.cost, in_axes=(0, None))(self.x, self.y[j])

    def stored(self) -> GroundCost:
        m, n = self.shape
        keep = m * n <= STORED_UP_TO if self.keep is None else self.keep
        return CostMatrix(self.matrix()) if keep else self

    def matrix(self) -> Float[Array, "m n"]:
        return jax.vmap(lambda x: jax.vmap(lambda y: self.cost(x, y))(self.y))(self.x)


class _Flipped(eqx.Module):
    cost: Callable[[Array, Array], Scalar]

    def __call__(self, x: Array, y: Array) -> Scalar:
        return self.cost(y, x)
