"""Solvers that fail a check of `init` and `step`."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from frechet import Calls, State
from frechet.core import tree
from tests.workbench.checking.sound import BROKEN, Noisy, Plain, documented, fails


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
