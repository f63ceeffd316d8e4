"""What stands for the inverse Hessians of many lower problems: adjoint variables, or Hessians themselves."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.problems.multi_block import MultiBlockBilevel
from frechet.solvers.bilevel.msvr import Blocks, replaced_rows

Track = Callable[[PyTree[Array]], PyTree[Array]]


class Adjoints(eqx.Module):
    r"""Tracks $v_i \approx (\nabla^2_{yy} g_i)^{-1}\nabla_y f_i$ by steps along an estimate of its residual.

    With $u_i$ the estimate of $\nabla^2_{yy} g_i\,v_i - \nabla_y f_i$, $v_i \leftarrow \Pi(v_i - \tau u_i)$
    with the projection onto a ball. It keeps the vectors $v_i$, those of the step before and $u_i$, and a
    sampled term costs one second-order product.

    Args:
        radius: of the ball.
    """

    radius: float | Scalar = jnp.inf

    def init(self, problem: MultiBlockBilevel, x: Any, y: Any, f_y: Any, calls: Calls) -> tuple:
        r"""$v = 0$ and its residuals, $\sum_i\nabla^2_{xy} g_i\,v_i$, and the calls."""
        zeros = jax.tree.map(jnp.zeros_like, y)
        return zeros, jax.tree.map(jnp.negative, f_y), jax.tree.map(jnp.zeros_like, x), calls

    def products(self, y: PyTree[Array]) -> int:
        """Second-order products of a sampled term, of one block with lower variable ``y``."""
        return 1

    def sampled(
        self, problem: MultiBlockBilevel, x: Any, y: Any, v: Any, f_y: Any, blocks: Blocks, terms: Any
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        r"""Samples of $\nabla^2_{xy} g_i\,v_i$ and of the residual, a row a block drawn."""
        crossed, curved = problem.block_products(x, y, v, blocks, terms)
        return crossed, tree.subtract(curved, f_y)

    def update(self, v: PyTree[Array], u: PyTree[Array], blocks: Blocks, track: Track, step: Scalar) -> tuple:
        """The new adjoint variables and residuals; all move, the drawn and the others."""
        u = track(u)
        ahead = tree.axpy(-step, u, v)
        return jax.vmap(self._within)(ahead), u

    def _within(self, v: PyTree[Array]) -> PyTree[Array]:
        length = tree.norm(v)
        scale = jnp.where(length > self.radius, self.radius / jnp.where(length > 0, length, 1), 1)
        return jax.tree.map(lambda u: (scale * u).astype(u.dtype), v)


class Hessians(eqx.Module):
    r"""Tracks $H_i \approx \nabla^2_{yy} g_i$, whose eigenvalues are kept at or above a bound.

    For lower problems of few unknowns: it keeps matrices, a sampled term costs as many second-order products
    as a block has unknowns and one more, and each step factorises the matrices of the blocks drawn.

    Args:
        modulus: the bound; a tenth of the least eigenvalue at the start when left out.
    """

    modulus: float | Scalar | None = None

    def init(self, problem: MultiBlockBilevel, x: Any, y: Any, f_y: Any, calls: Calls) -> tuple:
        r"""The Hessians and the bound, $\sum_i\nabla^2_{xy} g_i H_i^{-1}\nabla_y f_i$, and the calls."""
        flat, unraveled = _raveled(y)
        m, d = flat.shape

        def column(unit: Array) -> Array:
            # The sum of the lower problems has them as the blocks of its Hessian, a row of it each.
            return _raveled(problem.inner_hvp(x, y, unraveled(jnp.broadcast_to(unit, (m, d)))))[0]

        H = jnp.moveaxis(jax.vmap(column)(jnp.eye(d, dtype=flat.dtype)), 0, -1)
        H = (H + jnp.swapaxes(H, 1, 2)) / 2
        least = jnp.min(jnp.linalg.eigvalsh(H)) / 10 if self.modulus is None else self.modulus
        modulus = jnp.maximum(jnp.asarray(least, H.dtype), jnp.finfo(H.dtype).eps * jnp.max(jnp.abs(H)))
        H = at_least(H, modulus)
        crossed = problem.inner_products(x, y, _solved(H, f_y))[0]
        return H, modulus, crossed, calls.add(hvp=d + 1)

    def products(self, y: PyTree[Array]) -> int:
        """Second-order products of a sampled term, of one block with lower variable ``y``."""
        return 1 + sum(v.size for v in jax.tree.leaves(y))

    def sampled(
        self, problem: MultiBlockBilevel, x: Any, y: Any, H: Array, f_y: Any, blocks: Blocks, terms: Any
    ) -> tuple[PyTree[Array], Array]:
        r"""Samples of $\nabla^2_{xy} g_i H_i^{-1}\nabla_y f_i$ and of the Hessians, a row a block drawn."""
        crossed = problem.block_products(x, y, _solved(H, f_y), blocks, terms)[0]
        return crossed, problem.block_hessians(x, y, blocks, terms)

    def update(self, H: Array, modulus: Scalar, blocks: Blocks, track: Track, step: Scalar) -> tuple:
        """The new Hessians and the bound."""
        mixed = track(H)
        return replaced_rows(mixed, blocks, at_least(mixed[blocks], modulus)), modulus


def at_least(H: Float[Array, "m d d"], bound: Any) -> Float[Array, "m d d"]:
    """The nearest symmetric matrices without an eigenvalue below the bound."""
    values, vectors = jnp.linalg.eigh((H + jnp.swapaxes(H, 1, 2)) / 2)
    return (vectors * jnp.maximum(values, bound)[:, None, :]) @ jnp.swapaxes(vectors, 1, 2)


def _raveled(y: PyTree[Array]) -> tuple[Float[Array, "m d"], Callable[[Array], PyTree[Array]]]:
    """A row a block, and back."""
    unravel = ravel_pytree(jax.tree.map(lambda v: v[0], y))[1]
    return jax.vmap(lambda v: ravel_pytree(v)[0])(y), jax.vmap(unravel)


def _solved(H: Float[Array, "m d d"], f_y: PyTree[Array]) -> PyTree[Array]:
    flat, unraveled = _raveled(f_y)
    return unraveled(jnp.linalg.solve(H, flat[..., None])[..., 0])
