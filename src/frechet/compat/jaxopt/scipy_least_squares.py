"""ScipyLeastSquares and ScipyBoundedLeastSquares."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Scalar

from frechet.compat.jaxopt.base import OptStep
from frechet.compat.jaxopt.functions import Applied
from frechet.compat.jaxopt.scipy_bridge import Call, Fields, jnp_to_onp
from frechet.compat.jaxopt.scipy_wrapper import Posed, ScipyWrapper, composite, jacobian, residual, shaped

# Of residuals, not their squares, whose roots have no gradient at 0.
_LOSSES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z**2,
    "soft_l1": lambda z: 2 * (jnp.sqrt(1 + z**2) - 1),
    "huber": lambda z: 2 * optax.losses.huber_loss(z),
    "cauchy": lambda z: jnp.log1p(z**2),
    "arctan": lambda z: jnp.arctan(z**2),
}


class ScipyLeastSquaresInfo(NamedTuple):
    """State of `ScipyLeastSquares`: what SciPy's result holds.

    Attributes:
        cost_val: half the sum of the losses.
        fun_val: the residuals, one vector.
        success: whether SciPy's own test was met.
        status: SciPy's code for how it ended.
        num_fun_eval: evaluations.
        num_jac_eval: Jacobians.
        error: largest entry of the gradient, scaled by the distance from bounds.
    """

    cost_val: Any
    fun_val: Any
    success: Any
    status: Any
    num_fun_eval: Any
    num_jac_eval: Any
    error: Any


@dataclasses.dataclass(eq=False)
class ScipyLeastSquares(ScipyWrapper):
    r"""Minimises $\tfrac12\sum_i \rho(r_i^2)$ for residuals ``fun(params, *args)``.

    By `scipy.optimize.least_squares`, otherwise as `ScipyMinimize`.

    Args:
        method: SciPy's ``method``, "trf" if None.
        dtype: what SciPy gets its numbers in.
        jit: compile the function.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for derivatives.
        has_aux: whether ``fun`` returns auxiliary data.
        fun: the residuals.
        loss: $\rho$ by SciPy's name.
        options: further arguments of SciPy's, ``x_scale`` as a pytree too.
        use_jacrev: Jacobians by `jax.jacrev`, not `jax.jacfwd`.

    Raises:
        ValueError: an unknown loss.
    """

    fun: Callable = None  # pyright: ignore[reportAssignmentType]
    loss: str = "linear"
    options: dict[str, Any] | None = None
    use_jacrev: bool = True

    def __post_init__(self):
        if self.loss not in _LOSSES:
            raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {self.loss!r}")

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """One call of SciPy's from ``init_params``."""
        return self._solve(init_params, None, args, kwargs)

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """The gradient of the mean of the losses."""
        return self._zero(params, self._scale(), None, args, kwargs)

    def _scale(self) -> float:
        return float((self.options or {}).get("f_scale", 1.0))

    def _function(self, args: tuple, kwargs: dict) -> Applied:
        return Applied(self.fun, args, kwargs, self.has_aux)

    def _zero(self, params: Any, scale: Any, bounds: Any, args: tuple, kwargs: dict) -> Any:
        residuals = self._function(args, kwargs)

        def cost(params: Any) -> Scalar:
            r = ravel_pytree(residuals(params))[0]
            return 0.5 * scale**2 * jnp.mean(_LOSSES[self.loss](r / scale))

        return composite(cost, bounds).optimality(params)

    def _call(self, posed: Posed, bounds: Any) -> Call:
        start = ravel_pytree(posed.like)[0]
        n, m = start.size, jax.eval_shape(lambda z: residual(posed, z), start).size
        options = dict(self.options or {})
        if not isinstance(options.get("x_scale"), str | float | int | None):
            options["x_scale"] = jnp_to_onp(options["x_scale"], self.dtype)

        def drive(start: np.ndarray, lower: np.ndarray, upper: np.ndarray, ask: Callable) -> Fields:
            solve: Callable = scipy.optimize.least_squares
            result = solve(
                lambda x: np.asarray(ask(0, x)[:m], self.dtype),
                np.asarray(start, self.dtype),
                jac=lambda x: np.asarray(ask(1, x), self.dtype).reshape(m, n),
                bounds=(-np.inf, np.inf) if bounds is None else (lower, upper),
                method=self.method or "trf",
                loss=self.loss,
                **options,
            )
            return {name: result[name] or 0 if name == "njev" else result[name] for name in ("x", *_FIT)}

        form = shaped({"x": (n,)} | dict.fromkeys(_FIT, ()) | {"fun": (m,)}, start)
        return Call(drive, (residual, jacobian), form, m * n)

    def _info(self, fields: Fields) -> ScipyLeastSquaresInfo:
        return ScipyLeastSquaresInfo(*(fields[name] for name in _FIT))


_FIT = ("cost", "fun", "success", "status", "nfev", "njev", "optimality")


@dataclasses.dataclass(eq=False)
class ScipyBoundedLeastSquares(ScipyLeastSquares):
    """As `ScipyLeastSquares` between bounds, ``run(init_params, bounds, *args)``.

    ``bounds`` is a pair of pytrees like the parameters, or None.
    """

    def run(self, init_params: Any, bounds: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """One call of SciPy's from ``init_params``."""
        return self._solve(init_params, bounds, args, kwargs)

    def optimality_fun(self, params: Any, bounds: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The projected gradient of the mean of the losses."""
        return self._zero(params, self._scale(), bounds, args, kwargs)
