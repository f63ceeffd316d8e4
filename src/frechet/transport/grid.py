"""Separable costs between the points of grids."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from frechet.convex.parameters import float_array
from frechet.transport.ground_cost import GroundCost


class Grid(GroundCost):
    r"""$C_{ij} = \sum_k C^{(k)}_{i_k j_k}$ between the points of two grids, such as the pixels of images.

    Points are numbered as ``ravel`` does (the last axis runs fastest). Soft minima are taken an axis at a
    time: with $n = r^d$ points a pass costs $d\,r^{d+1}$ in place of $r^{2d}$ operations.

    Args:
        axes: a cost matrix for each axis of the grid, shapes $(m_k, n_k)$.

    Raises:
        ValueError: no axes, or one that is not a matrix.

    Source: Solomon, de Goes, Peyré, Cuturi, Butscher, Nguyen, Du, Guibas 2015, Convolutional Wasserstein
    distances, ACM Transactions on Graphics 34.

    Example:
        >>> grid = Grid.squared((2, 3))
        >>> grid.shape, float(grid.matrix()[0, 5])
        ((6, 6), 1.25)
    """

    axes: tuple[Float[Array, "m n"], ...] = eqx.field(converter=lambda v: tuple(map(float_array, v)))

    def __check_init__(self):
        if not self.axes or any(v.ndim != 2 or not v.size for v in self.axes):
            raise ValueError(
                f"axes must be a cost matrix each, got shapes {[v.shape for v in self.axes]}; "
                "Grid.squared(shape) makes those of squared distances"
            )

    @classmethod
    def squared(cls, shape: tuple[int, ...], spacing: Any = None) -> "Grid":
        r"""Squared distances between the pixels of an image, whose longest side has length 1 by default.

        Args:
            shape: of the image, any number of axes.
            spacing: the distance of neighbours.
        """
        h = 1.0 / max(max(shape) - 1, 1) if spacing is None else spacing
        return cls(tuple((h * (jnp.arange(r)[:, None] - jnp.arange(r))) ** 2 for r in shape))

    @property
    def shape(self) -> tuple[int, int]:
        m, n = zip(*(v.shape for v in self.axes), strict=True)
        return functools.reduce(int.__mul__, m), functools.reduce(int.__mul__, n)

    @property
    def dtype(self) -> Any:
        return jnp.result_type(*self.axes)

    @property
    def T(self) -> "Grid":
        return Grid(tuple(v.T for v in self.axes))

    def column(self, j: Int[Array, ""]) -> Float[Array, " m"]:
        places = jnp.unravel_index(j, tuple(v.shape[1] for v in self.axes))
        return functools.reduce(
            lambda total, c: (total[:, None] + c).ravel(),
            [v[:, i] for v, i in zip(self.axes, places, strict=True)],
        )

    def soft_columns(
        self, f: Float[Array, " m"], log_weights: Float[Array, " m"], epsilon: Scalar
    ) -> Float[Array, " n"]:
        z = (f / epsilon + log_weights).reshape(tuple(v.shape[0] for v in self.axes))
        for k, C in enumerate(self.axes):
            last = jnp.moveaxis(z, k, -1)
            soft = jax.nn.logsumexp(last[..., None] - C / epsilon, axis=-2)
            z = jnp.moveaxis(soft, -1, k)
        return -epsilon * z.ravel()

    def exponential_sums(
        self, row: Float[Array, " m"], column: Float[Array, " n"], epsilon: Scalar
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        most = 0.35 * jnp.log(jnp.finfo(self.dtype).max)
        rows = row - self.T.soft_columns(jnp.zeros_like(column), column, epsilon) / epsilon
        columns = column - self.soft_columns(jnp.zeros_like(row), row, epsilon) / epsilon
        return jnp.exp(jnp.minimum(rows, most)), jnp.exp(jnp.minimum(columns, most))

    def mean(self) -> Scalar:
        return jnp.asarray(sum(jnp.mean(v) for v in self.axes))

    def largest(self) -> Scalar:
        return jnp.asarray(sum(jnp.max(jnp.abs(v)) for v in self.axes))
