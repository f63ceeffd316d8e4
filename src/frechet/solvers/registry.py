"""Solvers are found, not listed: every public concrete class in this package."""

import functools
import importlib
import inspect
import pkgutil
from types import ModuleType

from frechet.core.solver import Solver


def modules() -> list[ModuleType]:
    """Every module below ``frechet.solvers``, imported."""
    package = importlib.import_module("frechet.solvers")
    found = pkgutil.walk_packages(package.__path__, "frechet.solvers.")
    return [importlib.import_module(m.name) for m in found]


@functools.cache
def solver_classes() -> tuple[type[Solver], ...]:
    """Public concrete solver classes, by name."""
    classes = {
        c
        for m in modules()
        for _, c in inspect.getmembers(m, inspect.isclass)
        if issubclass(c, Solver) and c.__module__ == m.__name__ and not c.__name__.startswith("_")
        if c.step is not Solver.step and not inspect.isabstract(c)
    }
    return tuple(sorted(classes, key=lambda c: c.__name__))


def all_presets() -> dict[str, Solver]:
    """Ready-made instances of every solver, by name.

    Example:
        >>> type(all_presets()["FISTA"]).__name__
        'FISTA'
    """
    presets: dict[str, Solver] = {}
    for c in solver_classes():
        for name, solver in c.presets().items():
            if name in presets:
                raise ValueError(f"two solvers are called {name}; rename one preset of {c.__name__}")
            presets[name] = solver
    return presets
