"""The mean of a pointwise loss over the predictions of a linear model."""

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
        return eqx.tree_at(
            lambda model: (model.X, model.y, model.sample_weight, model.by_column),
            self,
            (X, self.y[indices], weight, None),
            is_leaf=lambda node: node is None or isinstance(node, BCOO | tuple),
        )

    def lipschitz(self) -> Scalar:
        r"""A bound on the Lipschitz constant of the gradient, $c \, \sigma_{\max}(S^{1/2} X)^2 / n$.

        Here c is `curvature`. The largest eigenvalue comes from power iteration; what is returned is its
        Rayleigh quotient plus the norm of its residual, so that it errs upwards, by about 1%. Differentiation
        takes it for a constant.
        """
        X, weight = lax.stop_gradient((self.X, self.sample_weight))

        def gram(v):
            z = X @ v
            return (z if weight is None else weight * z) @ X

        def improve(carry):
            v, _, _, step = carry
            u = gram(v)
            rayleigh = v @ u
            return u / _positive(jnp.linalg.norm(u)), rayleigh, jnp.linalg.norm(u - rayleigh * v), step + 1

        def unsure(carry):
            _, rayleigh, error, step = carry
            return (step < 300) & (error > 0.01 * rayleigh)

        v = jax.random.normal(jax.random.key(0), (X.shape[1],), X.dtype)
        start = (v / _positive(jnp.linalg.norm(v)), jnp.zeros((), X.dtype), jnp.ones((), X.dtype), 0)
        _, rayleigh, error, _ = lax.while_loop(unsure, improve, start)
        return lax.stop_gradient(self.curvature) * (rayleigh + error) / self.count

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


def _positive(norm: Array) -> Array:
    # a zero matrix has the zero vector for every iterate: keep 0 / 0 out of it
    return jnp.where(norm == 0, 1, norm)


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
