"""Solvers, a folder a kind, a file a method; loaded when named."""

import functools
from typing import Any


@functools.cache
def _classes() -> dict[str, Any]:
    from frechet.solvers.registry import solver_classes

    return {c.__name__: c for c in solver_classes()}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name in ("registry", "proximal", "second_order", "stochastic", "wrappers"):
        raise AttributeError(name)
    if name in _classes():
        return _classes()[name]
    raise AttributeError(f"no solver is called {name}; known are {', '.join(_classes())}")


def __dir__() -> list[str]:
    return list(_classes())
