"""The set of points between two bounds."""

import itertools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from frechet.convex.parameters import feasible, floating, known, parameter
from frechet.convex.separable import Separable


class Box(Separable):
    r"""Indicator of $\{x : l_i \le x_i \le u_i\}$. Bounds may be infinite, and equal.

    The projection clips. On a bound its derivative is that of the interior: 1 to ``x`` and 0 to the bound.

    Args:
        lower: $l$; a number, an array that broadcasts to ``x``, or a prefix pytree of ``x``.
        upper: $u$, likewise.

    Raises:
        ValueError: a lower bound above its upper bound.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.Box(lower=0.0, upper=jnp.array([1.0, jnp.inf]))
        >>> g.prox(jnp.array([3.0, 3.0]), 1.0).tolist(), float(g(jnp.array([0.5, -1.0])))
        ([1.0, 3.0], inf)
    """

    box: ClassVar[bool] = True

    lower: PyTree[Any] = eqx.field(default=-jnp.inf, converter=lambda v: parameter("lower", v))
    upper: PyTree[Any] = eqx.field(default=jnp.inf, converter=lambda v: parameter("upper", v))

    def __check_init__(self):
        lowers, uppers = jax.tree.leaves(self.lower), jax.tree.leaves(self.upper)
        if not known(*lowers, *uppers):
            return
        one = 1 in (len(lowers), len(uppers))
        pairs = itertools.product(lowers, uppers) if one else zip(lowers, uppers, strict=False)
        if any(np.any(np.asarray(lower) > np.asarray(upper)) for lower, upper in pairs):
            raise ValueError("lower must not exceed upper; swap the bounds where it does")

    def leaf_value(self, value: Array, lower: Array, upper: Array) -> Array:
        return feasible(jnp.maximum(value - upper, lower - value), value)

    def leaf_prox(self, value: Array, step: Array, lower: Array, upper: Array) -> Array:
        # Not jnp.clip, whose derivative on a bound is one half.
        return jnp.where(value < lower, lower, jnp.where(value > upper, upper, value))

    @property
    def compact(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether no bound is known to be infinite."""
        ends = jax.tree.leaves((self.lower, self.upper))
        return not known(*ends) or all(bool(np.all(np.isfinite(np.asarray(v)))) for v in ends)

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        direction = floating(direction)
        lower, upper = self._matched(direction, lower=self.lower, upper=self.upper)
        return jax.tree.map(
            lambda d, low, high: jnp.where(d > 0, low, high).astype(d.dtype), direction, lower, upper
        )
