"""The largest curvature of the lower level, followed from step to step by a power iteration."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.derivatives.curvature import lanczos
from frechet.problems.bilevel import Bilevel

PRODUCTS = 10
"""Hessian-vector products that the first estimate takes, at most as many as the lower level has unknowns."""


class LargestCurvature(NamedTuple):
    r"""An estimate of $\|\nabla^2_{yy} g\|$.

    Attributes:
        value: the estimate.
        direction: about where it is taken, like $y$.
    """

    value: Scalar
    direction: PyTree[Array]

    @property
    def step(self) -> Scalar:
        """One over the estimate, which may be a little low, raised by a twentieth."""
        return 1 / (1.05 * jnp.where(self.value > 0, self.value, 1))


def first(
    problem: Bilevel, x: PyTree[Array], y: PyTree[Array], calls: Calls
) -> tuple[LargestCurvature, Calls]:
    """Lanczos' estimate, and the calls with its products."""
    size = sum(v.size for v in jax.tree.leaves(y))
    T = lanczos(lambda v: problem.inner_hvp(x, y, v), tree.wave(y), PRODUCTS)
    steps = min(PRODUCTS, size)
    values, vectors = jnp.linalg.eigh(T.matrix)
    along = vectors[:, jnp.argmax(jnp.abs(values))]
    direction = jax.tree.map(
        lambda b, v: jnp.tensordot(along.astype(b.dtype), b, 1).astype(v.dtype), T.basis, y
    )
    largest = jnp.max(jnp.abs(values)).astype(tree.norm(y).dtype)
    return LargestCurvature(largest, direction), calls.add(hvp=steps)


def followed(product: Callable[[PyTree[Array]], PyTree[Array]], last: LargestCurvature) -> LargestCurvature:
    r"""The estimate after one product with another $\nabla^2_{yy} g$.

    It falls by a hundredth at most, as batches differ. A little of a fixed vector keeps directions in sight
    that the iteration has forgotten, should their curvature become the largest.
    """
    pattern = tree.wave(last.direction)
    lost = 1e-2 / tree.norm(pattern)
    turned = tree.axpy(lost, pattern, last.direction)
    length = tree.norm(turned)
    Hv = product(turned)
    risen = tree.norm(Hv)
    direction = jax.tree.map(lambda v: (v / jnp.where(risen > 0, risen, 1)).astype(v.dtype), Hv)
    value = jnp.maximum(risen / length, 0.99 * last.value).astype(last.value.dtype)
    return LargestCurvature(value, tree.where(risen > 0, direction, last.direction))
