"""Input-convex gradient networks: maps that are gradients of convex functions, without the function."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from frechet.derivatives.psd_root import psd_root
from frechet.models.affine import AffineMap


class ICGN(eqx.Module):
    r"""A network of one layer whose value is the gradient of a convex function, in closed form.

    With $V(x) = \sigma(Wx + b)$, $\sigma$ the logistic function and $J$ the Jacobian of $V$, the matrix
    $J^\top J = W^\top \mathrm{diag}(\sigma'^2) W$ is the Hessian of a convex function, whose gradient is

    $$g(x) = W^\top\left(Q(Wx + b) - Q(b)\right) + L^\top L x + c, \qquad
    Q(t) = \tfrac12\sigma(t)^2 - \tfrac13\sigma(t)^3,\quad Q' = \sigma'^2.$$

    Its Jacobian is symmetric positive semi-definite for all weights. The first part is bounded: the linear
    one keeps $g$ from growing flat far away.

    Args:
        size: $d$.
        width: rows of $W$.
        start: the affine map to start near, its matrix symmetric positive semi-definite; the identity when
            left out.
        key: for the weights.

    Source: Richter-Powell, Lorraine, Amos 2021, Input convex gradient networks, arXiv 2111.12187.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> g = ICGN(3, width=16, key=jax.random.key(0))
        >>> D = jax.jacobian(g)(jnp.ones(3))
        >>> bool(jnp.allclose(D, D.T, atol=1e-6)), bool(jnp.linalg.eigvalsh(D)[0] > 0)
        (True, True)
    """

    W: Float[Array, "h d"]
    b: Float[Array, " h"]
    L: Float[Array, "d d"]
    c: Float[Array, " d"]

    def __init__(self, size: int, width: int = 64, *, start: AffineMap | None = None, key: PRNGKeyArray):
        weights, biases = jax.random.split(key)
        self.W = jax.random.normal(weights, (width, size)) / np.sqrt(width)
        self.b = jax.random.normal(biases, (width,))
        start = AffineMap(jnp.eye(size)) if start is None else start
        self.L, self.c = psd_root(start.A), start.b

    def hidden(self, x: Float[Array, " d"]) -> Float[Array, " h"]:
        """$V(x)$."""
        return jax.nn.sigmoid(self.W @ x + self.b)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.W.T @ (_Q(self.W @ x + self.b) - _Q(self.b)) + self.L.T @ (self.L @ x) + self.c


def _Q(t: Array) -> Array:
    s = jax.nn.sigmoid(t)
    return s**2 / 2 - s**3 / 3


class DeepICGN(eqx.Module):
    r"""The integral of $J^\top J$ along the ray to a point, for a network of any depth.

    $$g(x) = \int_0^1 J(sx)^\top J(sx)\, x \,ds + \alpha x + c,$$

    with $J$ the Jacobian of a network $V$, by Gauss-Legendre quadrature; a node is one Jacobian-vector and
    one vector-Jacobian product. It is a convex function's gradient where $J^\top J$ is a Hessian, as for one
    layer (`ICGN`). For deep networks it is not: Jacobians of $g$ are not symmetric, and only
    $\langle g(x) - g(0), x\rangle \ge 0$ is left. `curl` tells how far from symmetric they are, and can be
    penalised. An optimizer learns to exploit fixed coarse nodes: give ``key`` in training.

    Args:
        network: $V$, from points to vectors of any size.
        size: $d$.
        nodes: of the quadrature.
        alpha: of the linear term.

    Source: Richter-Powell, Lorraine, Amos 2021, Input convex gradient networks, arXiv 2111.12187.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> closed = ICGN(2, width=8, key=jax.random.key(0))
        >>> g = DeepICGN(closed.hidden, 2, alpha=1.0)
        >>> bool(jnp.allclose(g(jnp.ones(2)), closed(jnp.ones(2)), atol=1e-5))
        True
    """

    network: Callable[[Array], Array]
    alpha: Array
    c: Float[Array, " d"]
    nodes: int = eqx.field(static=True)

    def __init__(self, network: Callable[[Array], Array], size: int, *, nodes: int = 20, alpha: float = 0.1):
        self.network, self.nodes = network, nodes
        self.alpha, self.c = jnp.asarray(alpha, jnp.result_type(float)), jnp.zeros(size)

    def __call__(self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None) -> Float[Array, " d"]:
        """The map; with a key, at nodes drawn uniformly in place of Gauss and Legendre's."""
        if key is None:
            places, weights = np.polynomial.legendre.leggauss(self.nodes)
            s, w = jnp.asarray((places + 1) / 2, x.dtype), jnp.asarray(weights / 2, x.dtype)
        else:
            s = jax.random.uniform(key, (self.nodes,), x.dtype)
            w = jnp.full_like(s, 1 / self.nodes)

        def integrand(s: Array) -> Array:
            # The product with J(sx) and then that with its transpose.
            _, pushed = jax.jvp(self.network, (s * x,), (x,))
            return jax.vjp(self.network, s * x)[1](pushed)[0]

        return w @ jax.vmap(integrand)(s) + self.alpha * x + self.c
