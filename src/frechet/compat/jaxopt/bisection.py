"""Bisection."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean, OptStep
from frechet.compat.jaxopt.functions import Applied
from frechet.convex.parameters import known
from frechet.problems.equations import Root
from frechet.solvers.fixed_point import bisection
from frechet.solvers.fixed_point.bisection import BisectionState as NativeState


class BisectionState(NamedTuple):
    """State of `Bisection`.

    Attributes:
        iter_num: updates so far.
        value: of the function.
        error: its modulus.
        low: lower end of the bracket.
        high: upper end of the bracket.
        sign: 1 where the function rises in the bracket, -1 where it falls, 0 where it has one sign at both
            ends.
        aux: ``optimality_fun``'s auxiliary data.
        num_fun_eval: evaluations so far, those for the auxiliary data left out.
        inner: the native state.
    """

    iter_num: Any
    value: Any
    error: Any
    low: Any
    high: Any
    sign: Any
    aux: Any
    num_fun_eval: Any
    inner: NativeState


@dataclasses.dataclass(eq=False)
class Bisection(Adapter):
    """A root of ``optimality_fun(x, *args)``, a function of one number; over `frechet.solvers.Bisection`.

    Args:
        optimality_fun: the function.
        lower: lower end of the bracket.
        upper: upper end of the bracket.
        maxiter: most iterations.
        tol: for the modulus of the function.
        check_bracket: raise where the function has one sign at both ends, unless inside of ``jit``.
        verbose: print each iteration.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit derivatives.
        has_aux: whether ``optimality_fun`` returns auxiliary data.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.

    Raises:
        ValueError: by ``run`` and ``init_state``, where ``check_bracket`` says so.
    """

    optimality_fun: Callable = dataclasses.field()  # or the method of this name would be its default
    lower: Any = dataclasses.field()
    upper: Any = dataclasses.field()
    maxiter: int = 30
    tol: float = 1e-5
    check_bracket: bool = True
    verbose: bool | int = False
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = BisectionState

    def __post_init__(self):
        # As arrays they are no part of the program.
        self.lower, self.upper = jnp.asarray(self.lower, float), jnp.asarray(self.upper, float)

    def function(self, *args: Any, **kwargs: Any) -> Applied:
        return Applied(self.optimality_fun, args, kwargs, self.has_aux)

    def problem(self, *args: Any, **kwargs: Any) -> Root:
        return Root(self.function(*args, **kwargs), bracket=(self.lower, self.upper))

    def native(self, iter_num: Scalar) -> bisection.Bisection:
        return bisection.Bisection()

    def root_fun(self, params: Array, *args: Any, **kwargs: Any) -> Array:
        return self.problem(*args, **kwargs).optimality(params)

    def example_calls(
        self, init_params: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, tuple[tuple, dict]]:
        return {"optimality_fun": ((self.upper, *args), kwargs)}

    def init_state(self, init_params: Any = None, *args: Any, **kwargs: Any) -> BisectionState:
        # The native solver evaluates its start, and should know the sign at the upper end.
        return self._checked(super().init_state(self.upper, *args, **kwargs))

    def run(self, init_params: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        step = super().run(self.upper, *args, **kwargs)
        self._checked(step.state)
        return step

    def advance(self, params: Any, state: BisectionState, *args: Any, **kwargs: Any) -> OptStep:
        ahead = super().advance(state.inner.x, state, *args, **kwargs)
        return OptStep(ahead.params, ahead.state._replace(sign=state.sign))

    def shown(self, params: Any, inner: NativeState, problem: Any, count: Scalar) -> dict[str, Any]:
        at_upper = jnp.sign(inner.value)
        rises = jnp.where(inner.sign == 0, at_upper, -inner.sign)
        return {
            "value": inner.value,
            "error": jnp.abs(inner.value),
            "low": inner.lower,
            "high": inner.upper,
            "sign": jnp.where(inner.sign * at_upper > 0, 0, rises).astype(int),
            "num_fun_eval": inner.calls.value,
        }

    def _checked(self, state: BisectionState) -> BisectionState:
        # Both signs are zero where both ends are roots, which is no reason to complain.
        failed = (state.sign == 0) & (state.inner.sign != 0)
        if self.check_bracket and known(failed) and jnp.any(failed):
            raise ValueError(
                f"optimality_fun has the same sign at lower={self.lower} and upper={self.upper}; "
                "a bracket needs a change of sign"
            )
        return state
