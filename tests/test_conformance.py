"""Every registered solver, found and not listed, passes every check that its declarations call for."""

import contextlib
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest

from frechet.solvers.registry import all_presets, solver_classes
from frechet.workbench.checking import yield_checks
from tests import garbage, one_context

CHECKS = {
    (preset, name): None for preset, solver in all_presets().items() for name, _ in yield_checks(solver)
}


def _serve(connection: Connection) -> None:
    """Runs the checks that are asked for, ``(preset, name)``, and answers with what is wrong or nothing."""
    warnings.simplefilter("error")
    one_context.share()
    presets, checks = all_presets(), {}
    garbage.collect_rarely()
    with contextlib.suppress(EOFError):
        while True:
            preset, name = connection.recv()
            if preset not in checks:
                checks = {preset: dict(yield_checks(presets[preset]))}
            try:
                checks[preset][name]()
                connection.send(None)
            except Exception as error:
                connection.send(f"{type(error).__name__}: {error}")


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[[str, str], str | None]]:
    """Asks a process of its own, with which compiled programs and crashes end, for one of the checks."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()

    def one(preset: str, name: str) -> str | None:
        try:
            ours.send((preset, name))
            return ours.recv()
        except (EOFError, ConnectionError):
            process.join()
            return f"the process of the checks ended with exit code {process.exitcode}"

    yield one
    process.terminate()
    process.join()


@pytest.mark.parametrize(("preset", "name"), CHECKS, ids=lambda v: v)
def test_conformance(preset: str, name: str, ask: Callable[[str, str], str | None]) -> None:
    wrong = ask(preset, name)
    assert wrong is None, wrong


def test_every_solver_is_checked() -> None:
    """Each registered class has a preset, each preset at least 25 checks."""
    classes = {type(solver) for solver in all_presets().values()}
    assert classes == set(solver_classes())
    for preset in all_presets():
        count = sum(p == preset for p, _ in CHECKS)
        assert count >= 25, f"{preset} is run through {count} checks only"
