"""A mean of many terms, which can be sampled."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems import leading_axis
from frechet.problems.composite import Composite


class Mean(eqx.Module):
    r"""$x \mapsto \frac1n \sum_i \ell(x, d_i)$ over the leading axis of every leaf of ``data``.

    Terms may be functions of several points, and pytrees of arrays: the mean is taken leaf by leaf.

    Args:
        loss: ``loss(*points, one_datum)``; of an objective a scalar.
        data: a pytree whose leaves share their leading axis of length ``n``.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> mean = fr.problems.Mean(lambda x, y, d: (d * x, d * y), jnp.array([1.0, 2.0, 6.0]))
        >>> [float(v) for v in mean(1.0, 10.0)], float(mean.sampled(jnp.array([2]))(1.0, 10.0)[0])
        ([3.0, 30.0], 6.0)
    """

    loss: Callable
    data: PyTree[Array]

    def __check_init__(self):
        leading_axis.length(self.data)

    @property
    def count(self) -> int:
        """How many terms there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def __call__(self, *points: PyTree[Array]) -> Any:
        terms = jax.vmap(lambda d: lift.call(self.loss, *points, d))(self.data)
        return jax.tree.map(lambda v: jnp.mean(v, axis=0), terms)

    def sampled(self, indices: Int[Array, " batch"]) -> "Mean":
        """The mean over the terms at ``indices``, all between 0 and the count."""
        drawn = lambda v: jnp.asarray(v).at[indices].get(mode="promise_in_bounds")  # noqa: E731
        return Mean(self.loss, jax.tree.map(drawn, self.data))

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"sample": "gradients of single terms"}

    def lifted(self, *points: PyTree[Array]) -> "Mean":
        """With the loss made a pytree."""
        datum = jax.tree.map(lambda v: jax.ShapeDtypeStruct(jnp.shape(v)[1:], jnp.result_type(v)), self.data)
        loss = lift.lift(self.loss, *points, datum, what="loss")
        return self if loss is self.loss else Mean(loss, self.data)


class FiniteSum(Composite):
    r"""Minimise $\frac1n \sum_{i=1}^n \ell(x, d_i) + g(x)$; a `Composite` that can be sampled.

    Args:
        loss: ``loss(x, one_datum)``, a scalar; smooth in ``x``.
        data: a pytree of arrays that share their leading axis of length $n$.
        g: the proximable part.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> X, y = jnp.eye(3), jnp.arange(3.0)
        >>> problem = fr.FiniteSum(lambda w, d: 0.5 * (d[0] @ w - d[1]) ** 2, (X, y))
        >>> value, gradient = problem.sample_value_and_gradient(jnp.zeros(3), jnp.array([2]))
        >>> float(value), float(gradient[2])
        (2.0, -2.0)
    """

    def __init__(self, loss: Callable, data: PyTree[Array], g: Function | None = None):
        self.f = Mean(loss, data)
        self.g = Zero() if g is None else g
