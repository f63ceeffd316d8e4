"""What makes a step of a hypergradient: a rule of its own or any Optax transformation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.problems.bilevel import Bilevel
from frechet.solvers.wrappers.counted import precision_of
from frechet.solvers.wrappers.handed import same_types
from frechet.solvers.wrappers.optax import Transformation


class Memory(eqx.Module):
    """``x`` and ``gradient`` are those of the step before; ``ratio`` is how much its size had grown."""

    x: PyTree[Array]
    gradient: PyTree[Array]
    size: Scalar
    ratio: Scalar
    first: Bool[Array, ""]


class AdaptiveDescent(eqx.Module):
    r"""Proximal gradient steps whose size follows from how the gradient changed along the last one.

    $$\lambda_k = \min\Bigl\{\sqrt{\tfrac23 + \theta_{k-1}}\;\lambda_{k-1},\;
      \frac{\lambda_{k-1}}{\sqrt{[2\lambda_{k-1}^2 L_k^2 - 1]_+}}\Bigr\}, \qquad
      L_k = \frac{\|h_k - h_{k-1}\|}{\|x_k - x_{k-1}\|}, \quad
      \theta_k = \frac{\lambda_k}{\lambda_{k-1}}$$

    No function values are needed, which makes it fit for hypergradients. The first step is short, as nothing
    is known yet; the second is $1 / (\sqrt2 L_1)$. Derivatives of steps take their size for a constant.

    Source:
        Malitsky, Mishchenko 2023, Adaptive proximal gradient method for convex optimization,
        arXiv 2308.02261.
    """

    def init(self, x: PyTree[Array]) -> Memory:
        """The memory before the first step."""
        one = jnp.ones((), jnp.finfo(jnp.result_type(*jax.tree.leaves(x))).dtype)
        return Memory(x, jax.tree.map(jnp.zeros_like, x), one, one, jnp.asarray(True))

    def apply(
        self, problem: Bilevel, x: PyTree[Array], gradient: PyTree[Array], memory: Memory, calls: Calls
    ) -> tuple[PyTree[Array], Memory, Calls]:
        """The new point, memory and calls."""
        ahead, memory = self.move(x, gradient, memory)
        return problem.outer_prox(ahead, memory.size), memory, calls.add(prox=1)

    def move(self, x: PyTree[Array], gradient: PyTree[Array], memory: Memory) -> tuple[PyTree[Array], Memory]:
        """The point before any proximal map, and the memory, whose size is the step's."""
        size, ratio = self._size(*jax.lax.stop_gradient((x, gradient, memory)))
        memory = Memory(x, gradient, size, ratio, jnp.asarray(False))
        return tree.axpy(-size, gradient, x), memory

    def _size(self, x: PyTree[Array], gradient: PyTree[Array], memory: Memory) -> tuple[Scalar, Scalar]:
        """The size of the step and its ratio to the one before."""
        moved, length = tree.norm(tree.subtract(x, memory.x)), tree.norm(gradient)
        risen = tree.norm(tree.subtract(gradient, memory.gradient))
        L = risen / jnp.where(moved > 0, moved, 1)
        # Which step was the first shows in its ratio, which is infinite then.
        begun = jnp.isinf(memory.ratio)
        excess = 2 * (memory.size * L) ** 2 - 1
        held = memory.size / jnp.sqrt(jnp.where(excess > 0, excess, 1))
        held = jnp.where(excess > 0, held, jnp.inf)
        grown = jnp.minimum(jnp.sqrt(2 / 3 + jnp.where(begun, 1, memory.ratio)) * memory.size, held)
        second = 1 / (2**0.5 * jnp.where(L > 0, L, 1))
        size = jnp.where(begun & (L > 0), second, grown)
        size = jnp.where((moved > 0) & jnp.isfinite(size), size, memory.size)
        # A thousandth of the point's own size, or of one.
        short = 1e-3 * jnp.maximum(tree.norm(x), 1) / jnp.where(length > 0, length, 1)
        size = jnp.where(memory.first, short, size).astype(memory.size.dtype)
        # The leap from the first step to the second is no growth that the third should go on with.
        ratio = jnp.where((moved > 0) & ~begun, size / memory.size, 1)
        ratio = jnp.where(memory.first, jnp.inf, ratio)
        return size, ratio.astype(size.dtype)


class Transformed(eqx.Module):
    """The updates of an Optax transformation, then the proximal map (of step 1: it has to be a set).

    Attributes:
        tx: the transformation.
    """

    tx: Transformation = eqx.field(converter=Transformation)

    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        """The transformation's state."""
        with precision_of(x):
            return jax.tree.map(jnp.asarray, self.tx.init(x))

    def apply(
        self, problem: Bilevel, x: PyTree[Array], gradient: PyTree[Array], memory: PyTree[Array], calls: Calls
    ) -> tuple[PyTree[Array], PyTree[Array], Calls]:
        """The new point, state and calls."""
        ahead, memory = self.move(x, gradient, memory)
        return problem.outer_prox(ahead, 1.0), memory, calls.add(prox=1)

    def move(
        self, x: PyTree[Array], gradient: PyTree[Array], memory: PyTree[Array]
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The point before any proximal map, and the state."""
        with precision_of(x):
            updates, new = self.tx.update(gradient, memory, x)
        return same_types((optax.apply_updates(x, updates), new), (x, memory))


def outer_update(given: Any) -> AdaptiveDescent | Transformed:
    """Converter of a solver's ``outer`` field: None, an Optax transformation, or one of the two rules."""
    if given is None:
        return AdaptiveDescent()
    return given if isinstance(given, AdaptiveDescent | Transformed) else Transformed(given)
