"""BlockCoordinateDescent."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.gradient import UserProx
from frechet.compat.jaxopt.objective import CompositeLinearFunction
from frechet.convex.rows import Rows
from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.coordinate import block_coordinate_descent
from frechet.solvers.coordinate.block_coordinate_descent import (
    BlockCoordinateDescentState,
    PredictionModel,
)


class BlockCDState(NamedTuple):
    """State of `BlockCoordinateDescent`.

    Attributes:
        iter_num: updates so far.
        error: length of the last step.
        predictions: the linear map of the parameters.
        subfun_g: gradient of ``fun.subfun`` there.
        num_fun_eval: predictions made or changed so far.
        num_prox_eval: proximal maps of single rows so far.
        num_grad_eval: gradients of ``fun.subfun`` so far.
        aux: None.
        inner: the native state.
    """

    iter_num: Any
    error: Any
    predictions: Any
    subfun_g: Any
    num_fun_eval: Any
    num_prox_eval: Any
    num_grad_eval: Any
    aux: Any
    inner: BlockCoordinateDescentState


class CompositeLinear(PredictionModel):
    """A `CompositeLinearFunction` at given arguments."""

    fun: CompositeLinearFunction = eqx.field(static=True)
    args: tuple
    kwargs: dict[str, Any]

    def __call__(self, x: Float[Array, "p ..."]) -> Scalar:
        return self.fun(x, *self.args, **self.kwargs)

    def predict(self, x: Float[Array, "p ..."]) -> Array:
        return self.fun.make_linop(*self.args, **self.kwargs).matvec(x)

    def prediction_gradient(self, z: Array) -> Array:
        """Gradient of ``fun.subfun`` at predictions."""
        return jax.grad(self.fun.subfun)(z, *self.args, **self.kwargs)

    def row_gradient(self, z: Array, j: Int[Array, ""]) -> Array:
        linop = self.fun.make_linop(*self.args, **self.kwargs)
        b = self.fun.b(*self.args, **self.kwargs)
        gradient = linop.rmatvec_element(self.prediction_gradient(z), j)
        return gradient if b is None else gradient + b[j]

    def moved(self, z: Array, j: Int[Array, ""], change: Array) -> Array:
        return self.fun.make_linop(*self.args, **self.kwargs).update_matvec(z, change, j)

    def row_curvature(self) -> Float[Array, " p"]:
        return self.fun.row_curvature(*self.args, **self.kwargs)


@dataclasses.dataclass(eq=False)
class BlockCoordinateDescent(Adapter):
    """Minimises ``fun(params, *args)`` plus a function of each row of ``params``, row by row.

    Over `frechet.solvers.BlockCoordinateDescent`; an update visits every row once. The second argument of
    ``run`` is ``hyperparams_prox``.

    Args:
        fun: a `jaxopt.objective.CompositeLinearFunction`, such as ``jaxopt.objective.least_squares``.
        block_prox: ``block_prox(row, hyperparams_prox, scaling)``.
        maxiter: most iterations.
        tol: for the length of a step.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.

    Raises:
        AttributeError: ``fun`` is another function.
    """

    fun: CompositeLinearFunction
    block_prox: Callable
    maxiter: int = 500
    tol: float = 1e-4
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = BlockCDState

    def __post_init__(self):
        if not isinstance(self.fun, CompositeLinearFunction):
            raise AttributeError(
                f"fun must be an objective.CompositeLinearFunction, got a {type(self.fun).__name__}"
            )

    # The second argument has JAXopt's name, by which callers may pass it.

    def problem(self, hyperparams_prox: Any, *args: Any, **kwargs: Any) -> Composite:
        f = CompositeLinear(self.fun, *jax.tree.map(jnp.asarray, (args, kwargs)))
        return Composite(f, Rows(UserProx(self.block_prox, hyperparams_prox)))

    def native(self, iter_num: Scalar) -> block_coordinate_descent.BlockCoordinateDescent:
        return block_coordinate_descent.BlockCoordinateDescent()

    def example_calls(
        self, init_params: Any, hyperparams_prox: Any, *args: Any, **kwargs: Any
    ) -> dict[str, tuple[tuple, dict]]:
        return {"block_prox": ((jnp.asarray(init_params)[0], hyperparams_prox, 1.0), {})}

    def shown(
        self, params: Any, inner: BlockCoordinateDescentState, problem: Any, count: Scalar
    ) -> dict[str, Any]:
        f: CompositeLinear = problem.f
        predictions = f.predict(inner.x)
        rows = (inner.calls.coordinate / inner.x[0].size).astype(int)
        return {
            "error": tree.norm(tree.subtract(inner.x, params)),
            "predictions": predictions,
            "subfun_g": f.prediction_gradient(predictions),
            "num_fun_eval": 1 + rows,
            "num_prox_eval": rows,
            "num_grad_eval": 1 + rows,
        }
