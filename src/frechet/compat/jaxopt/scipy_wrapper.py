"""What JAXopt's SciPy classes share: one call of SciPy's for a ``run``, and its derivatives."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from frechet.compat.jaxopt.base import OptStep, Solver, unwrapped
from frechet.compat.jaxopt.scipy_bridge import (
    Call,
    Fields,
    made,
    make_onp_to_jnp,
    pytree_topology_from_example,
)
from frechet.compat.jaxopt.settings import Settings, compiled
from frechet.convex.box import Box
from frechet.core.custom import custom_root
from frechet.problems.composite import Composite


class Posed(NamedTuple):
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
    def _call(self, posed: Posed, bounds: Any) -> Call:
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
            posed = Posed(settings, init_params, args, kwargs)
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


def _evaluated(program: Callable, posed: Posed, z: Array) -> Array:
    return program(posed, z)


def _compiled(program: Callable, posed: Posed, z: Array) -> Array:
    settings, *rest = posed
    return compiled(_program, settings, program, rest, z)


def _program(settings: Settings, program: Callable, rest: list, z: Array) -> Array:
    return program(Posed(settings, *rest), z)


def shaped(fields: dict[str, Any], start: Array) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of fields by name, with their kind where it is not that of the parameters."""
    kinds = {"success": bool, "status": jnp.int32, "nit": jnp.int32, "nfev": jnp.int32}
    kinds |= {"njev": jnp.int32, "nhev": jnp.int32}
    return {name: jax.ShapeDtypeStruct(s, kinds.get(name, start.dtype)) for name, s in fields.items()}


def composite(fun: Callable, bounds: Any) -> Composite:
    return Composite(fun) if bounds is None else Composite(fun, Box(*bounds))


def residual(posed: Posed, z: Array) -> Array:
    solver = posed.solver()
    return ravel_pytree(solver._function(posed.args, posed.kwargs)(posed.params(z)))[0]


def jacobian(posed: Posed, z: Array) -> Array:
    of = jax.jacrev if posed.solver().use_jacrev else jax.jacfwd
    return jnp.ravel(of(lambda z: residual(posed, z))(z))
