"""``jaxopt.objective``: mean losses of linear models as functions of the parameters and ``data = (X, y)``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Scalar

from frechet.compat.jaxopt import loss
from frechet.compat.jaxopt.base import LinearOperator

Data = tuple[Array, Array]


class CompositeLinearFunction:
    """``subfun(linop(params), *args) + <params, b(*args)>``, what coordinate descent takes apart."""

    def b(self, *args: Any, **kwargs: Any) -> Any:
        """The linear term, None for none."""
        return None

    def lipschitz_const(self, hyperparams: Any) -> Any:
        """Lipschitz constant of the gradient of ``subfun``."""
        raise NotImplementedError

    def columnwise_lipschitz_const(self, *args: Any, **kwargs: Any) -> Any:
        """Lipschitz constants of the gradients of single rows of the parameters."""
        raise NotImplementedError

    def row_curvature(self, *args: Any, **kwargs: Any) -> Any:
        """Bounds of the curvature in single rows of the parameters; the tighter, the faster the descent."""
        return self.columnwise_lipschitz_const(*args, **kwargs)

    def subfun(self, predictions: Any, *args: Any, **kwargs: Any) -> Any:
        """The function of the predictions."""
        raise NotImplementedError

    def make_linop(self, *args: Any, **kwargs: Any) -> LinearOperator:
        """The linear operator."""
        raise NotImplementedError

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        value = self.subfun(self.make_linop(*args, **kwargs).matvec(params), *args, **kwargs)
        b = self.b(*args, **kwargs)
        return value if b is None else value + jnp.vdot(params, b)


class _MeanLoss(CompositeLinearFunction):
    """The mean of ``pointwise(y, prediction)``, whose second derivative is at most ``curvature``.

    The columnwise constants are those of the sum, not the mean, as in JAXopt.
    """

    def __init__(self, pointwise: Callable[[Any, Any], Any], curvature: float):
        self.pointwise, self.curvature = pointwise, curvature

    def subfun(self, predictions: Array, data: Data) -> Scalar:
        return jnp.mean(jax.vmap(self.pointwise)(data[1], predictions))

    def make_linop(self, data: Data) -> LinearOperator:
        return LinearOperator(data[0])

    def columnwise_lipschitz_const(self, data: Data) -> Array:
        """Constants of single coordinates, shape (n_features,)."""
        return self.make_linop(data).column_l2_norms(squared=True) * self.curvature

    def row_curvature(self, data: Data) -> Array:
        """Those of the mean, shape (n_features,)."""
        return self.make_linop(data).column_l2_norms(squared=True) * (self.curvature / len(data[1]))


class LeastSquares(_MeanLoss):
    """``mean((X W - y)^2) / 2``."""

    def __init__(self):
        super().__init__(lambda y, z: jnp.mean(jnp.square(z - y)) / 2, 1.0)


class BinaryLogreg(_MeanLoss):
    """Mean logistic loss of labels 0 or 1."""

    def __init__(self):
        super().__init__(loss.binary_logistic_loss, 0.25)


class MulticlassLogreg(_MeanLoss):
    """Mean cross entropy of integer labels; the parameters have shape (n_features, n_classes)."""

    def __init__(self):
        super().__init__(loss.multiclass_logistic_loss, 0.5)


class MulticlassLinearSvmDual(CompositeLinearFunction):
    """``|X^T (Y - beta)|^2 / (2 l2reg) + <beta, Y - 1>`` with one-hot labels ``Y``."""

    def subfun(self, predictions: Array, l2reg: Any, data: Data) -> Scalar:
        X, Y = data
        weights = X.T @ Y - predictions
        return 0.5 / l2reg * jnp.vdot(weights, weights)

    def make_linop(self, l2reg: Any, data: Data) -> LinearOperator:
        return LinearOperator(data[0].T)

    def columnwise_lipschitz_const(self, l2reg: Any, data: Data) -> Array:
        """Constants of single rows of ``beta``, shape (n_samples,)."""
        return self.make_linop(l2reg, data).column_l2_norms(squared=True)

    def b(self, l2reg: Any, data: Data) -> Array:
        return data[1] - 1


least_squares = LeastSquares()
binary_logreg = BinaryLogreg()
multiclass_logreg = MulticlassLogreg()
multiclass_linear_svm_dual = MulticlassLinearSvmDual()


def ridge_regression(params: Array, l2reg: Any, data: Data) -> Scalar:
    """`least_squares` plus ``l2reg / 2 * |params|^2``."""
    return least_squares(params, data) + l2reg / 2 * jnp.sum(params**2)


def multiclass_logreg_with_intercept(params: tuple[Array, Array], data: Data) -> Scalar:
    """`multiclass_logreg` of predictions ``X W + b`` with ``params = (W, b)``."""
    W, b = params
    return multiclass_logreg.subfun(data[0] @ W + b, data)


def l2_multiclass_logreg(W: Array, l2reg: Any, data: Data) -> Scalar:
    """`multiclass_logreg` plus ``l2reg / 2 * |W|^2``."""
    return multiclass_logreg(W, data) + l2reg / 2 * jnp.sum(W**2)


def l2_multiclass_logreg_with_intercept(params: tuple[Array, Array], l2reg: Any, data: Data) -> Scalar:
    """`multiclass_logreg_with_intercept` plus ``l2reg / 2 * |W|^2``."""
    return multiclass_logreg_with_intercept(params, data) + l2reg / 2 * jnp.sum(params[0] ** 2)
