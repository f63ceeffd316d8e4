"""ScipyRootFinding."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Scalar

from frechet.compat.jaxopt.base import OptStep
from frechet.compat.jaxopt.functions import Applied
from frechet.compat.jaxopt.scipy_bridge import Call, Fields
from frechet.compat.jaxopt.scipy_wrapper import Posed, ScipyWrapper, jacobian, residual, shaped

_BY_MINPACK = ("hybr", "lm")  # they take Jacobians and count no iterations


class ScipyRootInfo(NamedTuple):
    """State of `ScipyRootFinding`: what SciPy's result holds.

    Attributes:
        fun_val: the equations at the root, one vector.
        success: whether SciPy's own test was met.
        status: SciPy's code for how it ended.
        iter_num: iterations; None where the method does not count them.
        num_fun_eval: evaluations.
    """

    fun_val: Any
    success: Any
    status: Any
    iter_num: Any
    num_fun_eval: Any = 0


@dataclasses.dataclass(eq=False)
class ScipyRootFinding(ScipyWrapper):
    """Solves ``optimality_fun(params, *args) = 0`` by `scipy.optimize.root`, otherwise as `ScipyMinimize`.

    Args:
        method: SciPy's ``method``, "hybr" if None.
        dtype: what SciPy gets its numbers in.
        jit: compile the function.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for derivatives.
        has_aux: whether ``optimality_fun`` returns auxiliary data.
        optimality_fun: the equations, in the form of the parameters.
        tol: SciPy's ``tol``.
        options: SciPy's ``options``.
        use_jacrev: Jacobians by `jax.jacrev`, not `jax.jacfwd`.
    """

    optimality_fun: Callable = None  # pyright: ignore
    tol: float | None = None
    options: dict[str, Any] | None = None
    use_jacrev: bool = True

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """One call of SciPy's from ``init_params``."""
        return self._solve(init_params, None, args, kwargs)

    def l2_optimality_error(self, params: Any, *args: Any, **kwargs: Any) -> Scalar:
        """Euclidean norm of the equations."""
        return jnp.linalg.norm(ravel_pytree(self._zero(params, None, None, args, kwargs))[0])

    def _function(self, args: tuple, kwargs: dict) -> Applied:
        return Applied(self.optimality_fun, args, kwargs, self.has_aux)

    def _zero(self, params: Any, scale: Any, bounds: Any, args: tuple, kwargs: dict) -> Any:
        return self._function(args, kwargs)(params)

    def _call(self, posed: Posed, bounds: Any) -> Call:
        start, method = ravel_pytree(posed.like)[0], self.method or "hybr"
        n = start.size

        def drive(start: np.ndarray, lower: np.ndarray, upper: np.ndarray, ask: Callable) -> Fields:
            count = 0

            def residual(x: np.ndarray) -> np.ndarray:
                nonlocal count
                count += 1
                return np.asarray(ask(0, x)[:n], self.dtype)

            extra: dict[str, Any] = {}
            if method in _BY_MINPACK:
                extra["jac"] = lambda x: np.asarray(ask(1, x), self.dtype).reshape(n, n)
            x0 = np.asarray(start, self.dtype)
            result = scipy.optimize.root(
                residual, x0, method=method, tol=self.tol, options=self.options, **extra
            )
            # Some methods do not count evaluations.
            return {"nit": 0, "nfev": count, "status": 0} | {k: v for k, v in result.items() if k in _ROOT}

        form = shaped(dict.fromkeys(_ROOT, ()) | {"x": (n,), "fun": (n,)}, start)
        return Call(drive, (residual, jacobian), form, n * n)

    def _info(self, fields: Fields) -> ScipyRootInfo:
        iterations = None if (self.method or "hybr") in _BY_MINPACK else fields["nit"]
        counts = fields["nfev"]
        return ScipyRootInfo(fields["fun"], fields["success"], fields["status"], iterations, counts)


_ROOT = ("x", "fun", "success", "status", "nit", "nfev")
