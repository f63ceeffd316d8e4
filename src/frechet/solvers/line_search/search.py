"""What a line search is: a step along a direction, and what is known at its end."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite


class Found(NamedTuple):
    """The end of a line search.

    Attributes:
        step: the step length $t$.
        x: $x + t d$.
        value: $f$ there.
        gradient: of $f$ there.
        error: how far the search's conditions are violated; 0 where they hold.
        failed: whether it ended without a step that meets them.
        trials: step lengths tried.
        values: evaluations of $f$.
        gradients: evaluations of its gradient.
    """

    step: Scalar
    x: PyTree[Array]
    value: Scalar
    gradient: PyTree[Array]
    error: Scalar
    failed: Bool[Array, ""]
    trials: Int[Array, ""]
    values: Int[Array, ""]
    gradients: Int[Array, ""]


def slope(gradient: PyTree[Array], direction: PyTree[Array]) -> Scalar:
    r"""The derivative of $f$ along a direction; real for complex unknowns too."""
    return jnp.real(jnp.asarray(tree.vdot(gradient, direction)))


def steepest(gradient: PyTree[Array]) -> PyTree[Array]:
    """The direction of steepest descent; for complex unknowns JAX's gradient is conjugated."""
    return jax.tree.map(lambda g: -jnp.conj(g), gradient)


def along(problem: Composite, x: PyTree[Array], direction: PyTree[Array], step: Scalar) -> tuple:
    """The point a step along a direction, with value and gradient."""
    ahead = tree.axpy(step, direction, x)
    return ahead, *problem.value_and_gradient(ahead)


class LineSearch(eqx.Module):
    """Finds a step along a direction; where derivatives are unrolled, the step counts as constant."""

    def find(
        self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, direction: PyTree, first: Scalar
    ) -> Found:
        """The search itself; ``first`` is the first step to try."""
        raise NotImplementedError

    def __call__(self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, *rest: Any) -> Found:
        return _searched(self, (problem, x, value, gradient, *rest))


@eqx.filter_custom_jvp
def _searched(search: LineSearch, at: tuple) -> Found:
    return search.find(*at)


@_searched.def_jvp
def _searched_rule(primals: tuple, tangents: tuple) -> tuple:
    found = _searched(*primals)
    problem, x, _, _, direction, _ = primals[1]
    problem_dot, x_dot, _, _, direction_dot, _ = tangents[1]
    at, dot = (problem, x, direction), (problem_dot, x_dot, direction_dot)
    _, (moved, risen, turned) = eqx.filter_jvp(lambda p, x, d: along(p, x, d, found.step), at, dot)
    constant = jax.tree.map(lambda v: jnp.zeros_like(v) if eqx.is_inexact_array(v) else None, found)
    return found, constant._replace(x=moved, value=risen, gradient=turned)


class Constant(LineSearch):
    """No search: always the same step.

    Args:
        step: the step length.
    """

    step: Scalar | float = 1.0

    def find(
        self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, direction: PyTree, first: Scalar
    ) -> Found:
        step = jnp.asarray(self.step, first.dtype)
        ahead, value, gradient = along(problem, x, direction, step)
        one = jnp.ones((), int)
        return Found(
            step, ahead, value, gradient, jnp.zeros_like(step), jnp.asarray(False), 0 * one, one, one
        )
