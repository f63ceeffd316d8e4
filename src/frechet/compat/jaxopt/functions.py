"""What a user's function returns, be it the value, the gradient too, or auxiliary data, behind one face."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Scalar

from frechet.core import tree


class Applied(eqx.Module):
    """A user's function of the unknowns and further arguments, with those arguments: a function of the first.

    Attributes:
        fun: the function.
        args: its arguments after the first.
        kwargs: its keyword arguments.
        has_aux: whether it returns auxiliary data too.
    """

    fun: Callable
    args: tuple
    kwargs: dict[str, Any]
    has_aux: bool = eqx.field(static=True, default=False)

    def pair(self, params: Any) -> tuple[Any, Any]:
        """What it returns, and auxiliary data or None."""
        out = self.fun(params, *self.args, **self.kwargs)
        return out if self.has_aux else (out, None)

    def __call__(self, params: Any) -> Any:
        return self.pair(params)[0]


class WithGradient(eqx.Module):
    """A function that returns its value with its gradient, as one that is differentiated to that gradient.

    Attributes:
        both: returns ``value, gradient``, or ``(value, aux), gradient``.
        alone: returns the first of them; None if only ``both`` does.
        has_aux: whether there is auxiliary data.
    """

    both: Applied
    alone: Applied | None
    has_aux: bool = eqx.field(static=True)

    def pair(self, params: Any) -> tuple[Scalar, Any]:
        """The value, and auxiliary data or None."""
        return _evaluate(self, params)

    def __call__(self, params: Any) -> Scalar:
        return self.pair(params)[0]

    def with_gradient(self, params: Any) -> tuple[tuple[Scalar, Any], Any]:
        """The value with auxiliary data, and the gradient."""
        out, gradient = self.both(params)
        return (out if self.has_aux else (out, None)), gradient


@eqx.filter_custom_jvp
def _evaluate(fun: WithGradient, params: Any) -> tuple[Scalar, Any]:
    return fun.with_gradient(params)[0] if fun.alone is None else fun.alone.pair(params)


@_evaluate.def_jvp
def _evaluate_rule(primals: tuple, tangents: tuple) -> tuple:
    fun, params = primals
    (value, aux), gradient = fun.with_gradient(params)
    dot = (
        jax.tree.map(
            lambda g, t: jnp.zeros_like(g) if t is None else t,
            gradient,
            tangents[1],
            is_leaf=lambda v: v is None,
        )
        if jax.tree.leaves(tangents[1])
        else jax.tree.map(jnp.zeros_like, gradient)
    )
    along = jnp.real(jnp.asarray(tree.vdot(gradient, dot))).astype(jnp.result_type(value))
    aux_dot = jax.tree.map(lambda v: jnp.zeros_like(v) if eqx.is_inexact_array(v) else None, aux)
    if jax.tree.leaves(tangents[0]):  # otherwise it would be evaluated for nothing
        rest = lambda fun: fun.with_gradient(params)[0]  # noqa: E731
        _, (moved, aux_dot) = eqx.filter_jvp(rest, primals[:1], tangents[:1])
        along = along + moved
    return (value, aux), (along, aux_dot)


def objective(solver: Any, args: tuple, kwargs: dict) -> Applied | WithGradient:
    """The solver's ``fun`` at these arguments, whatever of value, gradient and auxiliary data it returns."""
    given = getattr(solver, "value_and_grad", False)
    alone = Applied(solver.fun, args, kwargs, solver.has_aux)
    if given is False:
        return alone
    if given is True:
        return WithGradient(Applied(solver.fun, args, kwargs), None, solver.has_aux)
    return WithGradient(Applied(given, args, kwargs), alone, solver.has_aux)
