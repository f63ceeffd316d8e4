"""LBFGS."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.compat.jaxopt.base import AutoOrBoolean, OptStep
from frechet.compat.jaxopt.descent import Descent
from frechet.solvers.line_search import lbfgs
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.lbfgs import Pairs


class LbfgsState(NamedTuple):
    """State of `LBFGS`.

    Attributes:
        iter_num: updates so far.
        value: of the function.
        grad: its gradient.
        stepsize: the last step length.
        error: norm of the gradient.
        s_history: the last moves, in the structure of the parameters with a leading axis; the move of update
            ``k`` is at ``k % history_size``.
        y_history: the changes of gradient that belong to them.
        rho_history: inverse inner products of the two; 0 where there is no pair.
        gamma: multiple of the identity that the inverse Hessian starts from.
        aux: ``fun``'s auxiliary data.
        failed_linesearch: whether the last search found no step that meets its conditions.
        num_fun_eval: values so far.
        num_grad_eval: gradients so far.
        num_linesearch_iter: step lengths tried so far.
        inner: the native state.
    """

    iter_num: Any
    value: Any
    grad: Any
    stepsize: Any
    error: Any
    s_history: Any
    y_history: Any
    rho_history: Any
    gamma: Any
    aux: Any
    failed_linesearch: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_linesearch_iter: Any
    inner: DescentState


@dataclasses.dataclass(eq=False)
class LBFGS(Descent):
    """Minimises ``fun(params, *args)``; over `frechet.solvers.LBFGS`.

    ``init_params`` may be what ``run`` returned: the pairs are kept then.

    Args:
        fun: the function; the settings not named here are those of `BFGS`.
        stop_if_linesearch_fails: end there.
        history_size: how many pairs are kept; 0 for gradient descent.
        use_gamma: whether the inverse Hessian starts from a multiple of the identity or from the identity.
    """

    fun: Callable
    value_and_grad: bool | Callable = False
    has_aux: bool = False
    maxiter: int = 500
    tol: float = 1e-3
    stepsize: float | Callable = 0.0
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    stop_if_linesearch_fails: bool = False
    condition: Any = None
    maxls: int = 30
    decrease_factor: Any = None
    increase_factor: float = 1.5
    max_stepsize: float = 1.0
    min_stepsize: float = 1e-6
    history_size: int = 10
    use_gamma: bool = True
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"
    verbose: bool | int = False

    state: ClassVar[type] = LbfgsState

    def underlying(self) -> lbfgs.LBFGS:
        return lbfgs.LBFGS(self.history_size, scaled=self.use_gamma)

    def shown(self, params: Any, inner: DescentState, problem: Any, count: Scalar) -> dict[str, Any]:
        unravel, pairs, size = ravel_pytree(inner.x)[1], inner.memory, self.history_size
        # The native state keeps the newest pair last.
        place = lambda v: jnp.roll(v, count % size, axis=0) if size else v  # noqa: E731
        return super().shown(params, inner, problem, count) | {
            "s_history": jax.vmap(unravel)(place(pairs.s)),
            "y_history": jax.vmap(unravel)(place(pairs.y)),
            "rho_history": place(pairs.rho),
            "gamma": pairs.scale,
            "failed_linesearch": inner.failed,
        }

    def resumed(self, begun: DescentState, inner: DescentState) -> DescentState:
        # Value and gradient are taken anew: the function may have changed.
        gradient, unravel = ravel_pytree(begun.gradient)
        direction = unravel(-inner.memory.inverse_product(jnp.conj(gradient)))
        parts = lambda s: (s.memory, s.step, s.direction)  # noqa: E731
        return eqx.tree_at(parts, begun, (inner.memory, inner.step, direction))

    def unfinished(self, step: OptStep) -> Any:
        stuck = step.state.failed_linesearch if self.stop_if_linesearch_fails else False
        return super().unfinished(step) & ~jnp.asarray(stuck)


def select_ith_tree(history: PyTree[Array], i: Any) -> PyTree[Array]:
    """Entry ``i`` of every leaf."""
    return jax.tree.map(lambda v: v[i], history)


def inv_hessian_product(
    pytree: PyTree[Array],
    s_history: PyTree[Array],
    y_history: PyTree[Array],
    rho_history: Array,
    gamma: Any = 1.0,
    start: Any = 0,
) -> PyTree[Array]:
    """The inverse Hessian that pairs give, times ``pytree``; ``start`` is the place of the oldest pair."""
    flat, unravel = ravel_pytree(pytree)

    def rows(history: PyTree[Array]) -> Array:
        return jnp.roll(jax.vmap(lambda v: ravel_pytree(v)[0])(history), -start, axis=0)

    pairs = Pairs(rows(s_history), rows(y_history), jnp.roll(rho_history, -start), jnp.asarray(gamma))
    return unravel(pairs.inverse_product(flat))
