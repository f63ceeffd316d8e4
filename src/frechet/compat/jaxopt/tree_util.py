"""``jaxopt.tree_util``: arithmetic on pytrees."""

import operator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import (
    tree_flatten as tree_flatten,
)
from jax.tree_util import (
    tree_leaves as tree_leaves,
)
from jax.tree_util import (
    tree_map as tree_map,
)
from jax.tree_util import (
    tree_reduce as tree_reduce,
)
from jax.tree_util import (
    tree_unflatten as tree_unflatten,
)
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree

tree_add = partial(tree_map, operator.add)
tree_sub = partial(tree_map, operator.sub)
tree_mul = partial(tree_map, operator.mul)
tree_div = partial(tree_map, operator.truediv)
tree_dot = partial(tree_map, jnp.dot)
tree_zeros_like = partial(tree_map, jnp.zeros_like)
tree_ones_like = partial(tree_map, jnp.ones_like)
tree_reciproqual = partial(tree_map, jnp.reciprocal)
tree_conj = partial(tree_map, jnp.conj)
tree_real = partial(tree_map, jnp.real)
tree_imag = partial(tree_map, jnp.imag)
tree_negative = partial(tree_map, operator.neg)
tree_inf_norm = tree.largest


def broadcast_pytrees(*trees: PyTree) -> tuple[PyTree, ...]:
    """Each argument that is a single leaf is repeated in the structure that the others share."""
    structures = [jax.tree.structure(t) for t in trees]
    leaf = jax.tree.structure(0)
    deep = [s for s in structures if s != leaf]
    if not deep:
        return trees
    if any(s != deep[0] for s in deep):
        raise ValueError(f"pytrees of different structures do not broadcast: {deep}")
    return tuple(
        deep[0].unflatten([jax.tree.leaves(t)[0]] * deep[0].num_leaves) if s == leaf else t
        for t, s in zip(trees, structures, strict=True)
    )


def tree_scalar_mul(scalar: Any, tree_x: PyTree) -> PyTree:
    """``scalar * tree_x``."""
    return tree_map(lambda x: scalar * x, tree_x)


def tree_add_scalar_mul(tree_x: PyTree, scalar: Any, tree_y: PyTree) -> PyTree:
    """``tree_x + scalar * tree_y``."""
    return tree_map(lambda x, y: x + scalar * y, tree_x, tree_y)


def tree_vdot(tree_x: PyTree, tree_y: PyTree) -> Any:
    """Inner product over all leaves, of complex ones conjugate in the first."""
    return tree_sum(tree_map(partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST), tree_x, tree_y))


def tree_vdot_real(tree_x: PyTree, tree_y: PyTree) -> Scalar:
    """Real part of the inner product."""
    return jnp.real(tree_vdot(tree_x, tree_y))


def tree_sum(tree_x: PyTree) -> Any:
    """Sum of all entries of all leaves."""
    return tree_reduce(operator.add, tree_map(jnp.sum, tree_x))


def tree_mean(tree_x: PyTree) -> Any:
    """Mean over the leaves of their means."""
    return tree_sum(tree_map(jnp.mean, tree_x)) / len(tree_leaves(tree_x))


def tree_l2_norm(tree_x: PyTree, squared: bool = False) -> Scalar:
    """Euclidean norm over all leaves, or its square."""
    square = tree_vdot_real(tree_x, tree_x)
    return square if squared else jnp.sqrt(square)


def tree_average(trees: PyTree, weights: Array) -> PyTree:
    """Leaves summed over their leading axis with weights."""
    return tree_map(lambda x: jnp.tensordot(weights, x, axes=1), trees)


def tree_gram(a: PyTree) -> Array:
    """Inner products of all pairs along the leading axis; shape (m, m)."""
    return jax.vmap(jax.vmap(tree_vdot, (0, None)), (None, 0))(a, a)


def tree_where(cond: PyTree, a: PyTree, b: PyTree) -> PyTree:
    """``jnp.where`` leaf by leaf; single leaves broadcast."""
    return tree_map(jnp.where, *broadcast_pytrees(cond, a, b))


def tree_single_dtype(tree: PyTree, convert_in_jax_dtype: bool = True) -> Any:
    """The dtype that all leaves share, None of an empty tree."""
    import numpy as np

    of = jnp.asarray if convert_in_jax_dtype else np.asarray
    numbers = (bool, int, float, complex, np.ndarray, jax.Array)
    dtypes = {of(leaf).dtype for leaf in tree_leaves(tree) if isinstance(leaf, numbers)}
    if len(dtypes) > 1:
        raise ValueError(f"Found more than one dtype in the tree: {sorted(map(str, dtypes))}")
    return dtypes.pop() if dtypes else None


def get_real_dtype(dtype: Any) -> Any:
    """The dtype of the real part."""
    return jnp.finfo(dtype).dtype if jnp.issubdtype(dtype, jnp.complexfloating) else dtype
