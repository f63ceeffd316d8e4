"""Hyperparameters of a training, judged by a validation loss."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.core.problem import Problem
from frechet.problems import leading_axis
from frechet.problems.batched import Batched
from frechet.problems.bilevel import Bilevel, BilevelPoint


class Tuning(Bilevel):
    r"""Minimise the validation loss of what training leads to, over hyperparameters.

    A `Bilevel` problem whose point is (hyperparameters, parameters). As nobody trains a network to the end,
    there is no test for being solved, so no optimality map: runs and comparisons watch ``measures``.

    Args:
        train_loss: ``train_loss(hyper, params, batch)``, a scalar: the mean over a batch, which has the
            structure of ``train_data``; without data ``train_loss(hyper, params)``.
        valid_loss: likewise of ``valid_data``.
        train_data: a pytree of arrays that share their leading axis; None where the loss takes no batch.
        valid_data: likewise.
        batch_size: training data a batch; all when left out.
        valid_batch_size: validation data a batch; all when left out. The objective is taken in batches of
            this size too.
        hyper_set: a set that hyperparameters stay in.
        measure: ``measure(hyper, params)``, a dictionary of scalars to watch.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> fit = lambda h, w, d: jnp.mean((w - d) ** 2)
        >>> ridge = lambda h, w, d: fit(h, w, d) + jnp.exp(h) * w**2
        >>> problem = fr.Tuning(ridge, fit, jnp.ones(4), jnp.ones(2))
        >>> float(problem.objective(problem.start((0.0, 3.0))))
        4.0
    """

    def __init__(
        self,
        train_loss: Callable[..., Scalar],
        valid_loss: Callable[..., Scalar],
        train_data: PyTree[Array] = None,
        valid_data: PyTree[Array] = None,
        *,
        batch_size: int | None = None,
        valid_batch_size: int | None = None,
        hyper_set: Function | None = None,
        measure: Callable[[PyTree[Array], PyTree[Array]], Mapping[str, Scalar]] | None = None,
    ):
        outer = _loss("valid", valid_loss, valid_data, valid_batch_size)
        inner = _loss("train", train_loss, train_data, batch_size)
        super().__init__(outer, inner, hyper_set or Zero(), measure=measure)

    optimality = Problem.optimality

    def measures(self, x: BilevelPoint) -> dict[str, Scalar]:
        return {} if self.measure is None else dict(lift.call(self.measure, x.upper, x.lower))

    def default_solver(self) -> None:
        return None


def _loss(name: str, loss: Any, data: PyTree[Array], batch_size: int | None) -> Callable:
    if not callable(loss):
        raise TypeError(f"{name}_loss must be callable, got {type(loss).__name__}")
    if data is None:
        if batch_size is not None:
            raise ValueError(f"a batch size needs {name}_data to draw batches from")
        return loss
    return Batched(loss, data, leading_axis.length(data) if batch_size is None else batch_size)
