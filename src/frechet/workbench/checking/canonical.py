"""Tiny problems whose solutions are known without the library: closed forms and NumPy enumeration.

A case is chosen for a solver by ``solver.fits(problem)`` alone. A new kind of problem adds cases here, a
function marked `canonical` each, and nothing else; a solver of a kind of its own brings its cases
in a class method ``canonical()``.
"""

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from frechet.core.problem import Problem
from frechet.core.solver import Solver

Parameters = dict[str, Any]
ROLES = ("array", "tree", "one", "many")


@dataclasses.dataclass(frozen=True)
class Case:
    r"""A problem as a function of its parameters, and its solution as another, computed independently.

    Attributes:
        name: what to call it.
        make: the problem of some parameters (JAX arrays).
        parameters: float64 NumPy arrays; at least one.
        x0: a start about one away from the solution.
        solve: the solution of some parameters, in NumPy and without this library.
        bound: a constant $c$ with $\|x - x^\star\| \le c\,\|\mathrm{optimality}(x)\|$.
        role: ``"array"`` (the usual), ``"tree"`` (x is a nested pytree), ``"one"`` or ``"many"`` unknowns.
    """

    name: str
    make: Callable[[Parameters], Problem]
    parameters: Parameters
    x0: PyTree[np.ndarray]
    solve: Callable[[Parameters], PyTree[np.ndarray]]
    bound: float
    role: str = "array"

    def problem(self, dtype: Any = None, **changed: np.ndarray) -> Problem:
        """The problem in a dtype (the default float dtype if left out), with some parameters changed."""
        return self.make(cast({**self.parameters, **changed}, dtype))

    @functools.cached_property
    def specimen(self) -> Problem:
        """The problem in float64, made once: for asking what kind it is and what it offers."""
        with jax.enable_x64(True):
            return self.problem()

    def start(self, dtype: Any = None) -> PyTree[Array]:
        """The start in a dtype."""
        return cast(self.x0, dtype)

    def solution(self, **changed: np.ndarray) -> PyTree[np.ndarray]:
        """The solution in float64."""
        return self.solve({**self.parameters, **changed})

    def spoiled(self) -> Parameters:
        """One parameter with its first entry replaced by NaN."""
        name, value = next(iter(self.parameters.items()))
        value = np.array(value, float)
        value.flat[0] = np.nan
        return {name: value}

    def moved(self, size: float = 0.01) -> Parameters:
        """All parameters changed a little."""
        rng = np.random.default_rng(1)
        return {k: v * (1 + size * rng.uniform(-1, 1, np.shape(v))) for k, v in self.parameters.items()}


def cast(values: PyTree[Any], dtype: Any = None) -> PyTree[Array]:
    """NumPy values as JAX arrays of a dtype."""
    return jax.tree.map(lambda v: jnp.asarray(v, float if dtype is None else dtype), values)


_makers: list[Callable[[], Iterable[Case]]] = []


def canonical(maker: Callable[[], Iterable[Case]]) -> Callable[[], Iterable[Case]]:
    """Registers a function that yields cases; it is asked once, since reference solutions take their time."""
    _makers.append(functools.cache(lambda: tuple(maker())))
    return maker


def all_cases() -> list[Case]:
    """Every case of the library's own kinds."""
    return [case for maker in _makers for case in maker()]


def cases_for(solver: Solver) -> list[Case]:
    """The first case of each role that a solver fits, its own before the library's; the usual role first."""
    own = list(getattr(type(solver), "canonical", list)())
    fitting = [c for c in [*own, *all_cases()] if solver.fits(c.specimen) is None]
    first = {c.role: c for c in reversed(fitting)}
    return [first[role] for role in ROLES if role in first]


# ------------------------------------------------------------------ functions that count their traces

_traced = threading.local()


def traced() -> int:
    """How often Python ran a canonical user function in this thread."""
    return getattr(_traced, "count", 0)


class UserFunction(eqx.Module):
    """What a user would write as a function of ``x``; `traced` counts the times Python runs it.

    Attributes:
        tag: distinguishes it from an equal function that JAX may have traced before.
    """

    tag: int = eqx.field(static=True, default=0, kw_only=True)

    def __call__(self, *args: PyTree[Array]) -> Any:
        _traced.count = traced() + 1
        return self.evaluate(*args)

    def evaluate(self, *args: Any) -> Any:
        """The function itself."""
        raise NotImplementedError


_tags = itertools.count(1)


def fresh_tag() -> int:
    """A tag not used before."""
    return next(_tags)


def retagged(problem: Problem, tag: int) -> Problem:
    """The problem with its user functions made new to JAX."""

    def renew(v: Any) -> Any:
        return dataclasses.replace(v, tag=tag) if isinstance(v, UserFunction) else v

    return jax.tree.map(renew, problem, is_leaf=lambda v: isinstance(v, UserFunction))


def count_user_functions(problem: Problem) -> int:
    """How many user functions a problem has."""
    leaves = jax.tree.leaves(problem, is_leaf=lambda v: isinstance(v, UserFunction))
    return sum(isinstance(v, UserFunction) for v in leaves)
