"""Functions of a problem as other libraries want them: differentiable, and counted when differentiated.

The derivative is made where the function is evaluated, by the problem's own oracles, and then kept: the
value with its gradient, the residual with its whole Jacobian. What is counted is then what is computed,
whatever the other library does with the derivative.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree
from frechet.core.problem import Problem
from frechet.problems.minimisation import Minimisation
from frechet.solvers.wrappers.counted import oracle, problems_own


@eqx.filter_custom_jvp
def value(problem: Minimisation, y: PyTree[Array]) -> Scalar:
    """The smooth part at ``y``, in the precision of ``y``: a value, and with a derivative also a gradient."""
    return _narrowed(oracle(problem.value, value=1)(y), y)


@value.def_jvp
def _value_rule(primals: tuple, tangents: tuple) -> tuple:
    problem, y = primals
    out, gradient = oracle(problem.value_and_gradient, value=1, gradient=1)(y)
    out = _narrowed(out, y)
    along = _along(gradient, tangents[1]).astype(out.dtype)
    return out, _with_problem(lambda p: _narrowed(p.value(y), y), problem, tangents[0], along)


def _narrowed(value: Scalar, y: PyTree[Array]) -> Scalar:
    real = jnp.zeros((), jnp.result_type(*jax.tree.leaves(y))).real.dtype
    return value.astype(real) if jnp.issubdtype(value.dtype, jnp.floating) else value


@eqx.filter_custom_jvp
def sampled_value(problem: Minimisation, indices: Array, y: PyTree[Array]) -> Scalar:
    """The mean over some terms at ``y``, counted as a gradient of each with or without a derivative."""
    return _sampled(problem, indices, y)[0]


@sampled_value.def_jvp
def _sampled_rule(primals: tuple, tangents: tuple) -> tuple:
    problem, indices, y = primals
    out, gradient = _sampled(problem, indices, y)
    along = _along(gradient, tangents[2]).astype(out.dtype)
    of = lambda p: p.sample_value_and_gradient(y, indices)[0]  # noqa: E731
    return out, _with_problem(of, problem, tangents[0], along)


def _sampled(problem: Minimisation, indices: Array, y: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
    sample: Any = problem
    return oracle(lambda y: sample.sample_value_and_gradient(y, indices), sample=indices.size)(y)


@eqx.filter_custom_jvp
def residual(of: Callable, problem: Problem, y: PyTree[Array]) -> PyTree[Array]:
    """The residual ``of(problem, y)``: a value, and with a derivative as many products as unknowns."""
    return oracle(lambda y: of(problem, y), value=1)(y)


@residual.def_jvp
def _residual_rule(primals: tuple, tangents: tuple) -> tuple:
    of, problem, y = primals
    flat, unravel = ravel_pytree(y)

    def linearised(flat: Array) -> tuple:
        r, push = jax.linearize(lambda z: ravel_pytree(of(problem, unravel(z)))[0], flat)
        return r, jax.vmap(push, out_axes=-1)(jnp.eye(flat.size, dtype=flat.dtype))

    r, jacobian = oracle(linearised, value=1, hvp=flat.size)(flat)
    form = jax.eval_shape(problems_own(lambda: of(problem, y)))
    back = ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), form))[1]
    along = back(jacobian @ ravel_pytree(_filled(tangents[2], y))[0])
    return back(r), _with_problem(lambda p: of(p, y), problem, tangents[1], along)


def _filled(tangent: Any, like: PyTree[Array]) -> PyTree[Array]:
    """A tangent whose symbolic zeros are arrays."""
    if tangent is None:
        return jax.tree.map(jnp.zeros_like, like)
    fill = lambda t, v: jnp.zeros_like(v) if t is None else t  # noqa: E731
    return jax.tree.map(fill, tangent, like, is_leaf=lambda t: t is None)


def _along(gradient: PyTree[Array], tangent: Any) -> Scalar:
    return jnp.real(jnp.asarray(tree.vdot(gradient, _filled(tangent, gradient))))


def _with_problem(of: Callable, problem: Problem, tangent: Any, along: PyTree[Array]) -> PyTree[Array]:
    """Adds the part of a tangent that comes from the problem's own leaves, when steps are unrolled."""
    if not jax.tree.leaves(tangent):
        return along
    return jax.tree.map(jnp.add, along, eqx.filter_jvp(problems_own(of), (problem,), (tangent,))[1])


def same_types(new: PyTree[Any], old: PyTree[Array]) -> PyTree[Array]:
    """``new`` in the dtypes of ``old``, leaf by leaf: what a compiled loop carries may not change type."""
    return jax.tree.map(lambda u, v: jnp.asarray(u, v.dtype), new, old)
