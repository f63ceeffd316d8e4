"""ScipyMinimize and ScipyBoundedMinimize."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from frechet.compat.jaxopt.base import OptStep
from frechet.compat.jaxopt.functions import WithGradient, objective
from frechet.compat.jaxopt.scipy_bridge import (
    Call,
    Fields,
    LbfgsInvHessProductPyTree,
    make_onp_to_jnp,
    pytree_topology_from_example,
    unflattened,
)
from frechet.compat.jaxopt.scipy_wrapper import Posed, ScipyWrapper, composite, shaped

# What SciPy documents of its methods, by their names in lower case.
_WITHOUT_GRADIENTS = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_HESSIANS = ("dogleg", "trust-ncg", "trust-exact", "trust-krylov")


class ScipyMinimizeInfo(NamedTuple):
    """State of `ScipyMinimize`: what SciPy's result holds.

    Attributes:
        fun_val: the least value.
        success: whether SciPy's own test was met.
        status: SciPy's code for how it ended.
        iter_num: iterations.
        hess_inv: approximation of the inverse Hessian; None where the method has none.
        num_fun_eval: values.
        num_jac_eval: gradients.
        num_hess_eval: Hessians.
    """

    fun_val: Any
    success: Any
    status: Any
    iter_num: Any
    hess_inv: Any
    num_fun_eval: Any = 0
    num_jac_eval: Any = 0
    num_hess_eval: Any = 0


def _value(posed: Posed, z: Array) -> Array:
    return jnp.reshape(objective(posed.solver(), posed.args, posed.kwargs)(posed.params(z)), 1)


def _value_and_gradient(posed: Posed, z: Array) -> Array:
    fun = objective(posed.solver(), posed.args, posed.kwargs)
    both = fun.with_gradient if isinstance(fun, WithGradient) else jax.value_and_grad(fun.pair, has_aux=True)
    (value, _), gradient = both(posed.params(z))
    gradient = ravel_pytree(gradient)[0]
    return jnp.concatenate([jnp.reshape(value, 1).astype(gradient.dtype), gradient])


def _hessian(posed: Posed, z: Array) -> Array:
    return jnp.ravel(jax.jacfwd(lambda z: _value_and_gradient(posed, z)[1:])(z))


@dataclasses.dataclass(eq=False)
class ScipyMinimize(ScipyWrapper):
    """Minimises ``fun(params, *args)`` by `scipy.optimize.minimize`; differentiable in the arguments.

    Over the dialogue of `frechet.solvers.Scipy`, so that ``run`` may be part of a compiled program.

    Args:
        method: SciPy's ``method``; those that need Hessians get them.
        dtype: what SciPy gets its numbers in.
        jit: compile the function.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for derivatives.
        has_aux: whether ``fun`` returns auxiliary data.
        fun: the function.
        callback: called with the parameters after each iteration; in a compiled program they are NumPy's,
            and it must not call JAX.
        tol: SciPy's ``tol``.
        options: SciPy's ``options`` but for ``maxiter``.
        maxiter: most iterations (TNC: evaluations).
        value_and_grad: whether ``fun`` returns its gradient too, or the function that does.

    Raises:
        ValueError: ``maxiter`` among the options.
    """

    fun: Callable = None  # pyright: ignore[reportAssignmentType]
    callback: Callable | None = None
    tol: float | None = None
    options: dict[str, Any] | None = None
    maxiter: int = 500
    value_and_grad: bool | Callable = False

    def __post_init__(self):
        if "maxiter" in (self.options or {}):
            raise ValueError("maxiter is an argument of its own, not one of the options")

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """One call of SciPy's from ``init_params``."""
        return self._solve(init_params, None, args, kwargs)

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """The gradient."""
        return self._zero(params, None, None, args, kwargs)

    def _zero(self, params: Any, scale: Any, bounds: Any, args: tuple, kwargs: dict) -> Any:
        return composite(objective(self, args, kwargs), bounds).optimality(params)

    def _call(self, posed: Posed, bounds: Any) -> Call:
        start = ravel_pytree(posed.like)[0]
        n, method = start.size, str(self.method).lower()
        fields: dict[str, Any] = {"x": (n,)} | dict.fromkeys(_MINIMIZE, ())
        if method == "bfgs" or (self.method is None and bounds is None):
            fields["hess_inv"] = (n, n)
        if method == "l-bfgs-b" or (self.method is None and bounds is not None):
            fields["sk"] = fields["yk"] = ((self.options or {}).get("maxcor", 10), n)
        within = isinstance(start, Tracer)

        def callback(x: np.ndarray, *_: Any) -> Any:
            assert self.callback is not None
            topology = pytree_topology_from_example(posed.like)
            if not within:
                return self.callback(make_onp_to_jnp(topology)(x))
            # A callback of a program that waits for it must not run another.
            return self.callback(unflattened(topology, np.split(x, np.cumsum(topology.sizes)[:-1])))

        def drive(start: np.ndarray, lower: np.ndarray, upper: np.ndarray, ask: Callable) -> Fields:
            def value_and_gradient(x: np.ndarray) -> tuple:
                answer = np.asarray(ask(1, x)[: 1 + n], self.dtype)
                return answer[0], answer[1:]

            how: dict[str, Any] = {"fun": value_and_gradient, "jac": True}
            if method in _WITHOUT_GRADIENTS:
                how = {"fun": lambda x: np.asarray(ask(0, x), self.dtype)[0]}
            if method in _WITH_HESSIANS:
                how["hess"] = lambda x: np.asarray(ask(2, x), self.dtype).reshape(n, n)
            if bounds is not None:
                how["bounds"] = list(zip(lower, upper, strict=True))
            result = scipy.optimize.minimize(
                x0=np.asarray(start, self.dtype),
                tol=self.tol,
                method=self.method,
                callback=callback if self.callback else None,
                options={"maxfun" if method == "tnc" else "maxiter": self.maxiter} | (self.options or {}),
                **how,
            )
            told = {name: result.get(name, 0) for name in ("x", *_MINIMIZE, "hess_inv")}
            if "sk" in fields:
                told |= {
                    name: _padded(getattr(told["hess_inv"], name), fields[name]) for name in ("sk", "yk")
                }
            return told

        programs = (_value, _value_and_gradient, _hessian)
        return Call(drive, programs, shaped(fields, start), max(1 + n, n * n))

    def _info(self, fields: Fields) -> ScipyMinimizeInfo:
        hess_inv = fields.get("hess_inv")
        if "sk" in fields:
            pairs = fields["sk"], fields["yk"]
            if not isinstance(pairs[0], Tracer):
                pairs = [v[np.any(np.asarray(pairs[0]) != 0, axis=1)] for v in pairs]
            hess_inv = LbfgsInvHessProductPyTree(*pairs)
        fun, success, status, nit, *counts = (fields[name] for name in _MINIMIZE)
        return ScipyMinimizeInfo(fun, success, status, nit, hess_inv, *counts)


_MINIMIZE = ("fun", "success", "status", "nit", "nfev", "njev", "nhev")


def _padded(rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.concatenate([rows, np.zeros((shape[0] - len(rows), shape[1]))])


@dataclasses.dataclass(eq=False)
class ScipyBoundedMinimize(ScipyMinimize):
    """As `ScipyMinimize` between bounds, ``run(init_params, bounds, *args)``.

    ``bounds`` is a pair of pytrees like the parameters, or None.
    """

    def run(self, init_params: Any, bounds: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """One call of SciPy's from ``init_params``."""
        return self._solve(init_params, bounds, args, kwargs)

    def optimality_fun(self, params: Any, bounds: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The projected gradient."""
        return self._zero(params, None, bounds, args, kwargs)
