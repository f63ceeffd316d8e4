"""Transport on the line, which sorting solves, and between clouds by their shadows on lines."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from frechet.convex.parameters import float_array, modulus


def wasserstein_1d(
    x: Float[Array, " m"],
    y: Float[Array, " n"],
    a: Float[Array, " m"] | None = None,
    b: Float[Array, " n"] | None = None,
    *,
    p: float = 2.0,
) -> Scalar:
    r"""$W_p^p = \int_0^1 |F^{-1}(t) - G^{-1}(t)|^p\,dt$ between measures on the line: exact, by sorting.

    $O(n\log n)$. Differentiable in points and weights wherever no two points (or two sums of weights) change
    places; the power $p$ is kept, as the root has no derivative where the measures agree.

    Args:
        x: points, shape (m,), in any order.
        y: points, shape (n,).
        a: weights of the points of ``x``, nonnegative, scaled to sum to one; uniform when left out.
        b: those of ``y``.
        p: at least 1.

    Returns:
        A scalar in the unit of the points to the power $p$.

    Raises:
        ValueError: shapes that disagree, or ``p`` below 1.

    Source: Santambrogio 2015, Optimal transport for applied mathematicians, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> float(wasserstein_1d(jnp.array([3.0, 0.0]), jnp.array([1.0]), p=1))
        1.5
    """
    x, y = float_array(x), float_array(y)
    if p < 1:
        raise ValueError(f"p must be at least 1, got {p:g}")
    for points, weights, name in ((x, a, "a"), (y, b, "b")):
        if points.ndim != 1 or not points.size:
            raise ValueError(f"points on the line have shape (m,), m from 1, got {points.shape}")
        if weights is not None and jnp.shape(weights) != points.shape:
            raise ValueError(f"{name} has shape {jnp.shape(weights)} for points of shape {points.shape}")
    if a is None and b is None and x.size == y.size:
        return jnp.mean(modulus(jnp.sort(x) - jnp.sort(y)) ** p)
    (x, levels), (y, others) = _quantiles(x, a), _quantiles(y, b)
    # Between neighbouring levels of either measure both quantile functions are constant.
    ends = jnp.sort(jnp.concatenate([levels, others]))
    widths = jnp.diff(ends, prepend=0)
    first = lambda levels: jnp.minimum(jnp.searchsorted(levels, ends), levels.size - 1)  # noqa: E731
    return jnp.sum(widths * modulus(x[first(levels)] - y[first(others)]) ** p)


def sliced_wasserstein(
    x: Float[Array, "m d"],
    y: Float[Array, "n d"],
    a: Float[Array, " m"] | None = None,
    b: Float[Array, " n"] | None = None,
    *,
    p: float = 2.0,
    directions: int | Float[Array, "k d"] = 64,
    key: PRNGKeyArray | None = None,
) -> Scalar:
    r"""The mean over directions $u$ of $W_p^p$ between the clouds' shadows, $\langle x_i, u\rangle$.

    $O(kn\log n)$ for $k$ directions, without a cost matrix and without a solve; a lower bound of $W_p^p$
    between the clouds. Of $k$ random directions it is an unbiased estimate of the mean over the sphere.

    Args:
        x: a cloud, a row a point, shape (m, d).
        y: the other, shape (n, d).
        a: weights of the points of ``x``, scaled to sum to one; uniform when left out.
        b: those of ``y``.
        p: at least 1.
        directions: how many to draw, or the directions themselves, unit vectors, a row each.
        key: random key to draw them with; fixed when left out.

    Returns:
        A scalar in the unit of the points to the power $p$.

    Raises:
        ValueError: shapes that disagree, or ``p`` below 1.

    Source: Rabin, Peyré, Delon, Bernot 2011, Wasserstein barycenter and its application to texture mixing;
    Bonneel, Rabin, Peyré, Pfister 2015, Sliced and Radon Wasserstein barycenters of measures.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> shift = jnp.array([3.0, 4.0])  # the mean over directions of <shift, u>^2 is |shift|^2 / d
        >>> round(float(sliced_wasserstein(x, x + shift, directions=jnp.eye(2))), 3)
        12.5
    """
    x, y = float_array(x), float_array(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"clouds have shapes (m, d) and (n, d), got {x.shape} and {y.shape}")
    if isinstance(directions, int):
        key = jax.random.key(0) if key is None else key
        drawn = jax.random.normal(key, (directions, x.shape[1]), x.dtype)
        directions = drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)
    directions = jnp.asarray(directions, x.dtype)
    if directions.ndim != 2 or directions.shape[1] != x.shape[1]:
        raise ValueError(f"directions have shape (k, {x.shape[1]}) here, got {directions.shape}")
    shadows = jax.vmap(lambda u: wasserstein_1d(x @ u, y @ u, a, b, p=p))
    return jnp.mean(shadows(directions))


def _quantiles(x: Array, weights: Any) -> tuple[Array, Array]:
    """Points in order and the share of mass up to each."""
    order = jnp.argsort(x)
    weights = jnp.ones_like(x) if weights is None else jnp.asarray(weights, x.dtype)
    mass = jnp.cumsum(weights[order])
    return x[order], mass / mass[-1]
