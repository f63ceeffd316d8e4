"""Input-convex neural networks, and the gradients of potentials as maps."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from frechet.derivatives.psd_root import psd_root
from frechet.models.affine import AffineMap


class ICNN(eqx.Module):
    r"""An input-convex neural network: a potential $\varphi: \mathbb{R}^d \to \mathbb{R}$, convex by design.

    $$z_1 = \sigma(W_0 x + b_0),\quad z_{k+1} = \sigma(U_k z_k + W_k x + b_k),\quad
    \varphi(x) = \tfrac1w\langle u, z_K\rangle + \tfrac12\|Lx\|^2 + \langle c, x\rangle,$$

    with $U_k$ and $u$ positive (softplus of what is trained, each row of mean about one) and $\sigma$ a
    softplus: convex and increasing. The quadratic part makes it start near a potential whose gradient is
    known: the gradient at initialisation is that affine map, up to a bounded part of size ``scale``.

    Args:
        size: $d$.
        width: units of each layer, $w$.
        depth: how many layers, $K$.
        start: the affine map to start near, its matrix symmetric positive semi-definite; the identity when
            left out. `AffineMap.between` fits one to samples.
        scale: how much of the network there is beside it at first.
        key: for the weights.

    Source: Amos, Xu, Kolter 2017, Input convex neural networks, arXiv 1609.07152; the quadratic part and
    the start: Bunne, Krause, Cuturi 2022, Supervised training of conditional Monge maps, arXiv 2206.14262.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> potential = ICNN(2, width=16, key=jax.random.key(0))
        >>> potential(jnp.ones(2)).shape, GradientMap(potential)(jnp.ones(2)).shape
        ((), (2,))
    """

    inputs: list[eqx.nn.Linear]
    between: list[Float[Array, "w w"]]
    top: Float[Array, " w"]
    L: Float[Array, "d d"]
    c: Float[Array, " d"]

    def __init__(
        self,
        size: int,
        width: int = 64,
        depth: int = 3,
        *,
        start: AffineMap | None = None,
        scale: float = 0.1,
        key: PRNGKeyArray,
    ):
        keys = jax.random.split(key, 2 * depth)
        self.inputs = [eqx.nn.Linear(size, width, key=k) for k in keys[:depth]]
        self.between = [
            _raw(jax.random.uniform(k, (width, width), minval=0.5, maxval=1.5)) for k in keys[depth + 1 :]
        ]
        self.top = jnp.full(width, _raw(jnp.asarray(scale)))
        start = AffineMap(jnp.eye(size)) if start is None else start
        self.L, self.c = psd_root(start.A), start.b

    def __call__(self, x: Float[Array, " d"]) -> Scalar:
        z = jax.nn.softplus(self.inputs[0](x))
        for weights, layer in zip(self.between, self.inputs[1:], strict=True):
            z = jax.nn.softplus(jax.nn.softplus(weights) @ z / z.size + layer(x))
        network = jax.nn.softplus(self.top) @ z / z.size
        return network + jnp.sum((self.L @ x) ** 2) / 2 + self.c @ x


class GradientMap(eqx.Module):
    r"""$T = \nabla\varphi$ of a potential: where $\varphi$ is convex, optimal for the squared distance.

    Args:
        potential: $\varphi$, a scalar function of a point, such as an `ICNN`.

    Source: Brenier 1991, Polar factorization and monotone rearrangement of vector-valued functions,
    Communications on Pure and Applied Mathematics 44.

    Example:
        >>> import jax.numpy as jnp
        >>> GradientMap(lambda x: jnp.sum(x**2))(jnp.array([1.0, 2.0])).tolist()
        [2.0, 4.0]
    """

    potential: Callable[[Array], Scalar]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return jax.grad(self.potential)(x)


def _raw(positive: Array) -> Array:
    """What softplus takes to ``positive``."""
    return jnp.log(jnp.expm1(positive))
