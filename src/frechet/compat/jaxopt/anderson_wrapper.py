"""AndersonWrapper."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from frechet.compat.jaxopt.anderson import Mixing
from frechet.compat.jaxopt.base import AutoOrBoolean, CompiledUpdate, IterativeSolver, OptStep, unwrapped
from frechet.core import tree
from frechet.solvers.fixed_point.anderson import AndersonState
from frechet.solvers.wrappers.handed import same_types


class AndersonWrapperState(NamedTuple):
    """State of `AndersonWrapper`.

    Attributes:
        iter_num: updates so far.
        solver_state: of the solver within.
        error: the error of the solver within.
        params_history: the last points, with a leading axis; that of update ``k`` is at ``k % history_size``.
        residuals_history: what the solver moves them by.
        residual_gram: inner products of the residuals.
        inner: the native state; its ``x`` is the last point that was kept.
    """

    iter_num: Any
    solver_state: Any
    error: Any
    params_history: Any
    residuals_history: Any
    residual_gram: Any
    inner: AndersonState


@dataclasses.dataclass(eq=False)
class AndersonWrapper(Mixing, CompiledUpdate):
    """Accelerates another solver of this layer, of which an update is the map; by `frechet.solvers.Anderson`.

    ``maxiter`` and ``tol`` are that solver's, whose state begins anew after an extrapolation. One whose
    residual rises too much is dropped, and the solver goes on from where it was.

    Args:
        solver: the solver.
        history_size: how many points are combined, at least 2.
        mixing_frequency: every so manieth update extrapolates; by default ``history_size``.
        beta: weight of the moves in an extrapolated point.
        ridge: regularisation of the weights, relative to moves of length one.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.

    Raises:
        ValueError: a history of less than two points.
    """

    solver: IterativeSolver
    history_size: int = 5
    mixing_frequency: int | None = None
    beta: float = 1.0
    ridge: float = 1e-5
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    def __post_init__(self):
        self.check()
        self.maxiter, self.tol = self.solver.maxiter, self.solver.tol
        if self.mixing_frequency is None:
            self.mixing_frequency = self.history_size

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"solver": self.solver.example_calls(init_params, *args, **kwargs)}

    def init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> AndersonWrapperState:
        with contextlib.nullcontext() if self.jit else jax.disable_jit():
            start = jax.tree.map(jnp.asarray, unwrapped(init_params))
            begun = self.solver.init_state(start, *args, **kwargs)
            # Where the solver goes from the start is not known before the first update.
            inner, count = self.acceleration().begin(start, start), jnp.asarray(0)
            return AndersonWrapperState(
                count, begun, begun.error, **self.histories(inner, count), inner=inner
            )

    def advance(self, params: Any, state: AndersonWrapperState, *args: Any, **kwargs: Any) -> OptStep:
        native, inner = self.acceleration(), state.inner
        y = native.trial(inner)
        # The solver's state belongs to y where its last update ended there: it was kept, and is not left.
        dropped = (state.iter_num > 1) & (inner.count == 0)
        solver_state = jax.lax.cond(
            (state.iter_num == 0) | (inner.plain & ~dropped),
            lambda: state.solver_state,
            lambda: same_types(self.solver.init_state(y, *args, **kwargs), state.solver_state),
        )
        ahead = self.solver.update(y, solver_state, *args, **kwargs)
        first = state.iter_num == 0
        inner = tree.where(first, native.begin(y, ahead.params), native.after(inner, y, ahead.params))
        kept = first | (inner.count > 0)
        x, unravel = ravel_pytree(inner.x)
        count = state.iter_num + 1
        after = AndersonWrapperState(
            iter_num=count,
            solver_state=ahead.state,
            error=jnp.where(kept, ahead.state.error, state.error),
            **self.histories(inner, count),
            inner=inner,
        )
        return OptStep(tree.where(kept, ahead.params, unravel(x + inner.g)), after)

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        return self.solver.optimality_fun(params, *args, **kwargs)
