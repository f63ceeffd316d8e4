"""How far a map is from being a gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar


def curl(fun: Callable[[Array], Array], x: Float[Array, " d"], *, key: PRNGKeyArray | None = None) -> Scalar:
    r"""$\|D - D^\top\|_F^2$ of the Jacobian $D$ of a map at a point: zero everywhere for gradients only.

    Args:
        fun: a map from vectors to vectors of the same length.
        x: a point, shape (d,).
        key: where given, the unbiased estimate $\|(D - D^\top)v\|^2$ with one random $v$ of signs: a
            Jacobian-vector and a vector-Jacobian product in place of $d$ of each.

    Source: Hutchinson 1990, A stochastic estimator of the trace of the influence matrix for Laplacian
    smoothing splines, Communications in Statistics 19.

    Example:
        >>> import jax.numpy as jnp
        >>> float(curl(lambda x: jnp.array([-x[1], x[0]]), jnp.ones(2)))
        8.0
    """

    def along(v: Array) -> Array:
        _, forward = jax.jvp(fun, (x,), (v,))
        return jnp.sum((forward - jax.vjp(fun, x)[1](v)[0]) ** 2)

    if key is not None:
        return along(jax.random.rademacher(key, x.shape, x.dtype))
    return jnp.sum(jax.vmap(along)(jnp.eye(x.size, dtype=x.dtype)))
