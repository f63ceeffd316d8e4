"""Norms and tests over pytrees that several rooms need."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree, Scalar


def norm(x: PyTree[Array]) -> Scalar:
    r"""Euclidean norm $\|x\|_2$ over all leaves together; real for complex leaves."""
    return jnp.sqrt(sum((jnp.sum(jnp.abs(v) ** 2) for v in jax.tree.leaves(x)), 0.0))


def largest(x: PyTree[Array]) -> Scalar:
    r"""The largest modulus $\|x\|_\infty$ over all entries of all leaves."""
    tops = [jnp.max(jnp.abs(v), initial=0.0) for v in jax.tree.leaves(x)]
    return functools.reduce(jnp.maximum, tops) if tops else jnp.zeros(())


def vdot(a: PyTree[Array], b: PyTree[Array]) -> Any:
    r"""Inner product $\langle a, b\rangle$ over all leaves together."""
    return sum(jax.tree.leaves(jax.tree.map(lambda u, v: jnp.sum(u * v), a, b)), 0.0)


def axpy(c: Any, a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """``c * a + b``, leaf by leaf, in the dtype of ``b``."""
    return jax.tree.map(lambda u, v: (v + c * u).astype(v.dtype), a, b)


def subtract(a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """``a - b``, leaf by leaf."""
    return jax.tree.map(jnp.subtract, a, b)


def where(condition: Bool[Array, ""], a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """``a`` where the scalar condition holds, else ``b``."""
    return jax.tree.map(lambda u, v: jnp.where(condition, u, v), a, b)


def wave(like: PyTree[Array]) -> PyTree[Array]:
    """A fixed vector in the form of ``like``, which no kernel of a linear map is likely to hold."""
    leaves, structure = jax.tree.flatten(like)
    waves = [jnp.cos(1.0 + i + 1.7 * jnp.arange(v.size)).reshape(v.shape) for i, v in enumerate(leaves)]
    return structure.unflatten([u.astype(v.dtype) for u, v in zip(waves, leaves, strict=True)])


def all_finite(x: PyTree[Any]) -> Bool[Array, ""]:
    """Whether every inexact entry is finite."""
    return _every(lambda v: jnp.isfinite(v), x)


def no_nan(x: PyTree[Any]) -> Bool[Array, ""]:
    """Whether no inexact entry is NaN; infinities are allowed."""
    return _every(lambda v: ~jnp.isnan(v), x)


def _every(holds: Callable[[Any], Array], x: PyTree[Any]) -> Bool[Array, ""]:
    arrays = [v for v in jax.tree.leaves(x) if isinstance(v, jax.Array | np.ndarray | np.generic | float)]
    leaves = [v for v in arrays if jnp.issubdtype(jnp.result_type(v), jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.all(holds(v)) for v in leaves], jnp.asarray(True))


def require_like(x: PyTree[Array], got: PyTree[Any], what: str) -> None:
    """Raises a `TypeError` where ``got``, named by ``what``, has another form than ``x``."""
    want, structure = jax.tree.structure(x), jax.tree.structure(got)
    if want != structure:
        raise TypeError(f"{what} has structure {structure}, x has {want}; return a pytree like x")
    for (path, v), u in zip(jax.tree_util.tree_leaves_with_path(x), jax.tree.leaves(got), strict=True):
        if jnp.shape(v) != jnp.shape(u) or jnp.result_type(v) != jnp.result_type(u):
            raise TypeError(
                f"x{jax.tree_util.keystr(path)} is {_form(v)} but {what} there is {_form(u)}; "
                "give x0 the shape and dtype of the data"
            )


def _form(v: Any) -> str:
    return f"{jnp.result_type(v)}{list(jnp.shape(v))}"
