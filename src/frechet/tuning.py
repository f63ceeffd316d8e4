"""Hyperparameters by hypergradient, for ordinary training loops."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core.run import Budget, Callback, Trace, run
from frechet.core.solve import Solution
from frechet.problems.batched import OnBatch
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.problems.tuning import Tuning
from frechet.solvers.bilevel.implicit_hypergradient import ImplicitHypergradient, ImplicitHypergradientState
from frechet.solvers.bilevel.inverse import ConjugateGradient, Inverse

DEFAULT_INVERSE = ConjugateGradient(steps=1)
"""One Hessian-vector product a hypergradient: about what a training step costs, twice."""


class Tuned(NamedTuple):
    """What `tune` returns.

    Attributes:
        hyper: the hyperparameters found.
        params: the parameters trained along with them.
        trace: the validation loss (``objective``) and the measures along the way.
        solution: the whole `frechet.Solution`, with its status and oracle calls.
    """

    hyper: PyTree[Array]
    params: PyTree[Array]
    trace: Trace
    solution: Solution


def tune(
    train_loss: Callable[..., Scalar],
    valid_loss: Callable[..., Scalar],
    hyper0: PyTree[Array],
    params0: PyTree[Array],
    train_data: PyTree[Array] = None,
    valid_data: PyTree[Array] = None,
    *,
    inner: optax.GradientTransformation | None = None,
    outer: optax.GradientTransformation | None = None,
    inner_steps: int = 10,
    inverse: Inverse = DEFAULT_INVERSE,
    batch_size: int | None = None,
    valid_batch_size: int | None = None,
    hyper_set: Function | None = None,
    measure: Callable[[PyTree[Array], PyTree[Array]], Mapping[str, Scalar]] | None = None,
    budget: Budget | None = None,
    key: PRNGKeyArray | None = None,
    checkpoint: str | os.PathLike | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
) -> Tuned:
    r"""Trains parameters and, on the way, tunes hyperparameters by gradients of the validation loss.

    After every ``inner_steps`` training steps the hyperparameters make one step along the hypergradient

    $$\nabla_x f - \nabla^2_{xy} g\,(\nabla^2_{yy} g)^{-1}\nabla_y f$$

    with $f$ the validation loss, $g$ the training loss and an approximate inverse. That costs a few gradients
    and the memory of a few vectors, whether there is one hyperparameter or millions: a penalty for each
    weight, a weight for each example, a network that augments the data. What is tuned has to enter the
    training loss (regularisation, weights of data, augmentation, architecture), not the optimizer. Training
    loss and weights have to be of a size at which gradients mean something: tune logarithms of what is
    positive.

    For a loop of your own, with its own batches, there is `Tuner`.

    Args:
        train_loss: ``train_loss(hyper, params, batch)``, a scalar: the mean over a batch, which has the
            structure of ``train_data``; without data ``train_loss(hyper, params)``.
        valid_loss: likewise of ``valid_data``. Data that are trained on will not do.
        hyper0: hyperparameters to begin with, a pytree of float arrays.
        params0: parameters to begin with, likewise.
        train_data: a pytree of arrays that share their leading axis.
        valid_data: likewise.
        inner: an Optax transformation that trains; ``optax.adam(1e-3)`` when left out.
        outer: one that tunes; ``optax.adam(1e-2)`` when left out.
        inner_steps: training steps to one of the hyperparameters.
        inverse: how the inverse is approximated, of `frechet.solvers.bilevel.inverse`; more products make
            a better hypergradient that costs more.
        batch_size: training data a batch, drawn with replacement; all when left out.
        valid_batch_size: validation data a batch; all when left out.
        hyper_set: a set that hyperparameters stay in, such as `frechet.convex.Box`.
        measure: ``measure(hyper, params)``, a dictionary of scalars to watch.
        budget: when to stop, in steps of hyperparameters, seconds or calls; 1,000 steps when left out.
        key: of the draws.
        checkpoint: a file to save to and to resume from, as in `frechet.run`.
        callbacks: as in `frechet.run`.
        progress: likewise.

    Returns:
        A `Tuned`. On a number that is not finite it holds the last good point, and its status says so.

    Raises:
        TypeError: a loss is not callable or no scalar, or something is no float array.
        ValueError: a batch size that does not fit the data.

    Source:
        Lorraine, Vicol, Duvenaud 2020, Optimizing millions of hyperparameters by implicit differentiation,
        arXiv 1911.02590.

    Example:
        A strength for each weight of ridge regression, where only the first feature matters:

        >>> import jax, jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> X = jax.random.normal(jax.random.key(0), (60, 3))
        >>> y = X[:, 0] + 0.5 * jax.random.normal(jax.random.key(1), (60,))
        >>> fit = lambda h, w, d: jnp.mean((d[0] @ w - d[1]) ** 2)
        >>> ridge = lambda h, w, d: fit(h, w, d) + jnp.exp(h) @ w**2
        >>> found = fr.tune(ridge, fit, jnp.full(3, -1.0), jnp.zeros(3), (X[:30], y[:30]), (X[30:], y[30:]),
        ...     inner=optax.sgd(0.1), outer=optax.adam(0.1), hyper_set=fr.convex.Box(-6.0, 1.0),
        ...     budget=fr.Budget(steps=100))
        >>> int(jnp.argmin(found.hyper)), found.solution.status.name
        (0, 'max_steps')
    """
    problem = Tuning(
        train_loss,
        valid_loss,
        train_data,
        valid_data,
        batch_size=batch_size,
        valid_batch_size=valid_batch_size,
        hyper_set=hyper_set,
        measure=measure,
    )
    solver = ImplicitHypergradient(
        optax.adam(1e-3) if inner is None else inner,
        inner_steps,
        inverse,
        optax.adam(1e-2) if outer is None else outer,
        batch_size=batch_size,
        outer_batch_size=valid_batch_size,
    )
    budget = Budget(steps=1000) if budget is None else budget
    found = run(
        problem,
        (hyper0, params0),
        solver,
        budget=budget,
        key=key,
        checkpoint=checkpoint,
        callbacks=callbacks,
        progress=progress,
    )
    x = found.solution.x
    return Tuned(x.upper, x.lower, found.trace, found.solution)


class TunerState(eqx.Module):
    """What a `Tuner` carries from step to step.

    Attributes:
        of_solver: the state of the solver that does the work, with the memories of both transformations.
    """

    of_solver: ImplicitHypergradientState

    @property
    def hyper(self) -> PyTree[Array]:
        """The hyperparameters."""
        return self.of_solver.x.upper

    @property
    def params(self) -> PyTree[Array]:
        """The parameters."""
        return self.of_solver.x.lower


class Tuner(eqx.Module):
    """`tune` by the step, for a training loop of your own.

    Put ``train`` in the place of your update, with your own batches, and call ``tune`` now and then with a
    batch of each kind. A batch is any pytree; where a loss draws random numbers (dropout, augmentation) put
    its key into the batch, so that all products of a hypergradient see the same draw. Both are compiled; the
    state is a pytree, to be saved as any other.

    Args:
        train_loss: ``train_loss(hyper, params, batch)``, a scalar.
        valid_loss: likewise.
        inner: an Optax transformation that trains; ``optax.adam(1e-3)`` when left out.
        outer: one that tunes; ``optax.adam(1e-2)`` when left out.
        inverse: as in `tune`.
        hyper_set: as in `tune`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> fit = lambda h, w, batch: jnp.mean((w - batch) ** 2)
        >>> ridge = lambda h, w, batch: fit(h, w, batch) + jnp.exp(h) * w**2
        >>> tuner = fr.Tuner(ridge, fit, optax.sgd(0.2), optax.adam(0.1))
        >>> state = tuner.init(jnp.zeros(()), jnp.zeros(()))
        >>> for step in range(300):
        ...     state, loss = tuner.train(state, jnp.array([1.5, 2.5]))
        ...     if step % 5 == 4:
        ...         state, valid = tuner.tune(state, jnp.array([1.5, 2.5]), jnp.array([1.0, 1.4]))
        >>> round(float(state.params), 1), round(float(jnp.exp(state.hyper)), 1)
        (1.2, 0.7)
    """

    train_loss: Callable[..., Scalar]
    valid_loss: Callable[..., Scalar]
    hyper_set: Function
    solver: ImplicitHypergradient

    def __init__(
        self,
        train_loss: Callable[..., Scalar],
        valid_loss: Callable[..., Scalar],
        inner: optax.GradientTransformation | None = None,
        outer: optax.GradientTransformation | None = None,
        inverse: Inverse = DEFAULT_INVERSE,
        hyper_set: Function | None = None,
    ):
        if inverse.needs_step:
            raise ValueError(f"give {type(inverse).__name__} a step, at most one over the largest curvature")
        self.train_loss, self.valid_loss = train_loss, valid_loss
        self.hyper_set = Zero() if hyper_set is None else hyper_set
        self.solver = ImplicitHypergradient(
            optax.adam(1e-3) if inner is None else inner,
            0,
            inverse,
            optax.adam(1e-2) if outer is None else outer,
        )

    def init(self, hyper: PyTree[Array], params: PyTree[Array]) -> TunerState:
        """The state before the first step."""
        hyper, params = jax.tree.map(jnp.asarray, (hyper, params))
        problem = self._problem(None, None)
        return TunerState(self.solver.init(problem, BilevelPoint(hyper, params), key=_no_draws()))

    @eqx.filter_jit
    def train(self, state: TunerState, batch: PyTree[Array]) -> tuple[TunerState, Scalar]:
        """A training step, and the loss before it."""
        inner = self.solver.inner
        assert inner is not None
        loss, slope = jax.value_and_grad(self.train_loss, argnums=1)(state.hyper, state.params, batch)
        params, memory = inner.move(state.params, slope, state.of_solver.inner)
        ahead = (BilevelPoint(state.hyper, params), memory, state.of_solver.calls.add(gradient=1))
        return TunerState(eqx.tree_at(lambda s: (s.x, s.inner, s.calls), state.of_solver, ahead)), loss

    @eqx.filter_jit
    def tune(
        self, state: TunerState, train_batch: PyTree[Array], valid_batch: PyTree[Array]
    ) -> tuple[TunerState, Scalar]:
        """A step of the hyperparameters, and the validation loss before it."""
        problem = self._problem(train_batch, valid_batch)
        loss = problem.outer_value(state.hyper, state.params)
        return TunerState(self.solver.step(problem, state.of_solver, key=_no_draws())), loss

    def _problem(self, train_batch: PyTree[Array], valid_batch: PyTree[Array]) -> Bilevel:
        return Bilevel(
            OnBatch(self.valid_loss, valid_batch), OnBatch(self.train_loss, train_batch), self.hyper_set
        )


def _no_draws() -> PRNGKeyArray:
    """A key for what draws nothing."""
    return jax.random.key(0)
