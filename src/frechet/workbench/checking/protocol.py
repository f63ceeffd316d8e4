"""Checks of ``init`` and ``step``: forms, transformations, randomness, counts, resumption."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from frechet.core import lift, loop
from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.run import Budget, run
from frechet.core.solve import prepare, solve
from frechet.core.solver import Solver, State
from frechet.problems.density import Chains
from frechet.workbench.checking import canonical
from frechet.workbench.checking.canonical import Case, cast
from frechet.workbench.checking.common import (
    FEW,
    compilations,
    compiled,
    different,
    different_bits,
    few_steps,
    finite,
    key,
    shape_of,
    shapes,
    with_floats,
)
from frechet.workbench.checking.counting import Steps

# ------------------------------------------------------------------ forms


def _first_states(solver: Solver, case: Case, dtype: Any = None) -> tuple[Any, Any]:
    def of(problem: Any, x0: PyTree[Array], solver: Solver) -> tuple:
        state = solver.init(problem, x0, key=key())
        return state, solver.step(problem, state, key=key())

    return shape_of(solver, case, dtype, of)


def check_state_form(solver: Solver, case: Case) -> None:
    """States are `State` objects whose structure, shapes and dtypes do not change from step to step."""
    first, second = _first_states(solver, case)
    for state, where in ((first, "init"), (second, "step")):
        assert isinstance(state, State), f"{where} returned a {type(state).__name__}; extend frechet.State"
        assert isinstance(state.calls, Calls), f"{where} returned calls of type {type(state.calls).__name__}"
        want, got = shapes(jax.eval_shape(case.start)), shapes(state.x)
        assert want == got, f"the x that {where} returns is {got}, x0 is {want}; keep structure and dtypes"
    assert jax.tree.structure(first) == jax.tree.structure(second), (
        f"step returns the structure {jax.tree.structure(second)}, init {jax.tree.structure(first)}; "
        "fill in init what step will need"
    )
    a, b = shapes(first), shapes(second)
    changed = [f"{k} from {a[k]} to {b[k]}" for k in a if a[k] != b[k]]
    assert not changed, f"step changes the form of the state: {', '.join(changed)}"


def check_keeps_float32(solver: Solver, case: Case) -> None:
    """From float32 data every float of the state is float32, even where float64 is enabled."""
    for state, where in zip(_first_states(solver, case, np.float32), ("init", "step"), strict=True):
        wide = [k for k, form in shapes(state).items() if form.startswith(("float64", "complex128"))]
        assert not wide, (
            f"{where} on float32 data makes float64 of {', '.join(wide)}; make scalars with the dtype of x0"
        )


def check_hyperparameter_arrays(solver: Solver, case: Case) -> None:
    """Hyperparameters may be JAX arrays; what steps give then is compared where they are not compiled."""
    arrays = with_floats(solver, lambda v: jnp.asarray(v, np.float32))
    assert arrays is not None
    state = _first_states(arrays, case, np.float32)[1]
    wide = [k for k, form in shapes(state).items() if form.startswith("float64")]
    assert not wide, f"with hyperparameters as arrays the state has float64 entries {', '.join(wide)}"


# ------------------------------------------------------------------ transformations


def check_jit_equals_eager(solver: Solver, case: Case) -> None:
    """Two steps without any compilation are those of the compiled loop, the second with arrays for floats."""
    problem, x0, solver = prepare(case.problem(), case.start(), solver)
    arrays = with_floats(solver, lambda v: jnp.asarray(v, float)) or solver
    with jax.disable_jit():
        eager = loop.begin(problem, x0, solver, key())
        for each in (solver, arrays):
            eager = loop.one_step(problem, each, eager, key(), 2)
    # Not the counts: a program may be read for them, and here there is none.
    wrong = different(_uncounted(eager.state), _uncounted(few_steps(solver, case, 2).state))
    assert not wrong, (
        f"eager steps, the second with hyperparameters as arrays, and compiled ones differ at "
        f"{'; '.join(wrong)}"
    )


def _uncounted(state: State) -> State:
    return lift.replaced(state, calls=None)


def check_scan_equals_loop(solver: Solver, case: Case, steps: Steps) -> None:
    """Steps inside `lax.scan` are those of the `while_loop` in `solve`."""
    last = jax.tree.map(lambda v: v[-1], steps.taken[1])
    wrong = different(last, few_steps(solver, case).state)
    assert not wrong, f"steps in a scan and in a while_loop differ at {'; '.join(wrong)}"


def check_known_objective(solver: Solver, case: Case, steps: Steps) -> None:
    """The objective that a solver says without evaluating it is that of its iterate."""
    problem, _, solver = prepare(case.problem(), case.start(), solver)
    _, states, _ = steps.taken
    known = compiled(_known_objectives, problem, solver, states)
    true = compiled(_true_objectives, problem, states.x)
    assert np.allclose(known, true, rtol=1e-9, atol=1e-9), (
        f"after {FEW} steps objective(problem, state) is {known[-1]}, problem.objective(state.x) {true[-1]}"
    )


def _known_objectives(problem: Problem, solver: Solver, states: State) -> Array:
    return jax.vmap(lambda s: solver.objective(problem, s))(states)


def _true_objectives(problem: Problem, x: PyTree[Array]) -> Array:
    return jax.vmap(problem.objective)(x)


def _batch(solver: Solver, case: Case, members: list[tuple], **options: Any) -> Any:
    """Several members ``(changed parameters, start)`` at once."""
    full = [({**case.parameters, **changed}, start) for changed, start in members]
    stacked = jax.tree.map(lambda *v: np.stack([np.asarray(u, float) for u in v]), *full)

    def one(parameters: Any, x0: Any) -> tuple:
        s = solve(case.make(parameters), x0, solver, key=key(), **options)
        return s.x, s.status, s.residual, s.steps, s.calls

    return jax.vmap(one)(*cast(stacked))


def _member(batch: Any, i: int) -> Any:
    return jax.tree.map(lambda v: v[i], batch)


def check_vmap_equals_loop(solver: Solver, case: Case) -> None:
    """A batch of problems takes the steps that each takes alone."""
    changes = ({}, case.moved(), case.moved(0.02))
    batch = _batch(solver, case, [(c, case.x0) for c in changes], tol=-1.0, max_steps=FEW)
    for i, changed in enumerate(changes):
        s = few_steps(solver, case, **changed)
        wrong = different(_member(batch, i), (s.x, s.status, s.residual, s.steps, s.calls))
        assert not wrong, f"under vmap member {i} differs from the same problem alone at {'; '.join(wrong)}"


def check_vmap_freezes_finished(solver: Solver, case: Case) -> None:
    """In a batch a member that is done keeps its x and its counts while others go on."""
    members = [({}, case.x0), ({}, case.solution()), ({}, case.x0)]
    batch = _batch(solver, case, members, tol=1e-6, max_steps=5 * solver.check_every)
    x, status, _, steps, calls = _member(batch, 1)
    assert int(steps) == 0 and bool(status.converged), (
        f"a member that starts at its solution took {int(steps)} steps in a batch; 0 are right"
    )
    assert not different_bits(x, cast(case.solution())), "a finished member of a batch changed its x"
    alone = solve(case.problem(), cast(case.solution()), solver, tol=1e-6, key=key())
    wrong = different(calls, alone.calls)
    assert not wrong, f"a finished member of a batch goes on counting: {'; '.join(wrong)}"
    assert int(_member(batch, 0)[3]) > 0, "the other members of the batch took no step"


def check_vmap_isolates_nan(solver: Solver, case: Case) -> None:
    """NaN in one member's data leaves the others of the batch as they were, bit for bit."""
    sound = [({}, case.x0), (case.moved(), case.x0), (case.moved(0.02), case.x0)]
    spoiled = [sound[0], (case.spoiled(), case.x0), sound[2]]
    a, b = (_batch(solver, case, m, tol=1e-6, max_steps=5 * solver.check_every) for m in (sound, spoiled))
    for i in (0, 2):
        wrong = different_bits(_member(a, i), _member(b, i))
        assert not wrong, f"NaN in one member of a batch changed another's {', '.join(wrong)}"
    assert finite(_member(b, 1)[0]), "the member with NaN in its data returned a non-finite x"
    assert not bool(_member(b, 1)[1].converged), "the member with NaN in its data claims to have converged"


# ------------------------------------------------------------------ randomness


def check_same_key_same_result(solver: Solver, case: Case) -> None:
    """The same problem, start and key give the same bits."""
    wrong = different_bits(few_steps(solver, case).state, few_steps(solver, case).state)
    assert not wrong, (
        f"two runs with the same key differ at {', '.join(wrong)}; draw random numbers from key alone"
    )


def check_key_matters(solver: Solver, case: Case) -> None:
    """A stochastic solver takes other steps with another key."""
    a, b = few_steps(solver, case).x, few_steps(solver, case, seed=1).x
    assert different_bits(a, b), (
        f"after {FEW} steps two keys give the same x; use the key, or declare stochastic = False"
    )


def check_key_is_ignored(solver: Solver, case: Case) -> None:
    """A solver that does not declare itself stochastic does the same with every key."""
    a, b = few_steps(solver, case), few_steps(solver, case, seed=1)
    wrong = different_bits((a.x, a.calls), (b.x, b.calls))
    assert not wrong, f"another key changes {', '.join(wrong)}; declare stochastic = True"


# ------------------------------------------------------------------ counts


def check_calls_exact(solver: Solver, case: Case, steps: Steps) -> None:
    """``calls`` are the oracle calls that an instrumented problem saw."""
    _, states, seen = steps.taken
    claimed = {k: int(v[-1]) for k, v in states.calls.asdict().items()}
    wrong = [f"{k} says {claimed[k]}, the problem saw {n}" for k, n in seen.items() if claimed[k] != n]
    assert not wrong, (
        f"after {FEW} steps on {case.name} calls.{'; calls.'.join(wrong)}. Count every trial, "
        "accepted or not, and ask the problem only through its oracle methods"
    )


def check_calls_increase(solver: Solver, case: Case, steps: Steps) -> None:
    """Every step uses some oracle and no count ever falls."""
    first, states, _ = steps.taken
    counts = {
        k: np.concatenate([[np.asarray(v)], np.asarray(getattr(states.calls, k))])
        for k, v in first.calls.asdict().items()
    }
    for name, count in counts.items():
        assert count[0] >= 0 and np.all(np.diff(count) >= 0), (
            f"calls.{name} goes {count.tolist()}; add to state.calls, do not start afresh"
        )
    total = np.sum(list(counts.values()), axis=0)
    assert np.all(np.diff(total) > 0), (
        f"the oracle calls of the first steps total {total.tolist()}; count those that each step makes"
    )


def check_init_is_cheap(solver: Solver, case: Case, steps: Steps) -> None:
    """``init`` does no work worth a step: two of each oracle at most (a chain), one pass over the terms."""
    calls = steps.taken[0].calls.asdict()
    unknowns = sum(v.size for v in jax.tree.leaves(case.start()))
    terms = getattr(case.problem(), "count", 0)
    start = case.start()
    each = 2 * start.size if isinstance(start, Chains) else 2
    for name, count in calls.items():
        allowed = {"sample": max(2, terms), "hvp": 2 * unknowns}.get(name, each)  # hvp: a Jacobian, say
        assert int(count) <= allowed, (
            f"init makes {int(count)} {name} calls; up to {allowed} are preparation, more belong to step"
        )


# ------------------------------------------------------------------ compilation


def check_compiles_once(solver: Solver, case: Case) -> None:
    """New data, start, tolerance, step limit, key and float hyperparameters compile nothing."""
    options: dict[str, Any] = {"tol": 1e-3, "max_steps": 50, "key": key()}
    few_steps(solver, case)  # compiles it, unless another check has
    other = with_floats(solver, lambda v: 0.99 * v) or solver
    nudged, start = case.problem(**case.moved()), jax.tree.map(lambda v: v + 0.01, case.start())
    problem, x0, random = case.problem(), case.start(), key(3)
    variants = {
        "data": (nudged, x0, solver, options),
        "start": (problem, start, solver, options),
        "tolerance": (problem, x0, solver, options | {"tol": 1e-4}),
        "max_steps": (problem, x0, solver, options | {"max_steps": 60}),
        "key": (problem, x0, solver, options | {"key": random}),
        "float hyperparameters": (problem, x0, other, options),
    }
    for what, (problem, x0, solver, chosen) in variants.items():
        with compilations() as count:
            jax.block_until_ready(solve(problem, x0, solver, **chosen).x)
        assert count() == 0, (
            f"other {what} compiled {count()} program(s) again; floats that may change are dynamic fields, "
            "and nothing may depend on their values in Python"
        )


def check_traces_user_function_twice(solver: Solver, case: Case) -> None:
    """Each Python function of the user's runs at most twice in a solve, however many oracles are used."""
    problem = canonical.retagged(case.problem(), tag=canonical.fresh_tag())
    functions = canonical.count_user_functions(problem)
    before = canonical.traced()
    jax.eval_shape(lambda x: solve(problem, x, solver, key=key()).x, case.start())
    traced = canonical.traced() - before
    assert traced <= 2 * functions, (
        f"the user's function was traced {traced / functions:g} times; ask for values and derivatives "
        "through the problem's methods, which trace it once, and not by calling problem.f"
    )


# ------------------------------------------------------------------ resumption


def check_resume(solver: Solver, case: Case) -> None:
    """A run resumed from a checkpoint that was written on its way is the straight run, bit for bit."""
    every = solver.check_every
    arguments, budget = (case.problem(), case.start(), solver), Budget(steps=3 * every, tol=0.0)
    with tempfile.TemporaryDirectory() as folder:
        latest, kept = Path(folder) / "latest", Path(folder) / "kept"

        def keep(row: Mapping[str, float], _: PyTree[Array]) -> None:
            # Saves follow these calls: what is kept in the end was written after the first steps.
            if latest.exists() and row["step"] <= 2 * every:
                shutil.copy(latest, kept)

        options: dict[str, Any] = {"budget": budget, "key": key(), "progress": False}
        saves = {"checkpoint": latest, "checkpoint_seconds": 0.0, "callbacks": [keep]}
        straight = run(*arguments, **options, **saves).solution
        resumed = run(*arguments, **options, checkpoint=kept).solution
    wrong = different_bits(
        (straight.x, straight.steps, straight.state), (resumed.x, resumed.steps, resumed.state)
    )
    assert not wrong, (
        f"resuming from a checkpoint changes {', '.join(wrong)}; keep everything that step needs in the state"
    )
