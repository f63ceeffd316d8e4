"""Convex conjugates of the functions that make updates, and what weight decay imposes through them."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet import convex
from frechet.convex.function import Function, function
from frechet.convex.parameters import feasible, floating, matched, parameter
from frechet.core import tree
from frechet.optimizers.kappa import EpsilonInsensitive, KLargest, LogCosh, LpNorm, PseudoHuber


@functools.singledispatch
def conjugate_value(kappa: Function, y: PyTree[Array]) -> Scalar:
    r"""$K^*(y) = \sup_u \langle u, y\rangle - K(u)$, in closed form.

    Args:
        kappa: $K$. Another class is taught by ``conjugate_value.register``.
        y: a pytree of arrays.

    Returns:
        A scalar, infinite outside of the domain.

    Raises:
        TypeError: no closed form of the conjugate is known.

    Source:
        Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization: as Lyapunov predicts,
        ICLR, arXiv 2310.05898.

    Example:
        >>> import frechet as fr
        >>> y = jnp.array([1.0, -1.0])
        >>> float(conjugate_value(fr.convex.L1(), y)), float(conjugate_value(fr.convex.L2(), y))
        (0.0, inf)
    """
    raise TypeError(
        f"the conjugate of {type(kappa).__name__} is not known in closed form; "
        "teach it by conjugate_value.register"
    )


@conjugate_value.register(convex.L1)
@conjugate_value.register(convex.L2)
@conjugate_value.register(convex.GroupLasso)
@conjugate_value.register(convex.Nuclear)
@conjugate_value.register(convex.TotalVariation1D)
@conjugate_value.register(LpNorm)
@conjugate_value.register(KLargest)
def _(kappa: Function, y: PyTree[Array]) -> Scalar:
    # Of a norm it is the indicator of a set, and the norm's proximal map is what sticks out of that.
    return feasible(tree.norm(kappa.prox(y, 1.0)), tree.norm(y))


@conjugate_value.register
def _(kappa: convex.SquaredL2, y: PyTree[Array]) -> Scalar:
    return convex.SquaredL2(jax.tree.map(lambda w: 1 / w, kappa.weight))(y)


@conjugate_value.register
def _(kappa: convex.Huber, y: PyTree[Array]) -> Scalar:
    weight, delta = (matched(k, v, floating(y)) for k, v in kappa.parameters().items())
    ball = convex.LinfBall(jax.tree.map(jnp.multiply, weight, delta))
    return ball(y) + convex.SquaredL2(jax.tree.map(lambda w: 1 / w, weight))(y)


@conjugate_value.register
def _(kappa: EpsilonInsensitive, y: PyTree[Array]) -> Scalar:
    return convex.LinfBall()(y) + convex.L1(kappa.width)(y)


@conjugate_value.register
def _(kappa: PseudoHuber, y: PyTree[Array]) -> Scalar:
    y = floating(y)
    terms = jax.tree.map(
        lambda y, e: -jnp.sum(e * jnp.sqrt(jnp.maximum(1 - jnp.square(y), 0))),
        y,
        matched("width", kappa.width, y),
    )
    return convex.LinfBall()(y) + sum(jax.tree.leaves(terms))


@conjugate_value.register
def _(kappa: LogCosh, y: PyTree[Array]) -> Scalar:
    def entropy(y: Array) -> Array:
        up, down = jnp.maximum(1 + y, 0), jnp.maximum(1 - y, 0)
        return jnp.sum(jax.scipy.special.xlogy(up, up) + jax.scipy.special.xlogy(down, down)) / 2

    return convex.LinfBall()(y) + sum(map(entropy, jax.tree.leaves(floating(y))))


@conjugate_value.register
def _(kappa: convex.Rows, y: PyTree[Array]) -> Scalar:
    return jnp.sum(jax.vmap(lambda row: conjugate_value(kappa.g, row))(y))


@conjugate_value.register
def _(kappa: convex.PerLeaf, y: PyTree[Array]) -> Scalar:
    functions, structure = jax.tree.flatten(kappa.functions, is_leaf=lambda v: isinstance(v, Function))
    pairs = zip(functions, structure.flatten_up_to(y), strict=True)
    return jnp.asarray(sum(conjugate_value(g, part) for g, part in pairs))


class DecayPenalty(Function):
    r"""$g(x) = \frac{1}{\lambda} K^*(\lambda x)$, the penalty that weight decay is to `lion_kappa`.

    Its proximal map follows by Moreau's identity from that of $K$, whether or not $K^*$ is known in closed
    form: `frechet.Composite` with this function is the problem that the optimizer solves.

    Args:
        kappa: $K$.
        weight_decay: $\lambda > 0$, a scalar.

    Raises:
        TypeError: ``kappa`` is no convex function.
        ValueError: ``weight_decay`` is not above zero.

    Source:
        Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization: as Lyapunov predicts,
        ICLR, arXiv 2310.05898.

    Example:
        Lion stays in a box:

        >>> import frechet as fr
        >>> g = DecayPenalty(fr.convex.L1(), weight_decay=0.5)
        >>> g.prox(jnp.array([5.0, 0.25, -4.0]), 1.0).tolist(), float(g(jnp.array([2.0, -2.5])))
        ([2.0, 0.25, -2.0], inf)
    """

    kappa: Function = eqx.field(converter=function)
    weight_decay: Any = eqx.field(converter=lambda v: parameter("weight_decay", v, positive=True))

    def __call__(self, x: PyTree[Array]) -> Scalar:
        value = conjugate_value(self.kappa, self._scaled(x, self.weight_decay))
        return value / jnp.asarray(self.weight_decay, value.dtype)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        scaled = self._scaled(x, self.weight_decay)
        return self._scaled(
            self.kappa.conjugate_prox(scaled, step * self.weight_decay), 1 / self.weight_decay
        )

    def _scaled(self, x: PyTree[Array], factor: Any) -> PyTree[Array]:
        return jax.tree.map(lambda v: v * jnp.asarray(factor, v.dtype), floating(x))
