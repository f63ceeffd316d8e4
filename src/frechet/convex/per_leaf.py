"""Different functions for different parts of a pytree."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function


def _is_function(value: Any) -> bool:
    return isinstance(value, Function)


def _checked(functions: PyTree[Any]) -> PyTree[Function]:
    for leaf in jax.tree.leaves(functions, is_leaf=_is_function):
        if not _is_function(leaf):
            raise TypeError(f"functions must be a pytree of convex functions, found a {type(leaf).__name__}")
    return functions


class PerLeaf(Function):
    r"""$g(x) = \sum_k g_k(x_k)$, a function of its own for each part of a pytree.

    Args:
        functions: a prefix pytree of ``x`` with functions as leaves; each gets the subtree in its place.

    Raises:
        TypeError: a leaf that is not a function.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> g = fr.convex.PerLeaf({"slope": fr.convex.L1(1.0), "intercept": fr.convex.Zero()})
        >>> x = g.prox({"slope": jnp.array([3.0, 0.5]), "intercept": jnp.array(2.0)}, 1.0)
        >>> x["slope"].tolist(), float(x["intercept"])
        ([2.0, 0.0], 2.0)
    """

    functions: PyTree[Function] = eqx.field(converter=_checked)

    @property
    def smooth(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part is, so that it is zero."""
        return all(g.smooth for g in jax.tree.leaves(self.functions, is_leaf=_is_function))

    @property
    def box(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part is."""
        return all(g.box for g in jax.tree.leaves(self.functions, is_leaf=_is_function))

    @property
    def compact(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part is."""
        return all(g.compact for g in jax.tree.leaves(self.functions, is_leaf=_is_function))

    @property
    def entropic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part is."""
        return all(g.entropic for g in jax.tree.leaves(self.functions, is_leaf=_is_function))

    def _pairs(self, x: PyTree[Array]) -> tuple[list[tuple[Function, PyTree[Array]]], Any]:
        functions, structure = jax.tree.flatten(self.functions, is_leaf=_is_function)
        try:
            parts = structure.flatten_up_to(x)
        except ValueError as error:
            raise ValueError(f"the functions' structure {structure} is no prefix of that of x") from error
        return list(zip(functions, parts, strict=True)), structure

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return jnp.asarray(sum((g(part) for g, part in self._pairs(x)[0]), start=0.0))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        pairs, structure = self._pairs(x)
        return structure.unflatten([g.prox(part, step) for g, part in pairs])

    def residual(self, x: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Array]:
        pairs, structure = self._pairs(x)
        parts = structure.flatten_up_to(gradient)
        return structure.unflatten([g.residual(part, d) for (g, part), d in zip(pairs, parts, strict=True)])

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        pairs, structure = self._pairs(direction)
        return structure.unflatten([g.linear_min(part) for g, part in pairs])

    def entropy_prox(self, dual: PyTree[Array], step: Any) -> PyTree[Array]:
        pairs, structure = self._pairs(dual)
        return structure.unflatten([g.entropy_prox(part, step) for g, part in pairs])
