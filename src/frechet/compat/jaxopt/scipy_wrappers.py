"""ScipyMinimize, ScipyBoundedMinimize, ScipyLeastSquares, ScipyBoundedLeastSquares and ScipyRootFinding."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Scalar

from frechet.compat.jaxopt.base import OptStep, Solver, unwrapped
from frechet.compat.jaxopt.functions import Applied, WithGradient, objective
from frechet.compat.jaxopt.scipy_bridge import (
    Call,
    Fields,
    LbfgsInvHessProductPyTree,
    jnp_to_onp,
    made,
    make_jac_jnp_to_onp,
    make_onp_to_jnp,
    pytree_topology_from_example,
    unflattened,
)
from frechet.compat.jaxopt.settings import Settings, compiled
from frechet.convex.box import Box
from frechet.core.custom import custom_root
from frechet.problems.composite import Composite

__all__ = [
    "LbfgsInvHessProductPyTree",
    "ScipyBoundedLeastSquares",
    "ScipyBoundedMinimize",
    "ScipyLeastSquares",
    "ScipyLeastSquaresInfo",
    "ScipyMinimize",
    "ScipyMinimizeInfo",
    "ScipyRootFinding",
    "ScipyRootInfo",
    "ScipyWrapper",
    "jnp_to_onp",
    "make_jac_jnp_to_onp",
    "make_onp_to_jnp",
    "pytree_topology_from_example",
]

# What SciPy documents of its methods, by their names in lower case.
_WITHOUT_GRADIENTS = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_HESSIANS = ("dogleg", "trust-ncg", "trust-exact", "trust-krylov")
_BY_MINPACK = ("hybr", "lm")  # they take Jacobians and count no iterations


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


class _Posed(NamedTuple):
    """What is evaluated: the functions, the form of the parameters, and further arguments."""

    settings: Settings
    like: Any
    args: tuple
    kwargs: dict[str, Any]

    def solver(self) -> Any:
        return self.settings.solver()

    def params(self, z: Array) -> Any:
        return make_onp_to_jnp(pytree_topology_from_example(self.like))(z)


@dataclasses.dataclass(eq=False)
class ScipyWrapper(Solver):
    """What the five share: one call of SciPy's for a ``run``, within ``jit`` and ``vmap`` too."""

    method: str | None = None
    dtype: Any = np.float64
    jit: bool = True
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False

    @abc.abstractmethod
    def _call(self, posed: _Posed, bounds: Any) -> Call:
        """What to ask of SciPy."""

    @abc.abstractmethod
    def _info(self, fields: Fields) -> Any:
        """The state."""

    @abc.abstractmethod
    def _zero(self, params: Any, scale: Any, bounds: Any, args: tuple, kwargs: dict) -> Any:
        """The optimality map."""

    def _scale(self) -> Any:
        """A number among the options that the optimality map depends on."""
        return None

    def _example(self, params: Any, args: tuple, kwargs: dict) -> dict[str, tuple[tuple, dict]]:
        call = (params, *args), kwargs
        return dict.fromkeys(("fun", "value_and_grad", "optimality_fun"), call)

    def _bare(self) -> Any:
        """The solver without what its functions do not depend on, and what may be unlike itself each time."""
        unlike = {"callback", "options", "implicit_diff_solve"} & set(self.attribute_names())
        return dataclasses.replace(self, **dict.fromkeys(unlike))

    def _solve(self, init_params: Any, bounds: Any, args: tuple, kwargs: dict) -> OptStep:
        start = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(v, float)), unwrapped(init_params))
        settings = Settings.of(self._bare(), self._example(start, args, kwargs) if self.jit else {})

        def optimality(params, settings, scale, bounds, args, kwargs):
            return settings.solver()._zero(params, scale, bounds, args, kwargs)

        @custom_root(optimality, has_aux=True, solve=self.implicit_diff_solve)
        def solve(init_params, settings, scale, bounds, args, kwargs):
            posed = _Posed(settings, init_params, args, kwargs)
            start = ravel_pytree(init_params)[0]
            infinite = jnp.full_like(start, jnp.inf)
            lower, upper = -infinite, infinite
            if bounds is not None:
                lower, upper = (_raveled(b, init_params).astype(start.dtype) for b in bounds)
            evaluate = _compiled if self.jit else _evaluated
            fields = made(self._call(posed, bounds), evaluate, posed, start, lower, upper)
            return posed.params(fields["x"]), self._info(fields)

        start = jax.tree.map(jax.lax.stop_gradient, start)
        return OptStep(*solve(start, settings, self._scale(), bounds, args, kwargs))


def _raveled(bound: Any, like: Any) -> Array:
    """A bound as a vector; one number stands for all entries of a leaf."""
    return ravel_pytree(jax.tree.map(lambda v, b: jnp.broadcast_to(jnp.asarray(b), v.shape), like, bound))[0]


def _evaluated(program: Callable, posed: _Posed, z: Array) -> Array:
    return program(posed, z)


def _compiled(program: Callable, posed: _Posed, z: Array) -> Array:
    settings, *rest = posed
    return compiled(_program, settings, program, rest, z)


def _program(settings: Settings, program: Callable, rest: list, z: Array) -> Array:
    return program(_Posed(settings, *rest), z)


def _form(fields: dict[str, Any], start: Array) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of fields by name, with their kind where it is not that of the parameters."""
    kinds = {"success": bool, "status": jnp.int32, "nit": jnp.int32, "nfev": jnp.int32}
    kinds |= {"njev": jnp.int32, "nhev": jnp.int32}
    return {name: jax.ShapeDtypeStruct(s, kinds.get(name, start.dtype)) for name, s in fields.items()}


# ------------------------------------------------------------------ minimize


def _value(posed: _Posed, z: Array) -> Array:
    return jnp.reshape(objective(posed.solver(), posed.args, posed.kwargs)(posed.params(z)), 1)


def _value_and_gradient(posed: _Posed, z: Array) -> Array:
    fun = objective(posed.solver(), posed.args, posed.kwargs)
    both = fun.with_gradient if isinstance(fun, WithGradient) else jax.value_and_grad(fun.pair, has_aux=True)
    (value, _), gradient = both(posed.params(z))
    gradient = ravel_pytree(gradient)[0]
    return jnp.concatenate([jnp.reshape(value, 1).astype(gradient.dtype), gradient])


def _hessian(posed: _Posed, z: Array) -> Array:
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
        return _composite(objective(self, args, kwargs), bounds).optimality(params)

    def _call(self, posed: _Posed, bounds: Any) -> Call:
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
        return Call(drive, programs, _form(fields, start), max(1 + n, n * n))

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


def _composite(fun: Callable, bounds: Any) -> Composite:
    return Composite(fun) if bounds is None else Composite(fun, Box(*bounds))


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


# ------------------------------------------------------------------ least_squares and root


def _residual(posed: _Posed, z: Array) -> Array:
    solver = posed.solver()
    return ravel_pytree(solver._function(posed.args, posed.kwargs)(posed.params(z)))[0]


def _jacobian(posed: _Posed, z: Array) -> Array:
    of = jax.jacrev if posed.solver().use_jacrev else jax.jacfwd
    return jnp.ravel(of(lambda z: _residual(posed, z))(z))


# Of residuals, not their squares, whose roots have no gradient at 0.
_LOSSES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z**2,
    "soft_l1": lambda z: 2 * (jnp.sqrt(1 + z**2) - 1),
    "huber": lambda z: 2 * optax.losses.huber_loss(z),
    "cauchy": lambda z: jnp.log1p(z**2),
    "arctan": lambda z: jnp.arctan(z**2),
}


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

        return _composite(cost, bounds).optimality(params)

    def _call(self, posed: _Posed, bounds: Any) -> Call:
        start = ravel_pytree(posed.like)[0]
        n, m = start.size, jax.eval_shape(lambda z: _residual(posed, z), start).size
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

        form = _form({"x": (n,)} | dict.fromkeys(_FIT, ()) | {"fun": (m,)}, start)
        return Call(drive, (_residual, _jacobian), form, m * n)

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

    def _call(self, posed: _Posed, bounds: Any) -> Call:
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

        form = _form(dict.fromkeys(_ROOT, ()) | {"x": (n,), "fun": (n,)}, start)
        return Call(drive, (_residual, _jacobian), form, n * n)

    def _info(self, fields: Fields) -> ScipyRootInfo:
        iterations = None if (self.method or "hybr") in _BY_MINPACK else fields["nit"]
        counts = fields["nfev"]
        return ScipyRootInfo(fields["fun"], fields["success"], fields["status"], iterations, counts)


_ROOT = ("x", "fun", "success", "status", "nit", "nfev")
