"""FISTA on a quadratic model plus a nonsmooth part: one Hessian product and one prox an iteration."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite

MOST_PRODUCTS = 500


class Descent(NamedTuple):
    r"""The inner iterate $d$ and what the next one needs.

    Attributes:
        d: $d$; ``Hd`` is $Hd$, and the two named ``previous`` are the iterate before it.
        first: the first iterate, a proximal gradient step from $x$: it descends whatever the Hessian.
        slope: norm of the gradient mapping at $d = 0$.
        t: momentum weight, zero for none.
        step: the accepted step size; ``trial`` is the next to try.
        shift: the multiple of the identity that the model's Hessian is raised by.
        accepted: iterations so far; ``products`` counts the rejected ones too.
        done: whether to stop.
    """

    d: PyTree[Array]
    Hd: PyTree[Array]
    previous: PyTree[Array]
    previous_Hd: PyTree[Array]
    first: PyTree[Array]
    slope: Scalar
    t: Scalar
    step: Scalar
    trial: Scalar
    shift: Scalar
    accepted: Int[Array, ""]
    products: Int[Array, ""]
    done: Bool[Array, ""]


def model_descent(
    problem: Composite,
    x: PyTree[Array],
    gradient: PyTree[Array],
    hessian: Callable[[PyTree[Array]], PyTree[Array]],
    accuracy: Callable[[Scalar], Scalar],
    step: Scalar,
    shift: Scalar,
) -> Descent:
    r"""Lowers $\langle g, d\rangle + \tfrac12\langle d, (H + \mu I) d\rangle + g(x + d)$ from $d = 0$.

    The model is quadratic, so a product with the last move gives its gradient at the next point and tells
    exactly whether a step size was short enough. Where the curvature along the move or along $d$ is negative,
    $\mu$ is raised by twice as much and the iteration begins anew.

    Args:
        problem: supplies the prox.
        x: where the model is made.
        gradient: $\nabla f(x)$.
        hessian: $v \mapsto Hv$.
        accuracy: from the gradient mapping's norm at $d = 0$ to the norm to reach.
        step: first step size to try.
        shift: first $\mu$ to try.
    """

    def body(c: Descent) -> Descent:
        t = 0.5 * (1 + jnp.sqrt(1 + 4 * c.t**2 * c.step / c.trial))
        beta = jnp.maximum(c.t - 1, 0) / t
        y = tree.axpy(beta, tree.subtract(c.d, c.previous), c.d)
        Hy = tree.axpy(beta, tree.subtract(c.Hd, c.previous_Hd), c.Hd)
        at, downhill = tree.axpy(1, y, x), tree.axpy(1, Hy, gradient)
        p = tree.subtract(problem.prox(tree.axpy(-c.trial, downhill, at), c.trial), at)
        Hp = tree.axpy(c.shift, p, hessian(p))
        square, curvature = tree.vdot(p, p), tree.vdot(p, Hp)
        d, Hd = tree.axpy(1, p, y), tree.axpy(1, Hp, Hy)

        short = curvature <= square / c.trial
        bend = jnp.minimum(_quotient(curvature, square), _quotient(tree.vdot(d, Hd), tree.vdot(d, d)))
        bent = bend < 0
        begun = c.accepted > 0
        ok = short & ~bent
        mapping = (jnp.sqrt(square) / c.trial).astype(c.slope.dtype)
        slope = jnp.where(begun, c.slope, mapping)
        uphill = tree.vdot(tree.subtract(y, d), tree.subtract(d, c.d)) > 0
        ahead = Descent(
            d=tree.where(ok, d, c.d),
            Hd=tree.where(ok, Hd, c.Hd),
            previous=tree.where(ok, c.d, c.previous),
            previous_Hd=tree.where(ok, c.Hd, c.previous_Hd),
            first=tree.where(begun | ~ok, c.first, d),
            slope=slope,
            t=jnp.where(ok, jnp.where(uphill, 0, t), c.t).astype(c.t.dtype),
            step=jnp.where(ok, c.trial, c.step),
            trial=jnp.where(short, 1.1, 0.5).astype(c.trial.dtype) * c.trial,
            shift=c.shift,
            accepted=c.accepted + ok,
            products=c.products + 1,
            done=ok & begun & (mapping <= accuracy(slope)) | (square == 0) | jnp.isnan(square),
        )
        anew = begin(c.trial, c.shift - 2 * jnp.minimum(bend, 0), ahead.products)
        return tree.where(bent, anew, ahead)

    zero = jax.tree.map(jnp.zeros_like, x)
    none, no = jnp.zeros((), int), jnp.zeros_like(step)

    def begin(step: Scalar, shift: Scalar, products: Int[Array, ""]) -> Descent:
        shift = shift.astype(step.dtype)
        return Descent(
            zero, zero, zero, zero, zero, no, no, step, step, shift, none, products, jnp.asarray(False)
        )

    start = begin(step, shift, none)
    return jax.lax.while_loop(lambda c: ~c.done & (c.products < MOST_PRODUCTS), body, start)


def _quotient(a: Scalar, b: Scalar) -> Scalar:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
