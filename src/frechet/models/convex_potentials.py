"""A pair of convex potentials, and the loss that makes their gradients maps inverse to each other."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import parameter


class ConvexPotentials(eqx.Module):
    r"""Two potentials whose gradients lead there and back, $T = \nabla\varphi$, $T^{-1} = \nabla\psi$.

    Args:
        forward: $\varphi$, convex, such as an `ICNN`.
        backward: $\psi$, which is to become its conjugate.

    Example:
        >>> import jax.numpy as jnp
        >>> pair = ConvexPotentials(lambda x: jnp.sum(x**2), lambda y: jnp.sum(y**2) / 4)
        >>> pair(jnp.array([1.0, 2.0])).tolist(), pair.inverse(jnp.array([2.0, 4.0])).tolist()
        ([2.0, 4.0], [1.0, 2.0])
    """

    forward: Callable[[Array], Scalar]
    backward: Callable[[Array], Scalar]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return jax.grad(self.forward)(x)

    def inverse(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        r"""$\nabla\psi(y)$."""
        return jax.grad(self.backward)(y)


class CycleFit(eqx.Module):
    r"""Kantorovich's dual for the squared distance with a penalty in place of the inner maximisation.

    $$\mathbb{E}\,\varphi(x) + \mathbb{E}\left[\langle\hat x, y\rangle - \varphi(\hat x)\right]
    + w\,\mathbb{E}\,\|\nabla\varphi(\nabla\psi(y)) - y\|^2, \qquad \hat x = \nabla\psi(y),$$

    with $\hat x$ held constant in the second term. At the optimum $\nabla\varphi$ is the optimal map
    and the value $\tfrac12\left(\mathbb{E}\|x\|^2 + \mathbb{E}\|y\|^2 - W_2^2\right)$.

    Args:
        weight: $w$, above zero.

    Source: Korotin, Egiazarian, Asadulaev, Safin, Burnaev 2021, Wasserstein-2 generative networks,
    arXiv 1909.13082.

    Example:
        >>> import jax.numpy as jnp
        >>> pair = ConvexPotentials(lambda x: jnp.sum(x**2), lambda y: jnp.sum(y**2) / 4)
        >>> x = jnp.array([[1.0], [-1.0]])
        >>> float(CycleFit()(pair, x, 2 * x))  # (1 + 4 - 1) / 2
        2.0
    """

    weight: Any = eqx.field(default=10.0, converter=lambda v: parameter("weight", v, positive=True))

    def __call__(self, model: ConvexPotentials, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Scalar:
        back = jax.vmap(model.inverse)(y)
        held = jax.lax.stop_gradient(back)
        potential = jax.vmap(model.forward)
        dual = jnp.mean(potential(x)) + jnp.mean(jnp.sum(held * y, 1) - potential(held))
        return dual + self.weight * jnp.mean(jnp.sum((jax.vmap(model)(back) - y) ** 2, 1))
