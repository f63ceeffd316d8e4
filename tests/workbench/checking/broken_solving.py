"""Solvers that fail a check of what they declare or of how they solve."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from frechet import Calls, State
from frechet.core import tree
from tests.workbench.checking.sound import Plain, Short, documented, fails

# ------------------------------------------------------------------ declarations


@fails("declarations")
@documented
class Fractional(Plain):
    check_every: ClassVar[Any] = 2.5


@fails("has_canonical_problem")
@documented
class Misspelt(Plain):
    needs: ClassVar[frozenset[str]] = frozenset({"gradeint"})


@fails("presets")
@documented
class ClassForInstance(Plain):
    @classmethod
    def presets(cls):
        return {"it": cls}


@fails("docstring")
class Undocumented(Plain):
    """Says nothing of where it comes from."""


@fails("pytree")
@documented
class Listing(Plain):
    schedule: Any = eqx.field(static=True, default_factory=lambda: [1, 2])


# ------------------------------------------------------------------ solving


@fails("solves_float64")
@documented
class SolvesAnother(Plain):
    def step(self, problem, state, *, key):
        state = super().step(problem, state, key=key)
        return State(tree.axpy(1e-6, jax.tree.map(jnp.ones_like, state.x), state.x), state.calls)


@fails("solves_float32")
@documented
class Float64Only(Plain):
    """Its differences are below what float32 resolves."""

    def step(self, problem, state, *, key):
        h = 1e-5

        def slope(v):
            flat, unravel = ravel_pytree(v)
            at = jax.vmap(lambda d: problem.value(unravel(flat + d)))
            E = h * jnp.eye(flat.size, dtype=flat.dtype)
            return unravel((at(E) - at(-E)) / (2 * h))

        x = tree.axpy(-self.step_size, slope(state.x), state.x)
        return State(problem.prox(x, self.step_size), state.calls.add(value=1, prox=1))


@fails("pytrees")
@documented
class FirstLeafOnly(Plain):
    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        old, leaves = jax.tree.leaves(state.x), jax.tree.leaves(new.x)
        x = jax.tree.unflatten(jax.tree.structure(state.x), [leaves[0], *old[1:]])
        return State(x, new.calls)


@fails("one_unknown")
@documented
class Standardises(Plain):
    """Divides by a standard deviation over the entries, which one entry does not have."""

    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        flat = ravel_pytree(new.x)[0]
        return State(jax.tree.map(lambda v: v + 0 / jnp.std(flat), new.x), new.calls)


@fails("approaches")
@documented
class StandsStill(Short):
    step_size: Any = 1e-9


@fails("objective_falls")
@documented
class Climbs(Plain):
    step_size: Any = -0.01

    def step(self, problem, state, *, key):
        x = tree.axpy(0.01, problem.gradient(state.x), state.x)
        return State(x, state.calls.add(gradient=1))


@fails("start_at_solution")
@documented
class MovesStart(Plain):
    def init(self, problem, x0, *, key):
        return State(jax.tree.map(lambda v: v + 1e-3, x0), Calls())


@fails("unreachable_tolerance")
@documented
class DividesByDecrease(Plain):
    """By a decrease of the objective that rounds to zero in the end."""

    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        decrease = problem.objective(state.x) - problem.objective(new.x)
        roundings = jnp.trunc(decrease / jnp.finfo(decrease.dtype).eps)
        return State(jax.tree.map(lambda v: v + 0 / roundings, new.x), new.calls.add(value=2))


@fails("max_steps")
@documented
class NeverFinite(Plain):
    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        return State(jax.tree.map(lambda v: v * jnp.nan, new.x), new.calls)
