"""For every check a solver that is broken in one way, and fails it; the sound solver beside it passes."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import pytest

from frechet import Solver
from frechet.solvers.registry import all_presets
from frechet.workbench.checking import yield_checks
from frechet.workbench.checking.runner import check_solver

# All three add to BROKEN.
from tests.workbench.checking import broken_edges  # noqa: F401
from tests.workbench.checking.broken_protocol import AsksType
from tests.workbench.checking.broken_solving import ClassForInstance, Undocumented
from tests.workbench.checking.sound import BROKEN, Noisy, Plain, Short


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
