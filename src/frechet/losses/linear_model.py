"""The mean of a pointwise loss over the predictions of a linear model."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.experimental.sparse import BCOO
from jaxtyping import Array, Float, Int, Scalar

from frechet.convex.parameters import parameter
from frechet.core import lift


def _array(x: Any) -> Any:
    return x if x is None or isinstance(x, BCOO) else jnp.asarray(x)


class LinearModel(eqx.Module):
    r"""The empirical risk of a linear model; subclasses say what the pointwise loss is.

    $$f(w) = \frac{1}{n} \sum_{i=1}^n s_i \, \ell(x_i^\top w, y_i)$$

    The sample weights $s_i$ are not normalised, so that $f$ is linear in them and a mean over sampled
    terms is an unbiased estimate; divide them by their mean for a weighted average. There is no
    intercept: append a column of ones to `X`.

    NaN or inf in the data do not raise; they reach the value, where a solve reports them.

    Args:
        X: design, shape (n, p), floating; a dense array, a `jax.experimental.sparse.BCOO` or a SciPy
            sparse matrix. Integers become the default float dtype.
        y: targets, leading axis n; each subclass says which values it takes.
        sample_weight: weights $s_i \ge 0$, shape (n,); None means ones.

    Raises:
        ValueError: where a shape, a concrete target or a concrete weight cannot be right.
    """

    # the converters change nothing that __init__ has made; they tell type checkers what it takes
    X: Float[Array, "n p"] | BCOO = eqx.field(converter=_array)
    y: Array = eqx.field(converter=_array)
    sample_weight: Float[Array, " n"] | None = eqx.field(default=None, kw_only=True, converter=_array)
    # entries that the fullest row of a sparse X can hold: what makes sampling one of fixed shape
    row_entries: int = eqx.field(static=True, init=False)
    # of a sparse X with known indices: its entries' order by column and where each column starts in it
    by_column: tuple[Int[Array, " nse"], Int[Array, " p+1"]] | None = eqx.field(init=False)
    column_entries: int = eqx.field(static=True, init=False)

    def __init__(self, X: Any, y: Any, *, sample_weight: Any = None):
        self.X, self.row_entries = _design(X)
        self.by_column, self.column_entries = _by_column(self.X)
        n = self.X.shape[0]
        y = _array(y)
        if y.ndim == 0 or y.shape[0] != n:
            raise ValueError(f"y has shape {y.shape}; X has {n} rows, so y needs a leading axis of {n}")
        self.y = self.targets(y)
        if sample_weight is not None:
            sample_weight = jnp.asarray(sample_weight, self.X.dtype)
            if sample_weight.shape != (n,):
                raise ValueError(f"sample_weight has shape {sample_weight.shape}; it needs to be ({n},)")
            if is_concrete(sample_weight) and (np.asarray(sample_weight) < 0).any():
                raise ValueError("sample_weight has a negative entry; weights are at least 0")
        self.sample_weight = sample_weight

    def targets(self, y: Array) -> Array:
        """The targets as `pointwise` takes them, checked where they are concrete."""
        if y.ndim != 1:
            raise ValueError(
                f"y has shape {y.shape}; {type(self).__name__} takes one target a row, shape (n,)"
            )
        return y.astype(self.X.dtype)

    def pointwise(self, z: Array, y: Array) -> Float[Array, " n"]:
        """The loss of each prediction.

        Args:
            z: predictions, leading axis n.
            y: targets as stored in `self.y`.

        Returns:
            One number a row, shape (n,).
        """
        raise NotImplementedError

    @property
    def curvature(self) -> float | Scalar:
        """A bound on the second derivative (spectral norm) of `pointwise` in z; inf if there is none."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """The number of terms n."""
        return self.X.shape[0]

    def predict(self, w: Float[Array, "p ..."]) -> Float[Array, "n ..."]:
        """The predictions X w."""
        if not hasattr(w, "ndim"):
            raise TypeError(
                f"w is a {type(w).__name__}; a linear model takes one array, with {self.X.shape[1]} rows"
            )
        if w.ndim == 0 or w.shape[0] != self.X.shape[1]:
            raise ValueError(
                f"w has shape {w.shape}; X has {self.X.shape[1]} columns, so w needs as many rows"
            )
        return self.X @ w

    def __call__(self, w: Float[Array, "p ..."]) -> Scalar:
        """The weighted mean loss f(w)."""
        z = self.predict(w)
        self.check_prediction(z)
        losses = self.pointwise(z, self.y)
        return jnp.mean(losses if self.sample_weight is None else self.sample_weight * losses)

    def check_prediction(self, z: Array) -> None:
        """Raise unless predictions and targets fit; (n, 1) against (n,) would broadcast to (n, n)."""
        if z.shape != self.y.shape:
            right = self.X.shape[1:] + self.y.shape[1:]
            raise ValueError(f"X w has shape {z.shape} but y has shape {self.y.shape}; w needs shape {right}")

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"sample": "gradients of single terms", "linear model": "f is a loss of X w"}

    def sampled(self, indices: Int[Array, " m"]) -> "LinearModel":
        """The same model on some rows, which may repeat: the mean over m terms.

        The shapes depend on m alone, so it works under jit with traced indices, sparse or dense.
        """
        X = _rows(self.X, indices, self.row_entries) if isinstance(self.X, BCOO) else self.X[indices]
        weight = None if self.sample_weight is None else self.sample_weight[indices]
        return lift.replaced(self, X=X, y=self.y[indices], sample_weight=weight, by_column=None)

    def lipschitz(self) -> Scalar:
        r"""A bound on the Lipschitz constant of the gradient, $c \, \sigma_{\max}(S^{1/2} X)^2 / n$.

        Here c is `curvature`. The eigenvalue comes from 40 Lanczos steps, raised by 2%: for any design of
        p columns that is a bound but for a probability of $2.6 \cdot 10^{-5} \sqrt{p}$ over the random start,
        which is always the same. Differentiation takes it for a constant.

        Source: J. Kuczyński, H. Woźniakowski, "Estimating the largest eigenvalue by the power and Lanczos
            algorithms with a random start", 1992, theorem 4.2.
        """
        X, weight = lax.stop_gradient((self.X, self.sample_weight))

        def gram(v):
            z = X @ v
            return (z if weight is None else weight * z) @ X

        largest = _largest_eigenvalue(gram, X.shape[1], X.dtype)
        return lax.stop_gradient(self.curvature) * 1.02 * largest / self.count

    def lipschitz_terms(self) -> Float[Array, " n"]:
        r"""Bounds on the Lipschitz constants of the terms' gradients, $c \, s_i \|x_i\|^2$; shape (n,)."""
        if isinstance(self.X, BCOO):
            squared = BCOO((self.X.data**2, self.X.indices), shape=self.X.shape)
            norms = squared @ jnp.ones(self.X.shape[1], self.X.dtype)
        else:
            norms = jnp.sum(self.X**2, axis=1)
        return self.curvature * (norms if self.sample_weight is None else self.sample_weight * norms)


def is_concrete(x: Any) -> bool:
    """Whether its values can be looked at."""
    return not isinstance(x, Tracer)


def positive_parameter(name: str, value: Any) -> Any:
    """A loss's parameter as a differentiable leaf, checked where it is concrete."""
    value = parameter(name, value)
    if is_concrete(value) and (np.asarray(value) <= 0).any():
        raise ValueError(f"{name} is {value}; it needs to be positive")
    return value


def _largest_eigenvalue(matvec: Callable[[Array], Array], size: int, dtype: Any) -> Scalar:
    """The largest Ritz value of 40 Lanczos steps, with full reorthogonalisation; exact up to size 40."""
    steps = min(40, size)

    def extend(i, carry):
        V, diagonal, beside = carry
        u = matvec(V[i])
        height = V[i] @ u
        for _ in range(2):  # once leaves rounding errors behind, twice is enough
            u = u - V.T @ (V @ u)
        diagonal, norm = diagonal.at[i].set(height), jnp.linalg.norm(u)
        # what is left once V spans all that the start reaches is rounding error, not orthogonal to V
        spent = norm <= 1000 * jnp.finfo(dtype).eps * jnp.max(diagonal)
        following = jnp.where(spent, 0, u / jnp.where(spent, 1, norm))
        return V.at[i + 1].set(following), diagonal, beside.at[i].set(jnp.where(spent, 0, norm))

    start = jax.random.normal(jax.random.key(0), (size,), dtype)
    V = jnp.zeros((steps + 1, size), dtype).at[0].set(start / jnp.linalg.norm(start))
    zeros = jnp.zeros(steps, dtype)
    _, diagonal, beside = lax.fori_loop(0, steps, extend, (V, zeros, zeros))
    beside = jnp.diag(beside[:-1], 1)
    return jnp.linalg.eigvalsh(jnp.diag(diagonal) + beside + beside.T)[-1]


def _design(X: Any) -> tuple[Array | BCOO, int]:
    if hasattr(X, "tocoo"):
        X = BCOO.from_scipy_sparse(X)
    X = _array(X)
    sparse = isinstance(X, BCOO)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; it needs to be (samples, features), neither of them 0")
    if not jnp.issubdtype(X.dtype, jnp.floating):
        if not (jnp.issubdtype(X.dtype, jnp.integer) or X.dtype == bool):
            raise ValueError(f"X has dtype {X.dtype}; it needs to be real")
        X = X.astype(float)
    if not sparse:
        return X, 0
    if X.n_batch or X.n_dense:
        raise ValueError("X is a BCOO with batch or dense dimensions; make it with n_batch=0 and n_dense=0")
    if not (X.unique_indices and X.indices_sorted):
        X = X.sum_duplicates(nse=X.nse)
    if is_concrete(X.indices):
        rows = np.asarray(X.indices[:, 0])
        # padding entries carry the row number n
        return X, int(np.bincount(rows, minlength=1)[: X.shape[0]].max(initial=1))
    return X, min(X.nse, X.shape[1])


def _by_column(X: Array | BCOO) -> tuple[tuple[Array, Array] | None, int]:
    """The order of the entries by column, the columns' starts in it and the entries of the fullest column."""
    if not (isinstance(X, BCOO) and is_concrete(X.indices)):
        return None, 0
    column = np.asarray(X.indices[:, 1])
    counts = np.bincount(column, minlength=X.shape[1])[: X.shape[1]]
    order, starts = np.argsort(column, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
    return (jnp.asarray(order, jnp.int32), jnp.asarray(starts, jnp.int32)), int(counts.max(initial=1))


def _rows(X: BCOO, indices: Array, width: int) -> BCOO:
    """Some rows of a sorted BCOO, each padded with zeros to `width` entries."""
    at = jnp.searchsorted(X.indices[:, 0], indices)[:, None] + jnp.arange(width)
    inside = X.indices.at[at].get(mode="fill", fill_value=-1)
    own = inside[..., 0] == indices[:, None]
    data = jnp.where(own, X.data.at[at].get(mode="fill", fill_value=0), 0)
    rows = jnp.broadcast_to(jnp.arange(len(indices))[:, None], own.shape)
    columns = jnp.where(own, inside[..., 1], 0)
    positions = jnp.stack([rows, columns], axis=-1).reshape(-1, 2).astype(X.indices.dtype)
    return BCOO((data.reshape(-1), positions), shape=(len(indices), X.shape[1]))
