"""Norms and tests over pytrees that several rooms need."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar


def norm(x: PyTree[Array]) -> Scalar:
    r"""Euclidean norm $\|x\|_2$ over all leaves together, safe against overflow of the squares."""
    top = largest(x)
    scale = jnp.where(jnp.isfinite(top) & (top > 0), top, 1)
    return scale * jnp.sqrt(sum(jnp.sum(jnp.square(v / scale)) for v in jax.tree.leaves(x)))


def largest(x: PyTree[Array]) -> Scalar:
    r"""The largest modulus $\|x\|_\infty$ over all entries of all leaves."""
    tops = [jnp.max(jnp.abs(v), initial=0.0) for v in jax.tree.leaves(x)]
    return functools.reduce(jnp.maximum, tops) if tops else jnp.zeros(())


def vdot(a: PyTree[Array], b: PyTree[Array]) -> Scalar:
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


def all_finite(x: PyTree[Any]) -> Bool[Array, ""]:
    """Whether every inexact entry is finite."""
    leaves = [v for v in jax.tree.leaves(x) if jnp.issubdtype(jnp.result_type(v), jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in leaves])) if leaves else jnp.asarray(True)


def any_nan(x: PyTree[Any]) -> Bool[Array, ""]:
    """Whether any inexact entry is NaN; infinities are allowed."""
    leaves = [v for v in jax.tree.leaves(x) if jnp.issubdtype(jnp.result_type(v), jnp.inexact)]
    return jnp.any(jnp.stack([jnp.any(jnp.isnan(v)) for v in leaves])) if leaves else jnp.asarray(False)
