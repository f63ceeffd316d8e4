"""Solvers that fail a check of bad input or of derivatives."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from frechet import Calls, Composite, FixedPoint, Root, State
from frechet.workbench.checking import Case
from frechet.workbench.checking.canonical import all_cases
from tests.workbench.checking.sound import Plain, documented, fails

# ------------------------------------------------------------------ bad input


@fails("nan_in_data")
@documented
class RefusesNaN(Plain):
    def init(self, problem, x0, *, key):
        x0 = eqx.error_if(x0, jnp.isnan(problem.value(x0)), "no NaN, please")
        return State(x0, Calls().add(value=1))


@fails("nonfinite_start")
@documented
class RefusesInf(Plain):
    def init(self, problem, x0, *, key):
        x0 = eqx.error_if(x0, jnp.any(jnp.isinf(ravel_pytree(x0)[0])), "no inf, please")
        return State(x0, Calls())


@fails("wrong_start")
@documented
class SilentAssertion(Plain):
    def init(self, problem, x0, *, key):
        for v in jax.tree.leaves(x0):
            assert v.ndim < 2 or v.shape[0] == 1
        return State(x0, Calls())


@fails("wrong_kind")
@documented
class TakesAnything(Plain):
    def fits(self, problem):
        return None if isinstance(problem, Composite | Root | FixedPoint) else "takes nothing else"

    @classmethod
    def canonical(cls):
        return [c for c in all_cases() if isinstance(c.problem(), Composite)]


# ------------------------------------------------------------------ derivatives


class Opaque(Composite):
    """Its optimality map stops derivatives at the data."""

    def optimality(self, x):
        return jax.lax.stop_gradient(Composite(self.f, self.g)).optimality(x)


class ReverseOnly(Composite):
    """Its optimality map has a reverse-mode rule only; the implicit derivative needs both modes."""

    def optimality(self, x):
        return _reverse_only(Composite(self.f, self.g), x)


@jax.custom_vjp
def _reverse_only(problem, x):
    return problem.optimality(x)


def _backward(at, cotangent):
    return jax.vjp(lambda problem, x: problem.optimality(x), *at)[1](cotangent)


_reverse_only.defvjp(lambda problem, x: (problem.optimality(x), (problem, x)), _backward)


def _as_kind(kind: type[Composite]) -> list[Case]:
    case = next(c for c in all_cases() if c.name == "logistic terms, array")
    return [dataclasses.replace(case, make=lambda t: kind(case.make(t).f))]


@fails("derivative")
@documented
class HidesData(Plain):
    @classmethod
    def canonical(cls):
        return _as_kind(Opaque)


@fails("jvp_equals_vjp")
@documented
class NoForwardMode(Plain):
    @classmethod
    def canonical(cls):
        return _as_kind(ReverseOnly)
