"""Published training methods as optax transformations, a file a method; loaded when named."""

import functools
import inspect
from typing import Any


@functools.cache
def _public() -> dict[str, Any]:
    from frechet.optimizers.registry import modules

    return {
        name: v
        for m in modules()
        for name, v in vars(m).items()
        if not name.startswith("_") and (inspect.isfunction(v) or inspect.isclass(v))
        if v.__module__ == m.__name__
    }


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name == "registry":
        raise AttributeError(name)
    if name in _public():
        return _public()[name]
    raise AttributeError(f"no optimizer is called {name}; known are {', '.join(sorted(_public()))}")


def __dir__() -> list[str]:
    return sorted(_public())
