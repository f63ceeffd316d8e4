"""A model trained by a loss on batches of data."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import lift, tree
from frechet.problems import leading_axis
from frechet.problems.batched import mean_over_batches
from frechet.problems.minimisation import Minimisation


@dataclasses.dataclass(frozen=True)
class Target:
    """When a model counts as trained.

    Attributes:
        measure: one of the names in ``problem.measures(x)``, or ``"objective"``.
        value: to be reached.
        at_least: whether more is better, as of an accuracy; otherwise less is.

    Example:
        >>> Target("accuracy", 0.95, at_least=True).met(0.97)
        True
    """

    measure: str
    value: float
    at_least: bool = False

    def met(self, value: Any) -> Any:
        """Whether it is reached; elementwise, false of NaN."""
        return value >= self.value if self.at_least else value <= self.value


class Training(Minimisation):
    r"""Train a model: minimise the expectation of $\ell(x, B)$ over batches $B$ of data.

    There is no test for being solved, so there is no optimality map: a solve ends when its steps are spent.
    Runs and comparisons watch ``measures(x)`` instead. The objective is the mean loss over the data, taken in
    batches of the same size in their given order (those left over at the end are left out).

    Args:
        loss: ``loss(x, batch)``, a scalar: the mean over a batch, which has the structure of ``data``.
        data: a pytree of arrays that share their leading axis of length $n$.
        batch_size: $|B|$, drawn uniformly with replacement; all of the data in every step when left out.
        objective_size: how many of the data, from the first on, the objective is taken over where batches
            are drawn; all when left out. Watching a run costs as much.
        held_out: data that are not trained on, of any structure.
        measure: ``measure(x, held_out)``, a dictionary of scalars by name; the loss on ``held_out``, called
            ``held_out_loss``, when left out.
        target: when the model counts as trained.
        initial: ``initial(key)``, a random start ``x``; comparisons draw one for every seed.
        layer_inputs: ``layer_inputs(x, batch)``, a pytree like ``x`` with a layer's inputs (rows by
            fan-in) in the place of its kernel and None elsewhere, for optimizers that look at them.
        players: whether ``x`` has a part that minimises the loss and one that maximises it, under the keys
            ``"minimiser"`` and ``"maximiser"``; only optimizers for games take such a problem.

    Raises:
        ValueError: leading axes differ, ``batch_size`` is not between 1 and $n$, or ``objective_size`` not
            between that and $n$.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> X, y = jnp.eye(4), jnp.arange(4.0)
        >>> problem = fr.Training(lambda w, d: jnp.mean((d[0] @ w - d[1]) ** 2), (X, y), batch_size=2)
        >>> solution = fr.solve(problem, jnp.zeros(4), fr.solvers.Optax(optax.sgd(0.5)), max_steps=200)
        >>> solution.x.round(2).tolist(), solution.status.name
        ([0.0, 1.0, 2.0, 3.0], 'max_steps')
    """

    objective_name: ClassVar[str] = "training loss"

    loss: Callable
    data: PyTree[Array]
    batch_size: int | None = eqx.field(static=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    objective_size: int = eqx.field(static=True)
    held_out: PyTree[Array]
    measure: Callable | None
    target: Target | None = eqx.field(static=True)
    initial: Callable[[PRNGKeyArray], PyTree[Array]] | None = eqx.field(static=True)
    layer_inputs: Callable | None
    players: bool = eqx.field(static=True)

    def __init__(
        self,
        loss: Callable,
        data: PyTree[Array],
        *,
        batch_size: int | None = None,
        objective_size: int | None = None,
        held_out: PyTree[Array] = None,
        measure: Callable[[PyTree, PyTree], Mapping[str, Scalar]] | None = None,
        target: Target | None = None,
        initial: Callable[[PRNGKeyArray], PyTree[Array]] | None = None,
        layer_inputs: Callable | None = None,
        players: bool = False,
    ):
        n = leading_axis.length(data)
        if batch_size is not None and not 1 <= batch_size <= n:
            raise ValueError(f"batch_size must be between 1 and the {n} data there are, got {batch_size}")
        objective_size = n if objective_size is None else objective_size
        if not (n if batch_size is None else batch_size) <= objective_size <= n:
            raise ValueError(
                f"objective_size must be between a batch and the {n} data there are, got {objective_size}"
            )
        if measure is None and held_out is not None:
            measure = lambda x, held_out: {"held_out_loss": loss(x, held_out)}  # noqa: E731
        self.loss, self.data = loss, data
        self.batch_size, self.objective_size = batch_size, objective_size
        self.held_out, self.measure, self.target = held_out, measure, target
        self.initial, self.layer_inputs, self.players = initial, layer_inputs, bool(players)

    @property
    def count(self) -> int:
        """How many data there are, $n$."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def batch(self, indices: Int[Array, " batch"] | None) -> PyTree[Array]:
        """The data at ``indices``; all of them for None."""
        if indices is None:
            return self.data
        return jax.tree.map(lambda v: jnp.asarray(v)[indices], self.data)

    # The oracles.

    def value(self, x: PyTree[Array]) -> Scalar:
        """The objective."""
        return self.objective(x)

    def sample_value_and_gradient(
        self, x: PyTree[Array], indices: Int[Array, " batch"]
    ) -> tuple[Scalar, PyTree[Array]]:
        """Loss of the batch at ``indices`` and its gradient."""
        batch = self.batch(indices)
        return jax.value_and_grad(lambda x: self._loss(x, batch))(x)

    def update_arguments(self, x: PyTree[Array], indices: Int[Array, " batch"] | None) -> dict[str, Any]:
        if self.layer_inputs is None:
            return {}
        return {"layer_input": lift.call(self.layer_inputs, x, self.batch(indices))}

    def _loss(self, x: PyTree[Array], batch: PyTree[Array]) -> Scalar:
        out = lift.call(self.loss, x, batch)
        if jnp.shape(out) != ():
            raise TypeError(f"the loss must return a scalar, got shape {jnp.shape(out)}; take its mean")
        return out

    # What it is measured by.

    def objective(self, x: PyTree[Array]) -> Scalar:
        b = self.batch_size
        if b is None or b == self.count:
            return self._loss(x, self.data)
        return mean_over_batches(lambda batch: self._loss(x, batch), self.data, self.objective_size, b)

    def measures(self, x: PyTree[Array]) -> dict[str, Scalar]:
        return {} if self.measure is None else dict(lift.call(self.measure, x, self.held_out))

    def offers(self) -> dict[str, str]:
        offered = {"players": "a part that minimises and one that maximises"}
        if not self.players:
            offered = {
                "value": "the loss over all data",
                "gradient": "its gradient",
                "smooth": "no nonsmooth part",
            }
        if self.layer_inputs is not None:
            offered["layer inputs"] = "what enters a layer, for each batch"
        return offered | {"sample": "gradients over batches"}

    def lifted(self, x: PyTree[Array]) -> "Training":
        size = self.count if self.batch_size is None else self.batch_size
        batch = jax.tree.map(lambda v: jax.ShapeDtypeStruct((size, *v.shape[1:]), v.dtype), self.data)
        fields: dict[str, Any] = {"loss": lift.lift(self.loss, x, batch, what="loss")}
        if self.measure is not None:
            fields["measure"] = lift.lift(self.measure, x, self.held_out, what="measure")
        if self.layer_inputs is not None:
            fields["layer_inputs"] = lift.lift(self.layer_inputs, x, batch, what="layer_inputs")
        return lift.replaced(self, **fields)

    def sound(self):
        return tree.all_finite((self.loss, self.data))
