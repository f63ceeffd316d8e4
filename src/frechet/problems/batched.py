"""The mean of a loss over batches, as training loops have it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.core import lift
from frechet.problems import leading_axis


def mean_over_batches(
    of_batch: Callable[[PyTree[Array]], Scalar], data: PyTree[Array], size: int, batch_size: int
) -> Scalar:
    """The mean of a function over batches of the first ``size`` data; a last shorter one is left out."""
    rounds = size // batch_size
    batches = jax.tree.map(
        lambda v: jnp.asarray(v)[: rounds * batch_size].reshape(rounds, batch_size, *jnp.shape(v)[1:]), data
    )
    return jnp.mean(jax.lax.map(of_batch, batches), axis=0)


class OnBatch(eqx.Module):
    """A loss with a batch in its last place.

    Attributes:
        loss: ``loss(*points, batch)``.
        batch: what it is given.
    """

    loss: Callable
    batch: PyTree[Array]

    def __call__(self, *points: PyTree[Array]) -> Any:
        return lift.call(self.loss, *points, self.batch)


class Batched(eqx.Module):
    r"""$x \mapsto \ell(x, D)$ for a loss that takes whole batches, over all data or those that are drawn.

    Args:
        loss: ``loss(*points, batch)``, a scalar: the mean over a batch, which has the structure of ``data``.
        data: a pytree whose leaves share their leading axis of length ``n``.
        batch_size: terms a batch. Of all data the mean is taken in batches of this size in their given order
            (those left over at the end are left out).

    Raises:
        ValueError: leading axes differ, or ``batch_size`` is not between 1 and ``n``.

    Example:
        >>> import jax.numpy as jnp
        >>> f = Batched(lambda x, batch: jnp.mean(x * batch), jnp.array([1.0, 2.0, 6.0, 7.0]), 2)
        >>> float(f(1.0)), float(f.sampled(jnp.array([0, 0]))(1.0))
        (4.0, 1.0)
    """

    loss: Callable
    data: PyTree[Array]
    batch_size: int = eqx.field(static=True)

    def __check_init__(self):
        n = leading_axis.length(self.data)
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= n:
            raise ValueError(
                f"batch_size must be between 1 and the {n} data there are, got {self.batch_size!r}"
            )

    @property
    def count(self) -> int:
        """How many data there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def __call__(self, *points: PyTree[Array]) -> Scalar:
        of_batch = lambda batch: lift.call(self.loss, *points, batch)  # noqa: E731
        return mean_over_batches(of_batch, self.data, self.count, self.batch_size)

    def sampled(self, indices: Int[Array, " batch"]) -> OnBatch:
        """The loss of the data at ``indices``, which are ``batch_size`` many."""
        return OnBatch(self.loss, jax.tree.map(lambda v: jnp.asarray(v)[indices], self.data))

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"sample": "gradients over batches"}

    def lifted(self, *points: PyTree[Array]) -> "Batched":
        """With the loss made a pytree, traced for batches of its size."""
        batch = jax.tree.map(
            lambda v: jax.ShapeDtypeStruct((self.batch_size, *jnp.shape(v)[1:]), jnp.result_type(v)),
            self.data,
        )
        loss = lift.lift(self.loss, *points, batch, what="loss")
        return self if loss is self.loss else lift.replaced(self, loss=loss)
