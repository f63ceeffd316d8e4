"""PerpGrad: gradients without the part that only scales the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.radial import remove_radial
from frechet.optimizers.registry import optimizer


def perpendicular_gradient(renormalise: bool = True) -> optax.GradientTransformation:
    r"""Takes the part along the weights out of the gradient of each tensor; goes before any base optimizer.

    $$g_\perp = g - \frac{\langle w, g\rangle}{\langle w, w\rangle} w, \qquad
      u = \frac{\|g\|}{\|g_\perp\|} g_\perp$$

    A tensor with one element has no such complement and gets zero, so it stands still: where it is to be
    trained, wrap this in `optax.masked`. Weights of zero leave their gradient as it is. Computed in float32
    at least.

    Args:
        renormalise: whether to restore the norm of the gradient, as the authors' code does; otherwise
            $u = g_\perp$, as in the paper's formula.

    Returns:
        A transformation without state whose ``update`` needs the parameters.

    Source:
        Prieto, Barsbey, Mediano, Birdal 2025, Grokking at the edge of numerical stability, ICLR, arXiv
        2501.04697.

    Example:
        >>> tx = optax.chain(perpendicular_gradient(), optax.sgd(0.1))
        >>> w = jnp.array([2.0, 0.0])
        >>> tx.update(jnp.array([3.0, 4.0]), tx.init(w), w)[0]
        Array([-0. , -0.5], dtype=float32)
    """

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("perpendicular gradients need the parameters: update(grads, state, params)")
        project = lambda g, w: remove_radial(g, w, renormalise)  # noqa: E731
        u = jax.tree.map(project, *at_least_float32((updates, params)))
        return optax.tree.cast_like(u, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


@optimizer(
    space={"learning_rate": LogUniform(1e-4, 1e-1), "b2": Choice(0.99, 0.999)},
    converges=False,  # it moves along spheres
)
def perpgrad(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    b1: Any = 0.9,
    b2: Any = 0.99,
    eps: Any = 1e-25,
    weight_decay: Any = 0.0,
    renormalise: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""AdamW on perpendicular gradients, with the settings that the paper groks modular arithmetic with.

    Once a network fits its training data, scaling up its weights lowers the cross entropy without changing a
    prediction, and the gradient turns to that direction. Without it the network goes on to learn what
    generalises, and needs no weight decay for it. To first order the norm of a tensor stays as it is under
    gradient descent. Not for problems whose solution fixes the norm of the weights, such as regression.

    Args:
        learning_rate: a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the denominator; tiny, as gradients become tiny. Gradients below 1e-19, whose squares
            float32 does not hold, are damped besides.
        weight_decay: decoupled as in AdamW, at least 0.
        renormalise: whether the projected gradient keeps the norm of the gradient.

    Returns:
        A transformation whose ``update`` needs the parameters.

    Source:
        Prieto, Barsbey, Mediano, Birdal 2025, Grokking at the edge of numerical stability, ICLR, arXiv
        2501.04697.

    Example:
        >>> tx = perpgrad()
        >>> w = jnp.array([1.0, 1.0])
        >>> tx.update(jnp.array([5.0, 3.0]), tx.init(w), w)[0].round(4)
        Array([-0.01,  0.01], dtype=float32)
    """
    # Without the root of tiny, a square that underflows would leave eps alone and make a huge step.
    tiny = float(jnp.finfo(jnp.float32).tiny)
    return optax.chain(
        perpendicular_gradient(renormalise),
        optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, eps_root=tiny, weight_decay=weight_decay),
    )


def weight_alignment(params: PyTree[Array], grads: PyTree[Array]) -> PyTree[Array]:
    r"""How far descent is along the weights: $\cos(w, -g)$ of each tensor, zero where either is.

    Near one, descent does little but scale the weights.

    Args:
        params: a pytree of weights $w$.
        grads: gradients $g$, of the same structure.

    Returns:
        A pytree of scalars of that structure.

    Source:
        Prieto, Barsbey, Mediano, Birdal 2025, Grokking at the edge of numerical stability, ICLR, arXiv
        2501.04697.

    Example:
        >>> weight_alignment({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([-6.0, -8.0])})["w"].round(4)
        Array(1., dtype=float32)
    """
    unit = lambda x: x / jnp.maximum(jnp.linalg.norm(x), jnp.finfo(x.dtype).tiny)  # noqa: E731

    def cosine(w: Array, g: Array) -> Array:
        # The largest entry is one first: squares of small gradients would underflow.
        w, g = (unit(x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)) for x in (w, g))
        return -jnp.sum(w * g)

    return jax.tree.map(cosine, *at_least_float32((params, grads)))
