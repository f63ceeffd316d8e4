"""For every check a solver that is broken in one way, and fails it; the sound solver beside it passes."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from frechet import Calls, Composite, FixedPoint, Root, Solver, State
from frechet.core import tree
from frechet.solvers.registry import all_presets
from frechet.workbench.checking import Case, yield_checks
from frechet.workbench.checking.canonical import all_cases
from frechet.workbench.checking.runner import check_solver


class Plain(Solver):
    """The proximal gradient method with a fixed step.

    Source: Lions, Mercier 1979, Splitting algorithms for the sum of two nonlinear operators.

    Example:
        >>> solver = Plain()
    """

    accepts: ClassVar[type] = Composite
    step_size: Any = 0.4

    def init(self, problem, x0, *, key):
        return State(x0, Calls())

    def step(self, problem, state, *, key):
        x = tree.axpy(-self.step_size, problem.gradient(state.x), state.x)
        return State(problem.prox(x, self.step_size), state.calls.add(gradient=1, prox=1))


def documented(cls: type) -> type:
    """With a docstring that passes, so that what is broken is what is meant."""
    cls.__doc__ = Plain.__doc__
    return cls


@documented
class Noisy(Plain):
    stochastic: ClassVar[bool] = True

    def step(self, problem, state, *, key):
        s = self.step_size * jax.random.uniform(key, (), jnp.result_type(*jax.tree.leaves(state.x)), 0.9, 1.1)
        x = tree.axpy(-s, problem.gradient(state.x), state.x)
        return State(problem.prox(x, s), state.calls.add(gradient=1, prox=1))


@documented
class Short(Plain):
    converges: ClassVar[bool] = False
    step_size: Any = 0.01


BROKEN: dict[str, Callable[[], Solver]] = {}


def fails(name: str) -> Callable[[Callable[[], Solver]], Callable[[], Solver]]:
    """Registers a maker of a solver that fails the check of that name."""

    def register(make: Callable[[], Solver]) -> Callable[[], Solver]:
        BROKEN[name] = make
        return make

    return register


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


# ------------------------------------------------------------------ the protocol


@fails("state_form")
@documented
class GrowsState(Plain):
    class Grown(State):
        extra: Any

    def step(self, problem, state, *, key):
        new = super().step(problem, State(state.x, state.calls), key=key)
        return self.Grown(new.x, new.calls, jnp.zeros(3))


class WithScalar(State):
    scalar: Any


@fails("keeps_float32")
@documented
class DefaultDtype(Plain):
    def init(self, problem, x0, *, key):
        return WithScalar(x0, Calls(), jnp.ones(()))

    def step(self, problem, state, *, key):
        new = super().step(problem, State(state.x, state.calls), key=key)
        return WithScalar(new.x, new.calls, state.scalar * 0.5)


@fails("hyperparameter_arrays")
@documented
class WidensArrays(Plain):
    step_size: Any = 0.4

    def init(self, problem, x0, *, key):
        weak = jax.typeof(jnp.asarray(self.step_size)).weak_type
        return WithScalar(x0, Calls(), jnp.ones((), jax.tree.leaves(x0)[0].dtype if weak else float))

    def step(self, problem, state, *, key):
        new = super().step(problem, State(state.x, state.calls), key=key)
        return WithScalar(new.x, new.calls, state.scalar)


@documented
class AsksType(Plain):
    step_size: Any = 0.4

    def step(self, problem, state, *, key):
        size = 0.4 if jnp.result_type(self.step_size, np.float32) == np.float32 else 0.1
        x = tree.axpy(-size, problem.gradient(state.x), state.x)
        return State(problem.prox(x, size), state.calls.add(gradient=1, prox=1))


@fails("jit_equals_eager")
@documented
class KnowsWhetherTraced(Plain):
    def step(self, problem, state, *, key):
        traced = isinstance(jax.tree.leaves(state.x)[0], jax.core.Tracer)
        size = 0.4 if traced else 0.2
        x = tree.axpy(-size, problem.gradient(state.x), state.x)
        return State(problem.prox(x, size), state.calls.add(gradient=1, prox=1))


class _Host:
    """Something a pure function may not read."""

    def __init__(self):
        self.count = 0

    def next(self, *_):
        self.count += 1
        return np.asarray(self.count, np.int32)


def hosted(host: _Host) -> Any:
    return jax.pure_callback(host.next, jax.ShapeDtypeStruct((), jnp.int32), vmap_method="sequential")


def _perturbed(state: State, by: Any) -> State:
    return State(jax.tree.map(lambda v: v + (by * 1e-3).astype(v.dtype), state.x), state.calls)


@fails("scan_equals_loop")
@documented
class CountsCalls(Plain):
    """Every step ever taken, in whatever run, shifts the next one."""

    host: Any = eqx.field(static=True, default_factory=_Host)

    def step(self, problem, state, *, key):
        return _perturbed(super().step(problem, state, key=key), hosted(self.host))


BROKEN["same_key_same_result"] = BROKEN["resume"] = CountsCalls


@fails("vmap_equals_loop")
@documented
class MixesMembers(Plain):
    """A custom batching rule that averages over the members."""

    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        return State(jax.tree.map(_averaged, new.x), new.calls)


@jax.custom_batching.custom_vmap
def _averaged(v):
    return v


@_averaged.def_vmap
def _(size, batched, v):
    return jnp.broadcast_to(jnp.mean(v, axis=0), v.shape), True


BROKEN["vmap_isolates_nan"] = MixesMembers


@jax.custom_batching.custom_vmap
def _shared(v):
    return v


@_shared.def_vmap
def _(size, batched, v):
    return v + jnp.sum(v) * 0 + 1.0, True


@fails("vmap_freezes_finished")
@documented
class BatchedStartMoves(Plain):
    def init(self, problem, x0, *, key):
        count = _shared(tree.norm(x0))
        calls = Calls().add(gradient=jnp.where(count > tree.norm(x0) + 0.5, 1, 0))
        return State(x0, calls)


@fails("key_matters")
@documented
class IgnoresKey(Plain):
    stochastic: ClassVar[bool] = True


@fails("key_is_ignored")
@documented
class HidesKey(Noisy):
    stochastic: ClassVar[bool] = False


@fails("calls_exact")
@documented
class CountsHalf(Plain):
    def step(self, problem, state, *, key):
        new = super().step(problem, state, key=key)
        return State(new.x, state.calls.add(gradient=1))


@fails("calls_increase")
@documented
class ForgetsCalls(Plain):
    def step(self, problem, state, *, key):
        return State(super().step(problem, state, key=key).x, Calls().add(gradient=1, prox=1))


@fails("known_objective")
@documented
class TellsOldObjective(Plain):
    """The objective it tells is off."""

    def objective(self, problem, state):
        return super().objective(problem, state) + 1e-6


@fails("init_is_cheap")
@documented
class WarmsUp(Plain):
    def init(self, problem, x0, *, key):
        state = State(x0, Calls())
        for _ in range(3):
            state = self.step(problem, state, key=key)
        return State(x0, state.calls)


@fails("compiles_once")
@documented
class StaticFloat(Plain):
    step_size: float = eqx.field(static=True, default=0.4)


@fails("traces_user_function_twice")
@documented
class CallsUserFunction(Plain):
    def step(self, problem, state, *, key):
        for _ in range(3):
            problem.f(state.x)
        return super().step(problem, state, key=key)


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


# ------------------------------------------------------------------ the tests


def named(solver: Solver) -> dict[str, Callable[[], None]]:
    """The checks by name, none of them twice."""
    checks = list(yield_checks(solver))
    assert len(dict(checks)) == len(checks)
    return dict(checks)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_solver_fails(name: str) -> None:
    with pytest.raises(Exception) as failure:
        named(BROKEN[name]())[name]()
    assert len(str(failure.value)) > 20


def test_a_solver_that_does_something_else_with_arrays_fails() -> None:
    with pytest.raises(AssertionError, match="hyperparameters as arrays"):
        named(AsksType())["jit_equals_eager"]()


@pytest.mark.parametrize("name", named(Plain()))
def test_sound_solver_passes(name: str) -> None:
    named(Plain())[name]()


def test_sound_stochastic_solver_passes() -> None:
    checks = named(Noisy())
    for name in sorted(checks.keys() - named(Plain()).keys()):
        checks[name]()
    checks["solves_float64"]()


def test_sound_solver_that_does_not_converge_passes() -> None:
    checks = named(Short())
    for name in sorted(checks.keys() - named(Plain()).keys()):
        checks[name]()


def test_every_check_can_fail() -> None:
    every = {name for s in (Plain(), Noisy(), Short()) for name in named(s)}
    every |= {name for s in all_presets().values() for name in named(s)}
    assert every == set(BROKEN)


def test_check_solver_reports() -> None:
    results = check_solver(Undocumented)
    assert len(results) >= 25
    assert [r.name for r in results if not r.ok] == ["docstring"]
    wrong = next(r for r in results if not r.ok)
    assert "Source:" in wrong.detail and "\n" not in wrong.detail
    assert all(r.detail == "" and r.seconds >= 0 for r in results if r.ok)


def test_check_solver_takes_solvers_only() -> None:
    with pytest.raises(TypeError, match="Solver class or instance"):
        check_solver(3)  # pyright: ignore[reportArgumentType]


def test_class_without_ready_made_instance() -> None:
    class Demanding(Plain):
        depth: int = eqx.field(static=True, kw_only=True)

    (result,) = check_solver(Demanding)
    assert not result.ok and "presets()" in result.detail and "depth" in result.detail


def test_presets_that_are_no_instances() -> None:
    (result,) = check_solver(ClassForInstance)
    assert not result.ok and "instance of ClassForInstance" in result.detail


def test_fits_that_raises_is_reported() -> None:
    class Raises(Plain):
        def fits(self, problem):
            raise KeyError("nothing fits")

    failed = {r.name: r.detail for r in check_solver(Raises) if not r.ok}
    assert "nothing fits" in failed["has_canonical_problem"]


def test_presets_are_named_in_the_results() -> None:
    class Two(Plain):
        needs: ClassVar[frozenset[str]] = frozenset({"crystal ball"})

        @classmethod
        def presets(cls):
            return {"slow": cls(0.1), "fast": cls(0.4)}

    names = [r.name for r in check_solver(Two)]
    assert "slow: declarations" in names and "fast: declarations" in names
