r"""Ways to apply $(\nabla^2_{yy} g + \delta I)^{-1}$ to a vector by products with $\nabla^2_{yy} g$ alone."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.implicit import DENSE_UP_TO
from frechet.solvers.second_order.truncated_cg import truncated_cg

Product = Callable[[PyTree[Array]], PyTree[Array]]


def _positive_or_none(step: Any) -> Any:
    return None if step is None else parameter("step", step, positive=True)


def _damped(product: Product, damping: Any) -> Product:
    return lambda v: tree.axpy(damping, v, product(v))


class Inverse(eqx.Module):
    """``apply`` approximates the inverse; every extension is one way to do it."""

    @property
    def needs_step(self) -> bool:
        """Whether it wants to be told a step size."""
        return False

    def apply(self, product: Product, b: PyTree[Array], step: Scalar | None) -> tuple[PyTree[Array], Any]:
        r"""About $H^{-1} b$, and how many products that took.

        Args:
            product: $v \mapsto Hv$, symmetric.
            b: a pytree of arrays.
            step: at most $1 / \|H\|$; None where it is not needed.
        """
        raise NotImplementedError


class Neumann(Inverse):
    r"""The truncated Neumann series $s\sum_{k=0}^{K} (I - s(H + \delta I))^k b$, by $K$ products.

    At a lower solution that is the derivative through the last $K + 1$ gradient steps of size $s$ to it, for
    the memory of none. The relative error is at most $(1 - s\mu)^{K+1}$ where $\mu I \preceq H$ and
    $s \le 1 / \|H\|$; beyond $2 / \|H\|$ the series explodes.

    Args:
        terms: $K$.
        step: $s$; the solver's own estimate of $1 / \|H\|$ when left out.
        damping: $\delta$.

    Source:
        Lorraine, Vicol, Duvenaud 2020, Optimizing millions of hyperparameters by implicit differentiation,
        arXiv 1911.02590.

    Example:
        >>> p, products = Neumann(terms=3).apply(lambda v: 0.5 * v, jnp.ones(1), 1.0)
        >>> p.tolist(), products
        ([1.875], 3)
    """

    terms: int = eqx.field(default=20, static=True)
    step: Any = eqx.field(default=None, converter=_positive_or_none)
    damping: float = 0.0

    def __check_init__(self):
        _require_count("terms", self.terms, 0)

    @property
    def needs_step(self) -> bool:
        return self.step is None

    def apply(self, product: Product, b: PyTree[Array], step: Scalar | None) -> tuple[PyTree[Array], int]:
        s: Any = step if self.step is None else self.step
        H = _damped(product, self.damping)

        def add(_: Any, carry: tuple) -> tuple:
            v, total = carry
            v = tree.axpy(-s, H(v), v)
            return v, tree.axpy(1.0, v, total)

        total = jax.lax.fori_loop(0, self.terms, add, (b, b))[1]
        return jax.tree.map(lambda v: (s * v).astype(v.dtype), total), self.terms


class ConjugateGradient(Inverse):
    r"""Conjugate gradients from zero; exact in as many products as $H$ has eigenvalues.

    Args:
        steps: products at most.
        rtol: the residual, relative to $b$, at which to stop earlier.
        damping: $\delta$.

    Source:
        Hestenes, Stiefel 1952, Methods of conjugate gradients for solving linear systems.

    Example:
        >>> p, products = ConjugateGradient(steps=2).apply(
        ...     lambda v: jnp.array([2.0, 4.0]) * v, jnp.ones(2), None)
        >>> p.round(3).tolist(), int(products)
        ([0.5, 0.25], 2)
    """

    steps: int = eqx.field(default=20, static=True)
    rtol: float = 1e-6
    damping: float = 0.0

    def __check_init__(self):
        _require_count("steps", self.steps, 1)

    def apply(
        self, product: Product, b: PyTree[Array], step: Scalar | None
    ) -> tuple[PyTree[Array], Int[Array, ""]]:
        minus = jax.tree.map(jnp.negative, b)
        return truncated_cg(_damped(product, self.damping), minus, jnp.asarray(self.rtol), self.steps)


class Exact(Inverse):
    r"""The exact inverse: a matrix up to 256 unknowns, conjugate gradients to rounding beyond.

    It takes as many products as there are unknowns, or fewer by conjugate gradients.

    Args:
        damping: $\delta$.

    Example:
        >>> p, products = Exact().apply(lambda v: jnp.array([2.0, 4.0]) * v, jnp.ones(2), None)
        >>> p.tolist(), products
        ([0.5, 0.25], 2)
    """

    damping: float = 0.0

    def apply(self, product: Product, b: PyTree[Array], step: Scalar | None) -> tuple[PyTree[Array], Any]:
        flat, unravel = ravel_pytree(b)
        H = _damped(product, self.damping)
        if flat.size > DENSE_UP_TO:
            tol = float(jnp.finfo(flat.dtype).eps) ** 0.75
            return ConjugateGradient(10 * flat.size, tol).apply(H, b, None)
        matrix = jax.vmap(lambda v: ravel_pytree(H(unravel(v)))[0])(jnp.eye(flat.size, dtype=flat.dtype))
        return unravel(jnp.linalg.solve(matrix, flat)), flat.size


class Identity(Inverse):
    """No inverse at all: the vector itself, without a product (the method called T1-T2).

    Source:
        Luketina, Berglund, Greff, Raiko 2016, Scalable gradient-based tuning of continuous regularization
        hyperparameters, arXiv 1511.06727.

    Example:
        >>> Identity().apply(lambda v: 2 * v, jnp.ones(1), None)[0].tolist()
        [1.0]
    """

    def apply(self, product: Product, b: PyTree[Array], step: Scalar | None) -> tuple[PyTree[Array], int]:
        return b, 0


def _require_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
