r"""What Hessian-vector products tell of a function's curvature, without a matrix being formed.

The functions below take a *product* $v \mapsto Hv$ of pytrees, symmetric and linear. `hessian` makes one of a
function, and so does whatever else multiplies: a Gauss-Newton matrix, a sum over batches.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree

Product = Callable[[PyTree[Array]], PyTree[Array]]


def hvp(f: Callable[[PyTree[Array]], Scalar], x: PyTree[Array], v: PyTree[Array]) -> PyTree[Array]:
    r"""One product $\nabla^2 f(x)\, v$, forward over reverse: the cost of about two gradients.

    Args:
        f: a twice differentiable function of a pytree of real arrays.
        x: where.
        v: along what, of the structure, shapes and dtypes of ``x``.

    Returns:
        A pytree like ``x``.

    Source: Pearlmutter, 1994, "Fast exact multiplication by the Hessian", doi 10.1162/neco.1994.6.1.147.

    Example:
        >>> hvp(lambda x: jnp.sum(x**3), jnp.array([1.0, 2.0]), jnp.ones(2)).tolist()
        [6.0, 12.0]
    """
    return jax.jvp(jax.grad(f), (x,), (v,))[1]


def hessian(f: Callable[[PyTree[Array]], Scalar], x: PyTree[Array]) -> Product:
    r"""The product $v \mapsto \nabla^2 f(x)\, v$ for many ``v``; what depends on ``x`` alone is kept.

    Args:
        f: a twice differentiable function of a pytree of real arrays.
        x: where.

    Returns:
        A linear function of a pytree like ``x``. It keeps the activations of one gradient.

    Example:
        >>> product = hessian(lambda x: jnp.prod(x), jnp.array([2.0, 3.0]))
        >>> product(jnp.array([1.0, 0.0])).tolist()
        [0.0, 1.0]
    """
    return jax.linearize(jax.grad(f), x)[1]


def directional_sharpness(f: Callable[[PyTree[Array]], Scalar], x: PyTree[Array], u: PyTree[Array]) -> Scalar:
    r"""The curvature $u^\top \nabla^2 f(x)\, u / \|u\|^2$ that a step along ``u`` meets; one product.

    A step $-\eta u$ lowers the quadratic model by
    $\eta \langle \nabla f, u\rangle - \eta^2 \|u\|^2 S(u) / 2$: of two directions as steep, the one
    of smaller sharpness allows the larger step. Compare optimizers at the same ``x``: along trajectories of
    their own the points differ as well as the directions.

    Args:
        f: a twice differentiable function of a pytree of real arrays.
        x: where.
        u: the update, of any length; of a zero one the sharpness is 0.

    Source: Pan and Li, 2023, "Toward Understanding Why Adam Converges Faster Than SGD for Transformers",
    arXiv 2306.00204.

    Example:
        >>> f = lambda x: 0.5 * (3 * x[0] ** 2 + x[1] ** 2)
        >>> float(directional_sharpness(f, jnp.zeros(2), jnp.array([0.0, 5.0])))
        1.0
    """
    wide = _wide(u)
    unit = _cast(_scaled(_inverse(tree.norm(wide)), wide), u)
    return tree.vdot(_wide(unit), _wide(hvp(f, x, unit)))


class Tridiagonal(NamedTuple):
    """$V^\\top H V$ of a Krylov space.

    Attributes:
        diagonal: shape ``(steps,)``.
        off_diagonal: shape ``(steps - 1,)``.
        basis: the orthonormal columns of V, stacked along a leading axis of each leaf.
    """

    diagonal: Float[Array, " steps"]
    off_diagonal: Float[Array, " steps-1"]
    basis: PyTree[Array]

    @property
    def matrix(self) -> Float[Array, "steps steps"]:
        """All of it, dense."""
        return jnp.diag(self.diagonal) + jnp.diag(self.off_diagonal, 1) + jnp.diag(self.off_diagonal, -1)


def lanczos(product: Product, start: PyTree[Array], steps: int) -> Tridiagonal:
    r"""Lanczos' tridiagonalisation with full reorthogonalisation, so that no eigenvalue appears twice.

    Each new vector is orthogonalised against all before it, twice. Costs ``steps`` products and keeps as many
    vectors. Where the Krylov space ends earlier, the remaining rows and vectors are zero.

    Args:
        product: $v \mapsto Hv$, symmetric; called with pytrees in the dtypes of ``start``.
        start: the first vector, not zero; a pytree of real arrays.
        steps: at most as many as ``start`` has entries; no more are taken.

    Returns:
        The tridiagonal matrix and the basis, in float32 where ``start`` is narrower.

    Raises:
        ValueError: ``steps`` is less than 1, or ``start`` has no entries.

    Source: Golub and Van Loan, 2013, "Matrix Computations", section 10.1.

    Example:
        >>> H = jnp.diag(jnp.array([1.0, 2.0, 5.0]))
        >>> T = lanczos(lambda v: H @ v, jnp.ones(3), 3)
        >>> bool(jnp.allclose(T.basis @ H @ T.basis.T, T.matrix, atol=1e-5))
        True
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    steps = min(steps, _entries(start))
    first = _wide(start)
    dtype = jnp.result_type(*jax.tree.leaves(first))
    first = _scaled(_inverse(tree.norm(first)), first)
    basis = jax.tree.map(lambda u: jnp.zeros((steps, *u.shape), u.dtype), first)

    def without(basis: PyTree[Array], w: PyTree[Array]) -> PyTree[Array]:
        parts = jax.tree.map(lambda b, u: _contract(b, u, u.ndim).astype(dtype), basis, w)
        along = jnp.sum(jnp.stack(jax.tree.leaves(parts)), axis=0)
        return jax.tree.map(lambda b, u: u - _contract(along.astype(u.dtype), b, 1), basis, w)

    def step(carry: tuple, j: Array) -> tuple:
        basis, v = carry
        basis = jax.tree.map(lambda b, u: b.at[j].set(u), basis, v)
        w = _wide(product(_cast(v, start)))
        alpha, size = tree.vdot(v, w), tree.norm(w)
        w = without(basis, without(basis, w))
        beta = tree.norm(w)
        # What is left of a vector inside of the space is rounding; it is no direction.
        beta = jnp.where(beta > 10 * jnp.finfo(dtype).eps * size, beta, 0.0)
        return (basis, _scaled(_inverse(beta), w)), (alpha.astype(dtype), beta.astype(dtype))

    (basis, _), (alphas, betas) = jax.lax.scan(step, (basis, first), jnp.arange(steps))
    return Tridiagonal(alphas, betas[:-1], basis)


class Spectrum(NamedTuple):
    """A spectral density as point masses, a row a probe.

    Attributes:
        nodes: where, shape ``(probes, steps)``, ascending in each row.
        weights: how much; each row sums to one.
    """

    nodes: Float[Array, "probes steps"]
    weights: Float[Array, "probes steps"]


def stochastic_lanczos(
    product: Product, like: PyTree[Array], key: PRNGKeyArray, *, steps: int = 20, probes: int = 1
) -> Spectrum:
    r"""Stochastic Lanczos quadrature of the density of eigenvalues.

    $$\frac{\operatorname{tr} g(H)}{n} \approx \frac1k \sum_{i=1}^k\sum_{j=1}^m w_{ij}\, g(\theta_{ij})$$

    The eigenvalues $\theta_j$ of the tridiagonal matrix and the squared first entries $w_j$ of its
    eigenvectors are the Gauss quadrature of the density that a random sign vector sees of the spectrum;
    exact for polynomials of degree ``2 * steps - 1``. The extreme nodes approximate the extreme eigenvalues
    from inside. Costs ``probes * steps`` products, one probe after the other.

    Args:
        product: $v \mapsto Hv$, symmetric.
        like: a pytree of real arrays that says what ``product`` takes; its values do not matter.
        key: of the random signs.
        steps: nodes a probe.
        probes: how many random vectors; the error of a trace falls with its square root.

    Source: Ubaru, Chen and Saad, 2017, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature",
    doi 10.1137/16M1104974.

    Example:
        >>> d = jnp.array([1.0, 2.0, 6.0])
        >>> nodes, weights = stochastic_lanczos(lambda v: d * v, d, jax.random.key(0), steps=3)
        >>> (nodes.round() == d).all().item(), round(float(jnp.sum(nodes * weights)), 3)
        (True, 3.0)
    """
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, got {probes}")

    def one(key: PRNGKeyArray) -> tuple[Array, Array]:
        T = lanczos(product, optax.tree.random_like(key, like, jax.random.rademacher), steps)
        nodes, vectors = jnp.linalg.eigh(T.matrix)
        return nodes, vectors[0] ** 2

    return Spectrum(*jax.lax.map(one, jax.random.split(key, probes)))


def one_one_norm(product: Product, like: PyTree[Array], key: PRNGKeyArray, *, probes: int = 100) -> Scalar:
    r"""$\|H\|_{1,1} = \sum_{ij} |H_{ij}|$ from products with Cauchy vectors.

    An entry of $Hc$ is Cauchy, and the median of its modulus is the sum of the row's: the medians over
    probes are summed. This is the smoothness that Adam's rate depends on; compare it with
    $n \|H\|_2$, which AdaSGD's does, not with $\|H\|_2$.

    Args:
        product: $v \mapsto Hv$.
        like: a pytree of real arrays that says what ``product`` takes; its values do not matter.
        key: of the Cauchy vectors.
        probes: how many; their products are kept, an array of ``probes`` for each of ``like``.

    Source: Xie, Mohamadi and Li, 2025, "Adam Exploits l-infinity-geometry of Loss Landscape via
    Coordinate-wise Adaptivity", arXiv 2410.08198.

    Example:
        >>> H = jnp.array([[2.0, -1.0], [-1.0, 1.0]])
        >>> norm = one_one_norm(lambda v: H @ v, jnp.zeros(2), jax.random.key(0), probes=4000)
        >>> bool(abs(norm - 5) < 0.5)
        True
    """
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, got {probes}")
    n = _entries(like)
    wide = _wide(like)

    def one(key: PRNGKeyArray) -> PyTree[Array]:
        # A Cauchy vector's largest entry is of the order of n: divided by it, the product cannot overflow.
        c = _scaled(1 / n, optax.tree.random_like(key, wide, jax.random.cauchy))
        return jax.tree.map(jnp.abs, _wide(product(_cast(c, like))))

    rows = jax.lax.map(one, jax.random.split(key, probes))
    return n * jnp.sum(jnp.stack([jnp.sum(jnp.median(r, axis=0)) for r in jax.tree.leaves(rows)]))


_contract = functools.partial(jnp.tensordot, precision=jax.lax.Precision.HIGHEST)


def _entries(like: PyTree[Array]) -> int:
    n = sum(jnp.size(v) for v in jax.tree.leaves(like))
    if n == 0:
        raise ValueError("a product needs vectors with entries, got a pytree without any")
    return n


def _wide(x: PyTree[Array]) -> PyTree[Array]:
    """In float32 at least: inner products and norms in half precision are worthless."""
    return jax.tree.map(lambda v: v.astype(jnp.promote_types(v.dtype, jnp.float32)), x)


def _cast(x: PyTree[Array], like: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda v, u: v.astype(u.dtype), x, like)


def _scaled(c: Array | float, x: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda v: (c * v).astype(v.dtype), x)


def _inverse(c: Array) -> Array:
    return jnp.where(c > 0, 1 / jnp.where(c > 0, c, 1), 0.0)
