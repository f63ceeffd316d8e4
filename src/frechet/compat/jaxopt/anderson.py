"""AndersonAcceleration."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Scalar

from frechet.compat.jaxopt.base import AutoOrBoolean
from frechet.compat.jaxopt.fixed_point_iteration import FixedPointAdapter
from frechet.core import tree
from frechet.solvers.fixed_point.anderson import Anderson
from frechet.solvers.fixed_point.anderson import AndersonState as NativeState


def minimize_residuals(residual_gram: Float[Array, "m m"], ridge: Any) -> Float[Array, " m+1"]:
    r"""Weights $\alpha$ of sum one that minimise $\alpha^\top (G + \rho I)\,\alpha$, after the multiplier.

    Args:
        residual_gram: inner products of the residuals, shape (m, m).
        ridge: the number $\rho$.

    Returns:
        The multiplier of the constraint, then the weights; shape (m + 1,).
    """
    m = residual_gram.shape[0]
    ones = jnp.ones(m, residual_gram.dtype)
    along = jnp.linalg.solve(residual_gram + ridge * jnp.eye(m, dtype=residual_gram.dtype), ones)
    return jnp.append(-1, along) / jnp.sum(along)


class AndersonState(NamedTuple):
    """State of `AndersonAcceleration`.

    Attributes:
        iter_num: updates so far.
        error: norm of the residual.
        params_history: the last points, with a leading axis; that of update ``k`` is at ``k % history_size``.
        residuals_history: what the map moves them by.
        residual_gram: inner products of the residuals.
        aux: ``fixed_point_fun``'s auxiliary data.
        num_fun_eval: evaluations so far, those for the auxiliary data left out.
        inner: the native state.
    """

    iter_num: Any
    error: Any
    params_history: Any
    residuals_history: Any
    residual_gram: Any
    aux: Any
    num_fun_eval: Any
    inner: NativeState


class Mixing:
    """The native solver and the histories that the settings ask for."""

    def check(self) -> None:
        """Raises where the history is too short."""
        solver: Any = self
        if solver.history_size < 2:
            raise ValueError(f"history_size must be at least 2, got {solver.history_size}")

    def acceleration(self) -> Anderson:
        """The native solver."""
        solver: Any = self
        return Anderson(
            history=solver.history_size - 1,
            mixing=solver.beta,
            relaxation=1.0,
            ridge=solver.ridge**0.5,
            period=solver.mixing_frequency,
        )

    def histories(self, inner: NativeState, count: Scalar) -> dict[str, Any]:
        """The last points and residuals, from their differences.

        A memory that is not full yet, or was dropped, shows its oldest point in the places left.
        """
        x, unravel = ravel_pytree(inner.x)
        m = inner.dx.shape[1] + 1
        newest_first = (inner.count - 1 - jnp.arange(m - 1)) % (m - 1)
        places = (count - 1 - jnp.arange(m)) % m

        def points(last: Array, differences: Array) -> Array:
            back = jnp.cumsum(differences.T[newest_first], axis=0)
            return (last - jnp.concatenate([jnp.zeros_like(last)[None], back]))[places]

        residuals = points(inner.g, inner.dg)
        return {
            "params_history": jax.vmap(unravel)(points(x, inner.dx)),
            "residuals_history": jax.vmap(unravel)(residuals),
            "residual_gram": residuals.conj() @ residuals.T,
        }


@dataclasses.dataclass(eq=False)
class AndersonAcceleration(Mixing, FixedPointAdapter):
    """Accelerates ``params = fixed_point_fun(params, *args)``; over `frechet.solvers.Anderson`.

    Args:
        fixed_point_fun: the map; it returns what is like ``params``.
        history_size: how many points are combined, at least 2.
        mixing_frequency: every so manieth update extrapolates, the others repeat the map.
        beta: weight of the residuals in an extrapolated point.
        maxiter: most iterations.
        tol: for the norm of the residual.
        ridge: regularisation of the weights, relative to residuals of length one.
        has_aux: whether ``fixed_point_fun`` returns auxiliary data.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.

    Raises:
        ValueError: a history of less than two points.
    """

    fixed_point_fun: Callable
    history_size: int = 5
    mixing_frequency: int = 1
    beta: float = 1.0
    maxiter: int = 100
    tol: float = 1e-5
    ridge: float = 1e-5
    has_aux: bool = False
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = AndersonState

    def __post_init__(self):
        self.check()

    def native(self, iter_num: Scalar) -> Anderson:
        return self.acceleration()

    def shown(self, params: Any, inner: NativeState, problem: Any, count: Scalar) -> dict[str, Any]:
        return self.histories(inner, count) | {
            "error": tree.norm(inner.g),
            "num_fun_eval": inner.calls.value,
        }
