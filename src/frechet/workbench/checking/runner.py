"""Which checks a solver is run through: those that what it declares calls for."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from frechet.core.solver import Solver
from frechet.workbench.checking import declared, derivatives, inputs, protocol, solving
from frechet.workbench.checking.canonical import Case, all_cases, cases_for, count_user_functions
from frechet.workbench.checking.common import with_floats
from frechet.workbench.checking.counting import Steps
from frechet.workbench.checking.transformations import yield_optimizer_checks

Check = tuple[str, Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Attributes:
        name: the check.
        ok: whether it passed.
        detail: what is wrong and what would be right; empty if it passed.
        seconds: how long it took.
    """

    name: str
    ok: bool
    detail: str
    seconds: float


def check_solver(solver: type[Solver] | Solver) -> list[CheckResult]:
    """Runs a solver through every check that its declarations call for.

    Args:
        solver: a solver class, whose presets are all checked, or one instance.

    Returns:
        A result a check; of a class with several presets each name is prefixed with the preset's.

    Raises:
        TypeError: it is not a solver.

    Example:
        >>> import frechet as fr
        >>> class Mine(fr.Solver):
        ...     needs = frozenset({"crystal ball"})
        >>> [result.name for result in check_solver(Mine) if not result.ok]
        ['has_canonical_problem', 'docstring']
    """
    if isinstance(solver, Solver):
        return [_result(name, check) for name, check in yield_checks(solver)]
    if not (isinstance(solver, type) and issubclass(solver, Solver)):
        raise TypeError(f"check_solver takes a frechet.Solver class or instance, got {solver!r}")
    first = _result("presets", functools.partial(declared.check_presets_of, solver))
    if not first.ok:
        return [first]
    presets = solver.presets()
    return [
        _result(f"{preset}: {name}" if len(presets) > 1 else name, check)
        for preset, instance in presets.items()
        for name, check in yield_checks(instance)
    ]


def check_optimizer(factory: Callable[..., Any]) -> list[CheckResult]:
    """Runs a declared optimizer through the checks of `frechet.workbench.checking.transformations`.

    Args:
        factory: a function that returns an optax transformation, decorated with
            `frechet.optimizers.registry.optimizer`.

    Returns:
        A result a check.

    Raises:
        TypeError: it was not declared.

    Example:
        >>> import frechet as fr
        >>> all(result.ok for result in check_optimizer(fr.optimizers.adan))
        True
    """
    return [_result(name, check) for name, check in yield_optimizer_checks(factory)]


def _result(name: str, check: Callable[[], None]) -> CheckResult:
    start = time.perf_counter()
    try:
        check()
        detail = ""
    except AssertionError as failure:
        detail = str(failure) or "the check failed"
    except Exception as error:
        detail = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    return CheckResult(name, not detail, detail, time.perf_counter() - start)


def yield_checks(solver: Solver) -> Iterator[Check]:
    """The checks of one solver as ``(name, callable)``; a callable raises where its check fails.

    What is yielded depends on what the solver declares (``accepts``, ``needs``, ``stochastic``,
    ``converges``, float fields) and on the problems it fits, never on its name.

    Example:
        >>> import frechet as fr
        >>> names = [name for name, _ in yield_checks(fr.solvers.SAGA())]
        >>> "key_matters" in names, "key_is_ignored" in names, len(names) >= 25
        (True, False, True)
    """
    for check, *cases in _yield_all(solver):
        name = check.__name__.removeprefix("check_")
        yield name, functools.partial(_in_float64, check, solver, *cases)


def _in_float64(check: Callable, *args) -> None:
    with jax.enable_x64(True):
        check(*args)


def _yield_all(solver: Solver) -> Iterator[tuple]:
    yield from _yield_declared()
    cases = _cases(solver)
    if not cases:
        return
    main = cases[0]
    yield from _yield_solving(solver, main, cases)
    yield from _yield_protocol(solver, main, cases)
    yield from _yield_inputs(solver, main)
    if solver.converges:
        yield from _yield_derivatives(main)


def _cases(solver: Solver) -> list[Case]:
    """The cases, none where what the solver declares is already wrong; the checks of that say what."""
    try:
        declared.check_declarations(solver)
        return cases_for(solver)
    except Exception:
        return []


def _yield_declared() -> Iterator[tuple]:
    yield (declared.check_declarations,)
    yield (declared.check_has_canonical_problem,)
    yield (declared.check_presets,)
    yield (declared.check_docstring,)
    yield (declared.check_pytree,)


def _yield_solving(solver: Solver, main: Case, cases: list[Case]) -> Iterator[tuple]:
    by_role = {c.role: c for c in cases}
    large = by_role.get("many", main)
    if solver.converges:
        yield solving.check_solves_float64, main
        # Larger and in float32 at once: a program each is what takes the time.
        yield solving.check_solves_float32, large
        if "tree" in by_role:
            yield solving.check_pytrees, by_role["tree"]
        if "one" in by_role:
            yield solving.check_one_unknown, by_role["one"]
    else:
        yield solving.check_approaches, main
    if main.specimen.always_feasible and not solver.stochastic:
        yield solving.check_objective_falls, main
    if main.specimen.testable:
        yield solving.check_start_at_solution, main
    yield solving.check_unreachable_tolerance, large
    yield solving.check_max_steps, main


def _yield_protocol(solver: Solver, main: Case, cases: list[Case]) -> Iterator[tuple]:
    yield protocol.check_state_form, main
    yield protocol.check_keeps_float32, main
    if with_floats(solver, lambda v: v) is not None:
        yield protocol.check_hyperparameter_arrays, main
    yield protocol.check_jit_equals_eager, main
    yield protocol.check_vmap_equals_loop, main
    if main.specimen.testable:
        yield protocol.check_vmap_freezes_finished, main
    yield protocol.check_vmap_isolates_nan, main
    yield protocol.check_same_key_same_result, main
    yield (protocol.check_key_matters if solver.stochastic else protocol.check_key_is_ignored), main
    # Who reads a linear model's matrix itself cannot be watched doing so.
    watched = [c for c in cases if "linear model" not in c.specimen.offers()]
    users = [c for c in cases if count_user_functions(c.specimen)]
    stepped = (watched or cases)[0]
    steps = Steps(solver, stepped)
    yield protocol.check_scan_equals_loop, stepped, steps
    if type(solver).objective is not Solver.objective:
        yield protocol.check_known_objective, stepped, steps
    if watched:
        yield protocol.check_calls_exact, stepped, steps
    yield protocol.check_calls_increase, stepped, steps
    yield protocol.check_init_is_cheap, stepped, steps
    yield protocol.check_compiles_once, main
    if users:
        yield protocol.check_traces_user_function_twice, users[0]
    yield protocol.check_resume, main


def _yield_inputs(solver: Solver, main: Case) -> Iterator[tuple]:
    yield inputs.check_nan_in_data, main
    yield inputs.check_nonfinite_start, main
    yield inputs.check_wrong_start, main
    foreign = next((c for c in all_cases() if inputs.foreign_to(solver, c)), None)
    if foreign:
        yield inputs.check_wrong_kind, foreign


def _yield_derivatives(main: Case) -> Iterator[tuple]:
    yield derivatives.check_derivative, main
    yield derivatives.check_jvp_equals_vjp, main
