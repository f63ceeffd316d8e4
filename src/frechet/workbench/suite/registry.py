"""Named problems: registered by a decorator, found by walking this package, loaded by name."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from frechet.core.problem import Problem
from frechet.workbench.errors import UserError, nearest


class UnknownProblem(UserError):
    """No problem of the suite has that name."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem with its start, ready to be solved.

    Attributes:
        problem: the problem; its arrays have JAX's default precision at the time of loading.
        x0: the start, a pytree of arrays.
        name: what it is loaded by.
        title: a line for people.
        source: where the data come from.
        optimum: the least objective known, to about 12 digits; None if there is none.
    """

    problem: Problem
    x0: Any
    name: str = ""
    title: str = ""
    source: str = ""
    optimum: float | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a problem without loading it.

    Attributes:
        name: what it is loaded by.
        title: a line for people.
        source: where the data come from.
        make: makes the `Case`, its name, title and source still empty.
    """

    name: str
    title: str
    source: str
    make: Callable[[], Case]


_registered: dict[str, Entry] = {}


def problem(name: str, *, title: str, source: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a function of no arguments that returns a `Case` with problem, start and optimum.

    Args:
        name: lower case with hyphens, and no other problem's.
        title: a line for people.
        source: where the data come from.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        ValueError: for a name that is taken.
    """

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        if name in _registered:
            raise ValueError(f"the suite already has a problem {name!r}, made by {_registered[name].make}")
        _registered[name] = Entry(name, title, source, make)
        return make

    return register


def entries() -> dict[str, Entry]:
    """All problems by name, in alphabetical order; loads no data."""
    _import_all()
    return dict(sorted(_registered.items()))


def names() -> list[str]:
    """The names of all problems, in alphabetical order."""
    return list(entries())


def load(name: str) -> Case:
    """Make a problem by name, in JAX's default precision (`jax_enable_x64` decides).

    Args:
        name: one of `names()`.

    Returns:
        The problem with its start, title, source and optimum.

    Raises:
        UnknownProblem: for another name; the message suggests the nearest.

    Example:
        >>> from frechet.workbench import suite
        >>> case = suite.load("lasso")
        >>> case.problem.kind, case.x0.shape
        ('Composite', (10,))
    """
    known = entries()
    if name not in known:
        raise UnknownProblem(f"no problem is called {name!r}; {nearest(name, known)}")
    entry = known[name]
    return dataclasses.replace(entry.make(), name=name, title=entry.title, source=entry.source)


@functools.cache
def _import_all() -> None:
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
