"""Where runs happen. An engine is a module here with a class `Engine`; adding one is adding a file."""

import importlib
import pkgutil
from collections import deque
from collections.abc import Generator
from typing import Protocol

from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.runner import Task
from frechet.workbench.errors import UserError, nearest


class Runs(Protocol):
    """What an engine does.

    Attributes:
        description: one line for the report: how many runs at a time, on what.
    """

    description: str

    def run(self, units: deque[list[Task]]) -> Generator[Record, None, None]:
        """Runs every task and yields each record as it finishes.

        Units may be added to the queue whenever a record has been yielded. Closing the generator stops the
        work. A unit's tasks run one after another in one process, where those after the first find their
        program compiled. A task whose process dies ends in a failed record; the rest goes on.
        """
        ...


def names() -> list[str]:
    """The engines there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__))


def start(name: str, *, workers: int | None = None, address: str | None = None) -> Runs:
    """An engine by name.

    Args:
        name: one of `names()`.
        workers: runs at a time; None for as many as the cores allow.
        address: of an existing cluster, for engines that can use one.

    Raises:
        UserError: there is no such engine, or it cannot start with these options.
    """
    if name not in names():
        raise UserError(f"no engine is called {name!r}; {nearest(name, names())}")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it should be at least 1")
    return importlib.import_module(f"{__name__}.{name}").Engine(workers=workers, address=address)
